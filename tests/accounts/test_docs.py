"""The examples in docs/features.md work."""

import asyncio
import re
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from featsvc.accounts import (
    Definitions,
    EntityRef,
    Event,
    EventStatus,
    FeatureStatus,
    Selection,
    parse_event_line,
)
from featsvc.accounts.definitions import shipped_definitions
from featsvc.accounts.layout import RINGS
from featsvc.accounts.read_plan import read_plan
from featsvc.accounts.topology import open_client
from tests.accounts.schema1 import OldService
from tests.accounts.stores import NOW_MS, define, open_store
from tests.patience import PATIENCE_MS

PAGE = Path(__file__).parents[2] / "docs" / "features.md"


def blocks(language: str) -> list[str]:
    texts = re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)
    assert texts
    return texts


def test_the_definitions_compile(tmp_path: Path) -> None:
    definitions = define(tmp_path, blocks("toml")[0])
    assert {"uploads_1m", "strikes_lifetime"} <= set(definitions.features)
    assert list(definitions.derived) == ["upload_burst", "is_banned"]
    assert definitions.dedup_horizon_ms == 86_400_000


def test_the_event_lines_are_parsed() -> None:
    events = [parse_event_line(line) for line in blocks("json")[0].splitlines()]
    assert [event.event_id for event in events] == ["u-1", "d-1"]
    assert events[0].time_ms == events[1].time_ms == 1_769_860_800_000


@pytest.mark.slow
def test_the_program_runs(url: str, server: redis.Redis) -> None:
    patient = f"load_definitions(), timeout_ms={PATIENCE_MS})"
    program = f"url = {url!r}\n" + blocks("python")[0].replace("load_definitions())", patient)
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "APPLIED" in done.stdout
    assert "uploads_1h 1.0 1" in done.stdout


@pytest.mark.parametrize("url", re.findall(r"^\| `((?:unix|redis)[^`]*)`", PAGE.read_text(), re.M))
def test_the_urls_are_valid(url: str) -> None:
    open_client(url)


def test_the_rights_of_the_acl_are_enough(
    url: str, server: redis.Redis, shipped: Definitions
) -> None:
    """For every call, and for what an earlier version has left."""
    (rights,) = re.findall(r"^    (~fs:\* .*\n    .*)$", PAGE.read_text(), re.M)
    server.execute_command("ACL", "SETUSER", "featsvc", "on", ">secret", *rights.split())
    old = OldService(server, shipped_definitions().read_text(), now_ms=NOW_MS)

    async def body() -> None:
        limited = url.replace("unix://", "unix://featsvc:secret@")
        async with open_store(limited, shipped, clock=lambda: NOW_MS) as store:
            logins = [
                Event(f"e{n}", "login", NOW_MS, {"account": "a"}, {"ip": f"i{n}"})
                for n in range(300)
            ]
            old.ingest(logins[:200])
            results = await store.ingest(logins)
            assert [r.status for r in results].count(EventStatus.APPLIED) == 100
            account = EntityRef("account", "a")
            table = await store.get([account], Selection(names=("distinct_ips_24h",)))
            assert table.statuses[0, 0] == FeatureStatus.SATURATED
            assert await store.delete(account)
            old.ingest(logins)
            assert await store.delete(account)
            await store.ping()

    asyncio.run(body())
    assert server.dbsize() == 1  # the register of definitions


def test_the_bucket_widths_are_those_of_the_layout() -> None:
    assert [ring.width_ms for ring in RINGS] == [10_000, 300_000, 3_600_000, 86_400_000]
    assert [r.longest_window_ms for r in RINGS] == [360_000, 21_600_000, 604_800_000, 7_776_000_000]


def test_the_shipped_definitions_have_about_twenty_readable_states(shipped: Definitions) -> None:
    counted = {(f.entity, f.state.digest) for f in shipped.features.values()}
    assert len(counted) >= 18
    for entity in shipped.entities:
        assert read_plan(shipped, entity, tuple(shipped.features)).fields
