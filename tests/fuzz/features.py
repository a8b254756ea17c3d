"""Compare account features with a brute force: python -m tests.fuzz.features [--seconds S]

Each round plays a random history (`tests.accounts.histories`) on an empty server: events, retries,
back-fills, reads live and of the past, deletions. In some rounds the definition files of the
services differ, connections break, or a service is killed while it applies events. With
`--cluster` the server is a cluster of three nodes, whose slots move all the time.

`--round N` plays a round that a finding names, with its `--seed`. Exits 1 where an answer is wrong,
or an event was lost or counted twice.
"""

import argparse
import asyncio
import logging
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AsyncExitStack, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import redis

from featsvc.accounts import EntityRef, Selection
from tests.accounts.clusters import Cluster, running_cluster
from tests.accounts.cutting import cutting
from tests.accounts.histories import (
    ACCOUNTS,
    BRIEF,
    NARROW,
    SKEW_MS,
    WIDE,
    History,
    available,
    play,
)
from tests.accounts.stores import define, open_store, running_valkey
from tests.fuzz.feature_writer import KilledStore
from tests.patience import PATIENCE_MS, PATIENCE_S

STEPS = 40
REST_S = 0.3
KINDS = {
    "one service": [WIDE],
    "extreme numbers": [BRIEF],
    "definitions differ": [WIDE, NARROW, BRIEF],
    "connections break": [WIDE, WIDE],
    "services are killed": [WIDE, WIDE],
    "large batches": [WIDE],
}


@dataclass(slots=True)
class Place:
    """Where histories are played: a server, or a cluster. `moving` is held while a slot moves."""

    url: str
    folder: Path
    cluster: Cluster | None = None
    moving: threading.Lock = field(default_factory=threading.Lock)

    def empty(self) -> None:
        if self.cluster:
            with self.moving:  # a key that moves between nodes would be missed
                self.cluster.flush()
        else:
            with redis.Redis.from_url(self.url) as client:
                client.flushall()


@dataclass(slots=True)
class Found:
    """What the rounds have seen."""

    counts: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lost: int = 0
    doubled: int = 0


@contextmanager
def moving_slots(place: Place, cluster: Cluster, counts: Counter[str]) -> Iterator[None]:
    """Move the slots of all keys around until the context exits.

    A slot rests for a while where it has come: a client that follows an old redirection to a node
    which has the slot for the second time would find nothing there.
    """
    stopped = threading.Event()
    moved: dict[int, float] = {}
    rng = Random(0)

    def move_one() -> bool:
        keys = cluster.all_keys()
        slot = cluster.slot(rng.choice(keys)) if keys else -1
        if not keys or time.monotonic() < moved.get(slot, 0) + REST_S:
            return False
        move = cluster.begin(slot)
        stopped.wait(rng.random() * 0.01)
        while cluster.move_keys(move):
            pass
        stopped.wait(rng.random() * 0.01)
        cluster.end(move)
        moved[slot] = time.monotonic()
        return True

    def move_all() -> None:
        while not stopped.wait(0.001):
            with place.moving:
                counts["slots moved"] += move_one()

    thread = threading.Thread(target=move_all, daemon=True)
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join(PATIENCE_S)


async def one_round(place: Place, seed: int, number: int, found: Found) -> None:
    """Play one history."""
    place.empty()
    rng = Random(f"{seed} {number}")
    kinds = [kind for kind in KINDS if not (place.cluster and kind == "connections break")]
    kind = kinds[number % len(kinds)]
    history = History(
        rng,
        large=kind == "extreme numbers",
        many=kind == "large batches",
        lossy=place.cluster is not None,
    )
    async with AsyncExitStack() as stack:
        url = place.url
        if kind == "connections break":
            relay = cutting(Path(url.removeprefix("unix://")), place.folder)
            history.cutter, url = await stack.enter_async_context(relay)
        if kind == "definitions differ":
            history.others = [(define(place.folder, toml), toml) for toml in KINDS[kind]]
        for toml in KINDS[kind]:
            skew_ms = rng.randrange(-SKEW_MS, SKEW_MS)
            definitions, clock = define(place.folder, toml), history.clock(skew_ms)
            if kind == "services are killed":
                history.lossy = True
                path = place.folder / "features.toml"
                how = {"clock": clock, "timeout_ms": PATIENCE_MS}
                killed = KilledStore(url, definitions, path, Random(number), **how)
                stack.push_async_callback(killed.close)
                history.add(killed, toml, skew_ms=skew_ms)
            else:
                store = open_store(url, definitions, clock=clock)
                history.add(await stack.enter_async_context(store), toml, skew_ms=skew_ms)
        await play(history, STEPS // 4 if history.many else STEPS)
        await tally(history, found)
        found.counts["kills"] += sum(getattr(s.store, "kills", 0) for s in history.services)
    found.counts += history.counts
    found.counts[f"rounds: {kind}"] += 1
    found.wrong += [f"round {number}: {text}" for text in history.wrong]


async def tally(history: History, found: Found) -> None:
    """Compare the number of events of each account."""
    store = history.services[0].store
    for account in ACCOUNTS:
        target = ("account", account)
        if target in history.model.unsure or history.others:
            continue
        applied = history.model.entity(target).applied
        ref, names = EntityRef(*target), Selection(names=("account_count_lifetime",))
        table, _ = await available(history, partial(store.get, [ref], names))
        right = sum(a.event.type == "act" for a in applied)
        counted = int(table.values[0, 0]) if applied else 0
        found.lost += max(right - counted, 0)
        found.doubled += max(counted - right, 0)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--cluster", action="store_true", help="on three nodes that reshard")
    parser.add_argument("--round", type=int, help="only this round")
    arguments = parser.parse_args()
    logging.disable(logging.CRITICAL)
    found = Found()
    with TemporaryDirectory(prefix="featsvc-fuzz-") as name, ExitStack() as stack:
        folder = Path(name)
        if arguments.cluster:
            cluster = stack.enter_context(running_cluster(folder))
            place = Place(cluster.url, folder, cluster)
            stack.enter_context(moving_slots(place, cluster, found.counts))
        else:
            place = Place(stack.enter_context(running_valkey(folder)), folder)
        until = time.monotonic() + arguments.seconds
        for number in count() if arguments.round is None else [arguments.round]:
            if time.monotonic() > until or len(found.wrong) > 100:
                break
            asyncio.run(one_round(place, arguments.seed, number, found))
    for title, number in sorted(found.counts.items(), key=lambda pair: -pair[1]):
        print(f"  {number:11,}  {title}")
    for text in found.wrong[:100]:
        print(f"WRONG {text}")
    compared = sum(n for title, n in found.counts.items() if title.startswith("value "))
    print(f"{compared:,} comparisons, {len(found.wrong)} wrong")
    print(f"{found.lost} events lost, {found.doubled} counted twice")
    return 1 if found.wrong or found.lost or found.doubled else 0


if __name__ == "__main__":
    sys.exit(main())
