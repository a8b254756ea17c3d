"""Consumers of a stream are killed; each event counts exactly once.

TEST_KILLS and TEST_EVENTS: how many; the measured run has 20 and 200,000.
"""

import asyncio
import json
import os
import subprocess
import sys
from collections import Counter
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import redis

from featsvc.accounts import EntityRef, Selection, load_definitions
from featsvc.accounts.events import clock_ms
from tests.accounts.stores import open_store, running_valkey
from tests.patience import PATIENCE_S, until

KILLS = int(os.environ.get("TEST_KILLS", "3"))
EVENTS = int(os.environ.get("TEST_EVENTS", "5000"))
STREAM = "matches"
CONSUMERS = 2
HOT, OTHERS = 3, 200
DAY_MS = 86_400_000


def publish(server: Any, rng: Random) -> Counter[str]:
    """Add events, half of them of a few hot accounts; return the number of each account.

    Most are older than the horizon of event ids against the newest: the consumers lag behind.
    """
    sent: Counter[str] = Counter()
    now_ms = clock_ms()
    for first in range(0, EVENTS, 1000):
        with server.pipeline(transaction=False) as pipeline:
            for number in range(first, min(first + 1000, EVENTS)):
                hot = rng.random() < 0.5
                account = f"hot{rng.randrange(HOT)}" if hot else f"a{rng.randrange(OTHERS)}"
                sent[account] += 1
                event = {
                    "event_id": f"e{number}",
                    "type": "match",
                    "time": now_ms - rng.randrange(3 * DAY_MS),
                    "entities": {"account": account},
                }
                pipeline.xadd(STREAM, {"event": json.dumps(event)})
            pipeline.execute()
    return sent


def start(url: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.integration.stream_program", url, STREAM]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "consuming\n"
    return process


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait(PATIENCE_S)
    assert process.stdout is not None
    process.stdout.close()


def has_read(server: Any, entries: int) -> bool:
    """Whether the consumers have read this many entries, perhaps without applying the last."""
    return sum(group["entries-read"] or 0 for group in server.xinfo_groups(STREAM)) >= entries


def is_settled(server: Any) -> bool:
    """Whether every entry was read and acknowledged."""
    groups = server.xinfo_groups(STREAM)
    return [(group["entries-read"], group["pending"]) for group in groups] == [(EVENTS, 0)]


def test_each_event_counts_once_however_often_consumers_are_killed(tmp_path: Path) -> None:
    rng = Random(7)
    with running_valkey(tmp_path) as url, redis.Redis.from_url(url) as server:
        sent = publish(server, rng)
        server.xgroup_create(STREAM, "featsvc", id="0")
        running = [start(url) for _ in range(CONSUMERS)]
        try:
            for number in range(1, KILLS + 1):
                # The kills are spread over the stream.
                due = EVENTS * number // (KILLS + 1)
                until(partial(has_read, server, due), "the stream was not consumed")
                kill(running.pop(rng.randrange(CONSUMERS)))
                running.append(start(url))
            until(lambda: is_settled(server), "entries were not acknowledged")
        finally:
            for process in running:
                kill(process)
        assert not server.exists(f"{STREAM}:dead")

        async def counts() -> dict[str, float]:
            refs = [EntityRef("account", account) for account in sent]
            async with open_store(url, load_definitions()) as store:
                table = await store.get(refs, Selection(names=("matches_lifetime",)))
            return dict(zip(sent, table.values[0].tolist(), strict=True))

        assert asyncio.run(counts()) == sent
