"""Every status and value against a plain list of events, over random histories.

ORACLE_EXAMPLES: how many histories of each kind; `python -m tests.fuzz.features` is for long runs.
"""

import asyncio
import os
from collections.abc import Sequence
from contextlib import AsyncExitStack
from functools import cache
from pathlib import Path
from random import Random

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.accounts import Definitions
from tests.accounts.cutting import cutting
from tests.accounts.histories import BRIEF, NARROW, SKEW_MS, WIDE, History, play
from tests.accounts.stores import define, open_store

EXAMPLES = int(os.environ.get("ORACLE_EXAMPLES", "80"))
oracle = settings(
    max_examples=EXAMPLES,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
# A seed and a length: what Hypothesis shrinks is the length. It draws too slowly for histories.
seeds, lengths = st.integers(0, 2**32 - 1), st.integers(1, 40)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("oracle")


@cache
def definitions(folder: Path, toml: str) -> Definitions:
    return define(folder, toml)


def run_history(
    url: str, folder: Path, history: History, tomls: Sequence[str], steps: int, *, cut: bool = False
) -> None:
    """Play a history with one service for each definition file; assert that nothing is wrong."""

    async def main() -> None:
        async with AsyncExitStack() as stack:
            address = url
            if cut:
                socket = Path(url.removeprefix("unix://"))
                relay = cutting(socket, folder)
                history.cutter, address = await stack.enter_async_context(relay)
            if len(set(tomls)) > 1:
                history.others = [(definitions(folder, toml), toml) for toml in tomls]
            for toml in tomls:
                skew_ms = history.rng.randrange(-SKEW_MS, SKEW_MS)
                store = open_store(address, definitions(folder, toml), clock=history.clock(skew_ms))
                history.add(await stack.enter_async_context(store), toml, skew_ms=skew_ms)
            await play(history, steps)

    asyncio.run(main())
    assert history.wrong == []


@pytest.mark.slow
@oracle
@given(seeds, lengths)
def test_one_service(url: str, server: redis.Redis, folder: Path, seed: int, steps: int) -> None:
    server.flushall()
    run_history(url, folder, History(Random(seed)), [WIDE], steps)


@pytest.mark.slow
@oracle
@given(seeds, lengths)
def test_extreme_numbers_and_a_short_horizon(
    url: str, server: redis.Redis, folder: Path, seed: int, steps: int
) -> None:
    server.flushall()
    run_history(url, folder, History(Random(seed), large=True), [BRIEF], steps)


@pytest.mark.slow
@oracle
@given(seeds, lengths)
def test_services_whose_definitions_differ(
    url: str, server: redis.Redis, folder: Path, seed: int, steps: int
) -> None:
    server.flushall()
    run_history(url, folder, History(Random(seed)), [WIDE, NARROW, BRIEF], steps)


@pytest.mark.slow
@oracle
@given(seeds, lengths)
def test_connections_that_break(
    url: str, server: redis.Redis, folder: Path, seed: int, steps: int
) -> None:
    server.flushall()
    run_history(url, folder, History(Random(seed)), [WIDE, WIDE], steps, cut=True)
