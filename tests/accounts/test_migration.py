"""Old and new services on one namespace: values, ids and keys, while one replaces the other.

ORACLE_EXAMPLES: how many histories of each kind.
"""

import asyncio
import math
import os
import re
import tomllib
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.accounts import Definitions, EntityRef, Event, FeatureStatus, FeatureStore
from tests.accounts.answers import Moment, answers, mistake
from tests.accounts.histories import CAP, DAY_MS, HOUR_MS, START_MS, WIDE, History, Service
from tests.accounts.histories import new_event as any_event
from tests.accounts.model import Delivery, EntityModel, Rules
from tests.accounts.schema1 import RINGS, OldService
from tests.accounts.stores import define, open_store

RULES = Rules(tomllib.loads(WIDE))
DELIVERY = Delivery(RULES, START_MS)
MODES = {
    "default": WIDE,
    "horizon": WIDE.replace("[entities]", '[dedup]\nhorizon = "24h"\n[entities]'),
}
ACCOUNT = EntityRef("account", "a")
NAMES = [name for name in RULES.features if RULES.features[name].state.entity == "account"]
REGISTER = b"fs:{history:definitions}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("migration")


@cache
def definitions(folder: Path, toml: str) -> Definitions:
    return define(folder, toml)


def events(rng: Random, count: int, *, most_ms: int = 100 * DAY_MS, first: int = 0) -> list[Event]:
    """Events of one account that both services count alike: none is ahead of START_MS."""
    history = History(rng)
    service = Service(None, RULES)  # type: ignore[arg-type]
    found: list[Event] = []
    while len(found) < count:
        event = any_event(history, service)
        if START_MS - most_ms <= event.time_ms <= START_MS and event.type == "act":
            found.append(
                Event(
                    f"e{first + len(found)}",
                    event.type,
                    event.time_ms,
                    {"account": "a"},
                    {
                        **event.attributes,
                        "x": round(rng.uniform(-1e6, 1e6), 3),
                        "target": f"t{rng.randrange(2 * CAP)}",
                    },
                )
            )
    return found


class Account:
    """One account that old and new services write, and the model of it."""

    def __init__(self, server: Any, store: FeatureStore, toml: str = WIDE) -> None:
        self.old = OldService(server, toml, now_ms=START_MS)
        self.store = store
        self.model = EntityModel("account")

    def write_old(self, batch: Sequence[Event]) -> None:
        """An old service knows the ids that either has applied: there are fewer than 512."""
        for event, status in zip(batch, self.old.ingest(batch), strict=True):
            assert (status == "DUPLICATE") == (event.event_id in self.model.known_ids), event
            self.model.apply(event, DELIVERY, status)

    async def write_new(self, batch: Sequence[Event]) -> None:
        for event, result in zip(batch, await self.store.ingest(batch), strict=True):
            status = result.status.name
            assert status in self.model.outcomes(event, DELIVERY), event
            self.model.apply(event, DELIVERY, status)

    async def check_new(self, as_of_ms: int | None = None) -> None:
        """Compare all values of the new service."""
        table = await self.store.get([ACCOUNT], as_of_ms=as_of_ms)
        moment = Moment(START_MS if as_of_ms is None else as_of_ms, as_of_ms is not None)
        found = [
            mistake(self.model, RULES, RULES.features[name], moment, value, status)
            for name, value, status in zip(
                table.names,
                table.values[:, 0].tolist(),
                [FeatureStatus(status).name for status in table.statuses[:, 0]],
                strict=True,
            )
        ]
        assert [text for text in found if text] == []

    def check_old(self) -> None:
        """Compare all values of the old service, but for distinct counts beyond the cap."""
        for name, value in zip(NAMES, self.old.read("a", NAMES), strict=True):
            permitted = answers(self.model, RULES, RULES.features[name], Moment(START_MS, False))
            if any(answer.status in ("SATURATED", "OUTSIDE_MAX_AGE") for answer in permitted):
                continue
            status = "NULL_VALUE" if math.isnan(value) else "PRESENT"
            assert any(answer.has(value, status) for answer in permitted), (name, value, permitted)


def run(url: str, server: Any, folder: Path, body: Any, toml: str = WIDE) -> None:
    """Run the body of a test with an account whose clock shows START_MS."""

    async def main() -> None:
        used = definitions(folder, toml)
        async with open_store(url, used, clock=lambda: START_MS) as store:
            await body(Account(server, store, toml))

    asyncio.run(main())


def expires_unseen(server: Any, key: bytes) -> bool:
    """Whether a HyperLogLog is of a bucket that had left the ring long ago: nothing names it."""
    found = re.search(r":v1:.{8}([smhd])(\d+)$", key.decode())
    if not found or server.pttl(key) < 0:
        return False
    _, width_ms, buckets = next(ring for ring in RINGS if ring[0] == found[1])
    return int(found[2]) < START_MS // width_ms - 2 * buckets


def expire(server: Any, passed_ms: int) -> None:
    """Do to HyperLogLogs what the server would have done in this time."""
    for key in server.scan_iter(_type="string"):
        left_ms = server.pttl(key)
        if left_ms >= 0:
            server.pexpire(key, max(left_ms - passed_ms, 0))


