"""Matches of many hits: a limit counts entries, and no hit of a returned entry is lost."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.banks.records import EntrySignal
from featsvc.matching import match_builder
from featsvc.matching.many_hits import HitColumns
from featsvc.matching.matches import MAX_EVIDENCE, MatchOptions
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from tests.matching.served import ZERO, bank, entry, far, snapshot

PDQ = get_algorithm("pdq")
MD5 = get_algorithm("md5")
MD5_SIGNAL = EntrySignal("md5", bytes(16))

Hit = tuple[float, int, int, int]
"""Share, rank, entry and algorithm."""


def one_by_one(hits: list[Hit], limit: int, top_k: int, each: int) -> list[int]:
    """What `returned` promises, hit by hit."""
    shown: Counter[int] = Counter()
    entries_of: dict[int, set[int]] = defaultdict(set)
    numbers = []
    for number in sorted(range(len(hits)), key=lambda n: hits[n]):
        _, _, of_entry, algorithm = hits[number]
        entries = entries_of[algorithm]
        if top_k and of_entry not in entries and len(entries) >= top_k:
            continue
        entries.add(of_entry)
        if of_entry not in shown and len(shown) >= limit:
            continue
        if shown[of_entry] < each:
            numbers.append(number)
        shown[of_entry] += 1
    return numbers


@st.composite
def hit_lists(draw: st.DrawFn) -> list[Hit]:
    """Few different shares and entries, so that there are ties and entries of many hits."""
    shares, entries = draw(st.integers(1, 4)), draw(st.integers(1, 60))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(0, 400))
    columns = (
        rng.integers(0, shares, count) / 8,
        rng.permutation(count),
        rng.integers(0, entries, count) ** 2 // entries,
        rng.integers(0, 3, count),
    )
    return list(zip(*(column.tolist() for column in columns), strict=True))


@settings(max_examples=150)
@given(hit_lists(), st.integers(1, 12), st.integers(0, 12), st.integers(1, 5))
def test_the_hits_of_the_nearest_entries_are_returned(
    hits: list[Hit], limit: int, top_k: int, each: int
) -> None:
    columns = HitColumns.empty(len(hits))
    for i, hit in enumerate(hits):
        columns.share[i], columns.rank[i], columns.entry[i], columns.algorithm[i] = hit
    expected = one_by_one(hits, limit, top_k, each)
    assert columns.returned(limit, top_k, each).tolist() == expected


@pytest.fixture(params=[match_builder.MANY, 10**9], ids=["chosen in columns", "all"])
def _many(request: pytest.FixtureRequest) -> Iterator[None]:
    with mock.patch.object(match_builder, "MANY", request.param):
        yield


@pytest.mark.parametrize("limit", [499, 500, 501])
@pytest.mark.usefixtures("_many")
def test_entries_of_many_equal_signals_all_match(limit: int) -> None:
    """27,500 hits are 500 matches."""
    pdq = EntrySignal("pdq", ZERO)
    served = snapshot([entry(i, *[pdq] * 55) for i in range(500)])
    result = served.match([Signal(PDQ, ZERO)], MatchOptions(max_results=limit))
    expected = list(range(min(limit, 500)))
    assert [match.entry_id for match in result.matches] == expected
    assert result.truncated is (limit < 500)
    assert {len(match.evidence) for match in result.matches} == {MAX_EVIDENCE}
    values = np.frombuffer(ZERO, np.uint8).reshape(1, 32)
    batch = served.match_batch(PDQ, values, MatchOptions(max_results=limit))
    assert [batch.entries[i].entry_id for i in batch.entry_index] == expected
    assert (batch.truncated_queries == (0,)) is result.truncated


@pytest.mark.usefixtures("_many")
def test_no_algorithm_hides_another() -> None:
    """One entry of an equal MD5 beside 25,000 of near PDQ hashes."""
    near = [entry(i, far(1)) for i in range(25_000)]
    served = snapshot([*near, entry(25_000, MD5_SIGNAL)])
    signals = Signal(PDQ, ZERO), Signal(MD5, bytes(16))
    for top_k, count in ((0, 10), (3, 4)):
        result = served.match(signals, MatchOptions(max_results=10, top_k=top_k))
        assert (len(result.matches), result.truncated) == (count, not top_k)
        assert result.matches[0].algorithm is MD5


@pytest.mark.usefixtures("_many")
def test_equal_shares_are_in_the_order_of_the_query() -> None:
    served = snapshot([*(entry(i, ZERO) for i in range(700)), entry(700, MD5_SIGNAL)])
    signals = Signal(PDQ, ZERO), Signal(MD5, bytes(16))
    for queries, at in ((signals, 700), (signals[::-1], 0)):
        matches = served.match(queries, MatchOptions(top_k=700, max_results=1000)).matches
        assert [i for i, match in enumerate(matches) if match.algorithm is MD5] == [at]
        assert len(matches) == 701


@pytest.mark.usefixtures("_many")
def test_evidence_is_the_nearest_of_all_queries_and_algorithms() -> None:
    """An entry's own evidence is complete where the entries around it have thousands of hits."""
    others = [entry(i, *[EntrySignal("pdq", far(1))] * 20) for i in range(1, 100)]
    signals = [far(d) for d in (9, 4, 7, 40)]
    served = snapshot(
        [entry(0, *signals, MD5_SIGNAL), *others],
        bank(query_variants=("flip_x",)),
    )
    queries = Signal(PDQ, ZERO), Signal(PDQ, far(5), variant="flip_x"), Signal(MD5, bytes(16))
    first = served.match(queries, MatchOptions(max_results=1)).matches[0]
    assert (first.entry_id, first.algorithm) == (0, MD5)
    found = [(e.distance, e.query_variant) for e in first.evidence]
    assert found == [
        (1, "flip_x"),
        (2, "flip_x"),
        (4, "original"),
        (4, "flip_x"),
        (7, "original"),
        (9, "original"),
    ]
