"""Thresholds by bank, as many threads read them at once."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from featsvc.banks.records import Bank
from featsvc.matching import rules
from featsvc.matching.matches import MatchOptions
from featsvc.matching.rules import BankRules
from tests.matching.rows import PDQ

THREADS = 8


@pytest.fixture
def _switching_often() -> Iterator[None]:
    usual = sys.getswitchinterval()
    sys.setswitchinterval(1e-7)
    yield
    sys.setswitchinterval(usual)


def bank(name: str, **settings: object) -> Bank:
    times = dict.fromkeys(("create_time", "update_time"), datetime(2026, 1, 1, tzinfo=UTC))
    state = {"etag": "", "revision": 1, "entry_count": 0, "signal_counts": {}}
    return Bank(id=name, **times, **state, **settings)  # type: ignore[arg-type]


@pytest.mark.usefixtures("_switching_often")
def test_threads_that_fill_the_cache_get_their_own_thresholds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each thread asks for its own thresholds, more than the cache holds."""
    monkeypatch.setattr(rules, "_MAX_CACHED", 1)
    of_banks = BankRules.of([bank("a"), bank("b", thresholds={"pdq": 9})])

    def ask(thread: int) -> None:
        for turn in range(4000):
            wanted = (thread * 31 + turn) % 250
            options = MatchOptions(banks=("a",), thresholds={"pdq": wanted})
            got = of_banks.thresholds(PDQ, "original", options)
            assert got.by_bank.tolist() == [wanted, -1, -1]

    with ThreadPoolExecutor(THREADS) as pool:
        for done in [pool.submit(ask, thread) for thread in range(THREADS)]:
            done.result()
    assert len(of_banks._cache) <= 1 + 2 * THREADS