def keys(server: Any) -> list[bytes]:
    return sorted(server.scan_iter())


laws = settings(
    max_examples=int(os.environ.get("ORACLE_EXAMPLES", "25")),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
seeds = st.integers(0, 2**32 - 1)


@pytest.mark.slow
@pytest.mark.parametrize("dedup", MODES)
@laws
@given(seed=seeds, count=st.integers(1, 60))
def test_a_new_service_reads_and_takes_over_what_an_old_one_wrote(
    url: str, server: redis.Redis, folder: Path, dedup: str, seed: int, count: int
) -> None:
    server.flushall()
    rng = Random(seed)

    async def body(account: Account) -> None:
        batch = events(rng, count)
        account.write_old(batch)
        before = keys(server)
        await account.check_new()
        await account.check_new(START_MS - rng.randrange(2 * DAY_MS))
        assert set(keys(server)) == {*before, REGISTER}
        await account.write_new(events(rng, 1, most_ms=HOUR_MS, first=1000))
        hash_ = account.old.key("account", "a")
        # The id set stays while old services may look there; it expires.
        left = set(keys(server)) - {REGISTER, hash_, hash_ + b":e"}
        assert [key for key in left if not expires_unseen(server, key)] == []
        await account.check_new()
        account.check_old()
        await account.write_new(batch)
        await account.check_new()

    run(url, server, folder, body, MODES[dedup])


@pytest.mark.slow
@pytest.mark.parametrize("dedup", MODES)
@laws
@given(seed=seeds, turns=st.integers(1, 12))
def test_old_and_new_services_write_in_turn(
    url: str, server: redis.Redis, folder: Path, dedup: str, seed: int, turns: int
) -> None:
    server.flushall()
    rng = Random(seed)

    async def body(account: Account) -> None:
        sent: list[Event] = events(rng, 5)
        account.write_old(sent)
        for _ in range(turns):
            batch = events(rng, rng.randrange(1, 12), most_ms=20 * HOUR_MS, first=len(sent))
            sent += batch
            known = [event for event in sent if event.event_id in account.model.known_ids]
            batch += rng.sample(known, rng.randrange(len(known) + 1))
            if rng.random() < 0.5:
                account.write_old(batch)
            else:
                await account.write_new(batch)
            await account.check_new()
            await account.check_new(START_MS - rng.randrange(2 * DAY_MS))
            account.check_old()

    run(url, server, folder, body, MODES[dedup])


@pytest.mark.parametrize("dedup", MODES)
def test_an_old_service_knows_the_ids_of_an_entity_that_a_new_one_began(
    url: str, server: redis.Redis, folder: Path, dedup: str
) -> None:
    """Once the new service has come upon the writes of an old one."""

    async def body(account: Account) -> None:
        other = [Event("o", "act", START_MS, {"account": "other"}, {"x": 1.0})]
        account.old.ingest(other)
        await account.store.ingest(other)
        batch = events(Random(1), 20, most_ms=HOUR_MS)
        await account.write_new(batch)
        account.write_old(batch)
        await account.write_new(batch)
        assert await account.store.delete(ACCOUNT)
        hash_ = account.old.key("account", "a")
        assert [key for key in keys(server) if key.startswith(hash_)] == []

    run(url, server, folder, body, MODES[dedup])


@pytest.mark.parametrize("dedup", MODES)
def test_a_deletion_leaves_nothing_of_an_old_service(
    url: str, server: redis.Redis, folder: Path, dedup: str
) -> None:
    """Two days of traffic beyond the cap: buckets have left the rings, their keys are there."""

    async def body(account: Account) -> None:
        for hour in range(48, -1, -1):
            account.old.now_ms = START_MS - hour * HOUR_MS
            expire(server, HOUR_MS)
            account.old.ingest(
                [
                    Event(
                        f"{hour}-{n}",
                        "act",
                        account.old.now_ms - n * 60_000,
                        {"account": "a"},
                        {"x": 1.0, "target": f"{hour}-{n}"},
                    )
                    for n in range(2 * CAP)
                ]
            )
        assert len(keys(server)) > 10
        assert await account.store.delete(ACCOUNT)
        assert set(keys(server)) <= {REGISTER}
        assert not await account.store.delete(ACCOUNT)

    run(url, server, folder, body, MODES[dedup])


def test_an_old_service_does_not_end_what_lasts_for_ever(
    url: str, server: redis.Redis, folder: Path
) -> None:
    """Its definitions may have no `lifetime` feature: it sets an expiry at each event."""

    async def body(account: Account) -> None:
        key = account.old.key("account", "a")
        for first in (0, 10):
            await account.write_new(events(Random(first), 3, first=first))
            assert server.ttl(key) == -1
            account.write_old(events(Random(first), 3, first=first + 5))
            server.expire(key, 3600)
        await account.write_new(events(Random(3), 3, first=20))
        assert server.ttl(key) == -1

    run(url, server, folder, body)
