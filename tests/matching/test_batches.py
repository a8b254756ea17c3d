"""Batches of queries: the matches of each are those that it has alone."""

from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.errors import InvalidInput
from featsvc.matching import hits, match_builder
from featsvc.matching import snapshot as snapshot_module
from featsvc.matching.matches import MatchOptions
from featsvc.signals.signal import Signal
from tests.matching.served import PDQ, ZERO, bank, entry, far, ids, snapshot

pytestmark = pytest.mark.usefixtures("hit_handling")


def test_a_batch_has_the_matches_of_each_query() -> None:
    made = [entry(1, ZERO), entry(2, far(5)), entry(3, far(200))]
    queries = np.frombuffer(ZERO + far(100) + far(199), np.uint8).reshape(3, 32)
    result = snapshot(made).match_batch(PDQ, queries)
    assert result.offsets.tolist() == [0, 2, 2, 3]
    assert result.distances.tolist() == [0, 5, 1]
    assert [result.entries[i].entry_id for i in result.entry_index] == [1, 2, 3]
    assert result.truncated_queries == ()


def test_a_batch_is_suppressed_query_by_query() -> None:
    made = [entry(1, far(20)), entry(2, ZERO, bank_id="ok")]
    banks = bank(), bank("ok", safe=True, thresholds={"pdq": 2})
    queries = np.frombuffer(far(1) + far(30), np.uint8).reshape(2, 32)
    result = snapshot(made, *banks).match_batch(PDQ, queries)
    suppressed = [result.entries[i].suppressed for i in result.entry_index]
    assert (result.offsets.tolist(), suppressed) == ([0, 2, 3], [False, True, False])


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(st.sampled_from([bytes(32), ZERO, far(9), far(99)]), st.integers(0, 100)),
        max_size=8,
    ),
    st.booleans(),
    st.booleans(),
    st.integers(0, 2),
)
def test_a_batch_leaves_out_what_single_calls_call_low_quality(
    queries: list[tuple[bytes, int]], rated: bool, low_too: bool, max_results: int
) -> None:
    served = snapshot([entry(1, ZERO), entry(2, far(9)), entry(3, bytes(32)), entry(4, far(3))])
    options = MatchOptions(match_low_quality=low_too, max_results=max_results)
    values = np.frombuffer(b"".join(value for value, _ in queries), np.uint8).reshape(-1, 32)
    qualities = np.array([quality for _, quality in queries], np.uint8) if rated else None
    batch = served.match_batch(PDQ, values, options, qualities)
    for i, (value, quality) in enumerate(queries):
        single = served.match([Signal(PDQ, value, quality if rated else None)], options)
        of_query = slice(batch.offsets[i], batch.offsets[i + 1])
        matches = [batch.entries[j].entry_id for j in batch.entry_index[of_query]]
        assert batch.low_quality[i] == single.low_quality
        assert matches == ids(single.matches)
        assert batch.distances[of_query].tolist() == [m.distance for m in single.matches]
        assert (i in batch.truncated_queries) == single.truncated


def test_a_batch_with_too_many_hits_is_searched_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [entry(i, far(i % 3)) for i in range(3000)]
    served = snapshot([*made, entry(3000, far(90), bank_id="ok")], bank(), bank("ok", safe=True))
    values = np.frombuffer(b"".join(far(d) for d in (0, 1, 80, 200, 2)), np.uint8).reshape(5, 32)
    whole = served.match_batch(PDQ, values, MatchOptions(max_results=5))
    monkeypatch.setattr(hits, "MAX_HITS", 2000)
    halves = served.match_batch(PDQ, values, MatchOptions(max_results=5))
    assert halves.offsets.tolist() == whole.offsets.tolist() == [0, 5, 10, 11, 11, 16]
    assert halves.distances.tolist() == whole.distances.tolist()
    assert halves.truncated_queries == whole.truncated_queries == (0, 1, 4)
    assert halves.entries == whole.entries


@pytest.mark.parametrize("halved", [False, True])
def test_an_answer_too_large_is_refused(monkeypatch: pytest.MonkeyPatch, halved: bool) -> None:
    served = snapshot([entry(i, far(i % 3)) for i in range(30)])
    values = np.frombuffer(far(0) * 4, np.uint8).reshape(4, 32)
    monkeypatch.setattr(snapshot_module, "MAX_BATCH_MATCHES", 119)
    if halved:
        monkeypatch.setattr(hits, "MAX_HITS", 60)
    with pytest.raises(InvalidInput, match="send fewer"):
        served.match_batch(PDQ, values)
    assert served.match_batch(PDQ, values[:3]).offsets.tolist() == [0, 30, 60, 90]


def test_wrong_batches_are_refused() -> None:
    served = snapshot([entry(1, ZERO)])
    with pytest.raises(InvalidInput, match="32 bytes"):
        served.match_batch(PDQ, np.zeros((2, 16), np.uint8))
    with pytest.raises(InvalidInput, match="65536"):
        served.match_batch(PDQ, np.zeros((65_537, 32), np.uint8))
    assert served.match_batch(PDQ, np.zeros((0, 32), np.uint8)).offsets.tolist() == [0]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.integers(0, 40), st.integers(0, 2), st.booleans()), max_size=30),
    st.lists(st.integers(0, 60), min_size=1, max_size=5),
    st.integers(0, 4),
    st.integers(0, 3),
    st.booleans(),
    st.booleans(),
)
def test_a_batch_equals_its_queries_one_by_one(
    signals: list[tuple[int, int, bool]],
    queries: list[int],
    max_results: int,
    top_k: int,
    labelled: bool,
    choosing: bool,
) -> None:
    made = [
        entry(i, far(d), far(d + 1), bank_id="bcs"[b], labels=("l",) if has_label else ())
        for i, (d, b, has_label) in enumerate(signals)
    ]
    banks = bank(), bank("c", engine="faiss" if choosing else "auto"), bank("s", safe=True)
    served = snapshot(made, *banks)
    labels = ("l",) if labelled else ()
    options = MatchOptions(max_results=max_results, top_k=top_k, labels=labels)
    values = [far(d) for d in queries]
    batch = served.match_batch(
        PDQ, np.frombuffer(b"".join(values), np.uint8).reshape(-1, 32), options
    )
    for i, value in enumerate(values):
        result = served.match([Signal(PDQ, value)], options)
        quick = served.match_if_quick(Signal(PDQ, value), options)
        assert quick in ((None, result) if choosing else (result,))
        with mock.patch.object(match_builder, "FEW", 16 - match_builder.FEW):
            assert served.match([Signal(PDQ, value)], options) == result
        of_query = slice(batch.offsets[i], batch.offsets[i + 1])
        matches = [batch.entries[j] for j in batch.entry_index[of_query]]
        assert batch.distances[of_query].tolist() == [m.distance for m in result.matches]
        assert {(m.entry_id, m.suppressed) for m in matches} == {
            (m.entry_id, m.suppressed) for m in result.matches
        }
        assert (i in batch.truncated_queries) == result.truncated
