"""`upload_burst` and `message_burst` of the shipped definitions, over generated histories.

Every history goes through the real store, so that its windows are as wide as in production.
"""

import re
from collections.abc import Sequence
from itertools import count

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.accounts import Definitions, EntityRef, Event, FeatureStore, Selection
from tests.accounts.stores import NOW_MS, run
from tests.accounts.test_docs import PAGE

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
BURST = 3.0
"""Where a rule would draw the line."""

_accounts = count()
History = Sequence[int]
"""Ages of events in milliseconds."""
many = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


def bursts(
    url: str, shipped: Definitions, histories: Sequence[History], kind: str = "upload"
) -> list[float]:
    """Return the burst feature of one account for each history."""
    accounts = [f"a{next(_accounts)}" for _ in histories]
    events = [
        Event(f"{account}-{number}", kind, NOW_MS - age, {"account": account})
        for account, ages in zip(accounts, histories, strict=True)
        for number, age in enumerate(sorted(ages, reverse=True))
    ]

    async def body(store: FeatureStore) -> list[float]:
        for start in range(0, len(events), 1000):
            await store.ingest(events[start : start + 1000])
        entities = [EntityRef("account", account) for account in accounts]
        table = await store.get(entities, Selection((f"{kind}_burst",)), NOW_MS)
        return [float(value) for value in table.values[0]]

    return run(url, shipped, body)


def spread(number: int, youngest_ms: int, oldest_ms: int) -> list[int]:
    """Return `number` ages, evenly from the one to the other."""
    step = (oldest_ms - youngest_ms) / max(number, 1)
    return [int(youngest_ms + (i + 0.5) * step) for i in range(number)]


def before(rate: float) -> list[int]:
    """The day before the last hour, at `rate` events an hour."""
    return spread(int(rate * 23), HOUR_MS, DAY_MS)


def within_the_hour(number: int) -> list[int]:
    return spread(number, 0, HOUR_MS)


ages = st.integers(0, DAY_MS - 1)


@pytest.mark.slow
@many
@given(st.lists(ages, min_size=1, max_size=5))
def test_a_few_uploads_are_no_burst(url: str, shipped: Definitions, few: list[int]) -> None:
    (value,) = bursts(url, shipped, [few])
    assert 0.8 < value <= 2


@pytest.mark.slow
@many
@given(rate=st.integers(1, 40))
def test_a_steady_account_is_as_usual(url: str, shipped: Definitions, rate: int) -> None:
    (value,) = bursts(url, shipped, [before(rate) + within_the_hour(rate)])
    assert value == pytest.approx(1, abs=0.2)


@pytest.mark.slow
@many
@given(rate=st.floats(0.1, 8), number=st.integers(20, 100))
def test_a_burst_stands_out_from_every_usual_rate(
    url: str, shipped: Definitions, rate: float, number: int
) -> None:
    number = max(number, int(12 * rate))
    values = bursts(url, shipped, [before(rate) + within_the_hour(number), before(rate)])
    assert values[0] > BURST
    assert values[1] <= 1


@pytest.mark.slow
@many
@given(history=st.lists(ages, max_size=40), more=st.integers(1, 20))
def test_more_now_raises_it_and_more_before_lowers_it(
    url: str, shipped: Definitions, history: list[int], more: int
) -> None:
    plain, now, earlier = bursts(
        url,
        shipped,
        [history, history + within_the_hour(more), history + spread(more, 2 * HOUR_MS, DAY_MS)],
    )
    if history:  # nothing is known of an account without events
        assert earlier < plain < now
    else:
        assert earlier < 1 < now


def test_the_histories_that_were_all_24_before(url: str, shipped: Definitions) -> None:
    histories = [within_the_hour(number) for number in (1, 5, 50, 500)]
    values = bursts(url, shipped, histories)
    assert values == sorted(set(values))
    assert values == [pytest.approx(v) for v in (1.2, 2, 11, 101)]


def test_messages_have_their_own_scale(url: str, shipped: Definitions) -> None:
    histories = [within_the_hour(number) for number in (1, 20, 400)]
    values = bursts(url, shipped, histories, "message")
    assert values == [pytest.approx(v) for v in (1.05, 2, 21)]


def test_the_table_of_the_docs(url: str, shipped: Definitions) -> None:
    rows = re.findall(r"^\| [a-z ,-]+ \| (\d+) \| (\d+) \| ([\d.]+) \|$", PAGE.read_text(), re.M)
    assert len(rows) == 5
    histories = [before(float(usual)) + within_the_hour(int(now)) for now, usual, _ in rows]
    stated = [float(value) for *_, value in rows]
    assert bursts(url, shipped, histories) == [pytest.approx(v, rel=0.1) for v in stated]
