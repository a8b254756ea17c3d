"""Snapshots: the rules, the order and the form of matches."""

from datetime import timedelta

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.banks.records import (
    BankMode,
    EntrySignal,
    Opinion,
    StoreHead,
)
from featsvc.errors import InvalidInput, NotFound, UnknownAlgorithm
from featsvc.matching import snapshot as snapshot_module
from featsvc.matching.matches import Match, MatchOptions, Variants
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.variants import QUERY_VARIANTS
from featsvc.signals.vectors import vector_value
from tests.matching.served import (
    MD5,
    NOW,
    PDQ,
    PHASH,
    PHASH_16,
    SHA256,
    SSCD,
    ZERO,
    bank,
    entry,
    far,
    ids,
    match,
    snapshot,
)

pytestmark = pytest.mark.usefixtures("hit_handling")


def test_a_match_has_all_facts_of_its_entry() -> None:
    made = entry(7, EntrySignal("pdq", far(3), "crop"), labels=("l",), source="s")
    (only,) = match(snapshot([made], bank(thresholds={"pdq": 5})))
    assert only == Match(
        bank="b",
        entry_id=7,
        external_id="x7",
        algorithm=PDQ,
        distance=3,
        threshold=5,
        threshold_overridden=False,
        query_variant="original",
        entry_variant="crop",
        mode=BankMode.ENFORCE,
        labels=("l",),
        source="s",
        entry_signal=far(3),
        query_signal=ZERO,
        safe=False,
        suppressed=False,
        evidence=(),
    )


def test_thresholds_are_inclusive_and_nearest_comes_first() -> None:
    made = [entry(d, far(d)) for d in (32, 31, 0, 5)]
    matches = match(snapshot(made))
    assert [(m.entry_id, m.distance) for m in matches] == [(0, 0), (5, 5), (31, 31)]


def test_hashes_of_another_size_are_searched() -> None:
    """An imported `phash-16` is served."""
    value = bytes(range(32))
    served = snapshot([entry(1, EntrySignal("phash-16", value))], bank())
    assert ids(match(served, Signal(PHASH_16, value))) == [1]
    assert ids(match(served, Signal(PHASH, value[:8]))) == []


def test_each_bank_has_its_own_threshold_and_a_request_may_replace_it() -> None:
    made = [entry(1, far(20)), entry(2, far(20), bank_id="c")]
    banks = bank(thresholds={"pdq": 10}), bank("c")
    assert ids(match(snapshot(made, *banks))) == [2]
    looser = match(snapshot(made, *banks), thresholds={"pdq": 20})
    assert [(m.entry_id, m.threshold, m.threshold_overridden) for m in looser] == [
        (1, 20, True),
        (2, 20, True),
    ]
    assert match(snapshot(made, *banks), thresholds={"pdq": 19}) == ()


def test_only_enabled_banks_match_and_matches_have_their_mode() -> None:
    made = [entry(i, ZERO, bank_id=b) for i, b in enumerate(("on", "shadow", "off"))]
    served = snapshot(
        made, bank("on"), bank("shadow", mode=BankMode.SHADOW), bank("off", mode=BankMode.OFF)
    )
    assert [(m.bank, m.mode) for m in match(served)] == [
        ("on", BankMode.ENFORCE),
        ("shadow", BankMode.SHADOW),
    ]
    assert match(served, banks=("off",)) == ()
    assert ids(match(served, banks=("shadow", "off"))) == [1]


def test_a_safe_list_suppresses_other_matches() -> None:
    made = [entry(1, ZERO), entry(2, far(9), bank_id="ok")]
    matches = match(snapshot(made, bank(), bank("ok", safe=True)))
    assert [(m.bank, m.safe, m.suppressed) for m in matches] == [
        ("b", False, True),
        ("ok", True, False),
    ]
    shadowed = match(snapshot(made, bank(), bank("ok", safe=True, mode=BankMode.SHADOW)))
    assert not any(m.suppressed for m in shadowed)


def test_a_safe_list_suppresses_even_where_its_match_is_not_returned() -> None:
    made = [entry(1, ZERO, labels=("l",)), entry(2, far(9), bank_id="ok")]
    banks = bank(), bank("ok", safe=True)
    (cut,) = match(snapshot(made, *banks), max_results=1)
    (filtered,) = match(snapshot(made, *banks), labels=("l",))
    assert cut.suppressed
    assert filtered.suppressed


def test_a_safe_list_holds_whatever_a_request_names() -> None:
    """Banks, labels, thresholds and limits restrict what is returned, not what suppresses it."""
    made = [entry(1, ZERO, labels=("l",)), entry(2, far(9), bank_id="ok"), entry(3, far(1))]
    made += [entry(4, far(2), bank_id="other")]
    served = snapshot(made, bank(), bank("ok", safe=True, thresholds={"pdq": 9}), bank("other"))
    for options in (
        MatchOptions(banks=("b",)),
        MatchOptions(banks=("b", "other"), top_k=1),
        MatchOptions(banks=("b",), labels=("l",), max_results=1),
        MatchOptions(banks=("b",), thresholds={"pdq": 1}),
        MatchOptions(banks=("b", "ok"), thresholds={"pdq": 1}),
        MatchOptions(thresholds={"pdq": 0}),
    ):
        flags = {(m.bank, m.suppressed) for m in served.match([Signal(PDQ, ZERO)], options).matches}
        assert ("b", True) in flags
        assert ("b", False) not in flags
        assert ("ok" in options.banks or not options.banks) == (("ok", False) in flags)
        batch = served.match_batch(PDQ, np.frombuffer(ZERO, np.uint8).reshape(1, 32), options)
        assert {(m.bank, m.suppressed) for m in batch.entries} == flags
    far_away = Signal(PDQ, far(20)), MatchOptions(banks=("b",), thresholds={"pdq": 40})
    assert not any(m.suppressed for m in served.match([far_away[0]], far_away[1]).matches)
    (safe,) = match(served, banks=("ok",), thresholds={"pdq": 40})
    assert (safe.threshold, safe.threshold_overridden) == (9, False)


def test_a_request_may_ignore_safe_lists() -> None:
    made = [entry(1, ZERO), entry(2, far(9), bank_id="ok")]
    served = snapshot(made, bank(), bank("ok", safe=True))
    for banks, expected in ((), {"b", "ok"}), (("b",), {"b"}), (("ok",), {"ok"}):
        options = MatchOptions(banks=banks, ignore_safe_lists=True)
        matches = served.match([Signal(PDQ, ZERO)], options).matches
        assert {m.bank for m in matches} == expected
        assert not any(m.suppressed for m in matches)
        batch = served.match_batch(PDQ, np.frombuffer(ZERO, np.uint8).reshape(1, 32), options)
        assert {(m.bank, m.suppressed) for m in batch.entries} == {(b, False) for b in expected}
    narrow = {"thresholds": {"pdq": 5}}
    assert ids(match(served, **narrow, ignore_safe_lists=True)) == [1]
    assert ids(match(served, **narrow)) == [1, 2]


def test_a_shadowed_safe_list_suppresses_nothing_and_is_not_consulted() -> None:
    made = [entry(1, ZERO), entry(2, ZERO, bank_id="ok")]
    served = snapshot(made, bank(), bank("ok", safe=True, mode=BankMode.SHADOW))
    assert [(m.bank, m.suppressed) for m in match(served, banks=("b",))] == [("b", False)]
    batch = served.match_batch(PDQ, np.frombuffer(ZERO, np.uint8).reshape(1, 32))
    assert not any(m.suppressed for m in batch.entries)


def test_labels_expiry_quarantine_and_opinion() -> None:
    made = [
        entry(1, ZERO, labels=("a", "b")),
        entry(2, ZERO, labels=("a",)),
        entry(3, ZERO, expire_time=NOW - timedelta(seconds=1)),
        entry(4, ZERO, expire_time=NOW + timedelta(hours=1)),
        entry(5, ZERO, quarantined=True),
        entry(6, ZERO, opinion=Opinion.NEGATIVE),
        entry(7, ZERO, opinion=Opinion.DISPUTED),
    ]
    assert ids(match(snapshot(made))) == [1, 2, 4, 7]
    assert ids(match(snapshot(made), labels=("b", "a"))) == [1]
    assert 6 in ids(match(snapshot(made, bank(safe=True))))


def test_low_quality_is_not_matched_and_reported() -> None:
    served = snapshot([entry(1, ZERO)])
    result = served.match([Signal(PDQ, ZERO, quality=49)])
    assert (result.matches, result.low_quality) == ((), True)
    assert ids(match(served, Signal(PDQ, ZERO, quality=50))) == [1]
    assert ids(match(served, Signal(PDQ, ZERO, quality=0), match_low_quality=True)) == [1]


def test_a_plain_value_is_of_low_quality_whatever_its_quality() -> None:
    """A hash of zeros is of a plain picture, so its matches mean nothing."""
    plain = bytes(32)
    served = snapshot([entry(1, plain), entry(2, EntrySignal("phash", bytes(8)))])
    for quality in (None, 0, 100):
        signal = Signal(PDQ, plain, quality)
        assert served.match_if_quick(signal, MatchOptions()) is None
        result = served.match([signal])
        assert (result.matches, result.low_quality) == ((), True)
        assert ids(match(served, signal, match_low_quality=True)) == [1]
    assert ids(match(served, Signal(PHASH, bytes(8)))) == [2]


def test_an_entry_counts_once_with_its_other_signals_as_evidence() -> None:
    md5 = bytes(16)
    made = entry(1, far(4), EntrySignal("pdq", far(2), "crop"), EntrySignal("md5", md5))
    served = snapshot([made])
    (one,) = match(served, Signal(PDQ, ZERO), Signal(MD5, md5))
    assert (one.algorithm.name, one.distance, one.query_signal) == ("md5", 0, md5)
    assert [(e.entry_variant, e.distance) for e in one.evidence] == [("crop", 2), ("original", 4)]


def test_a_match_names_the_frame_of_its_query() -> None:
    served = snapshot([entry(1, ZERO), entry(2, far(100))])
    frames = Signal(PDQ, far(100), frame=3), Signal(PDQ, ZERO, frame=7)
    assert [(m.entry_id, m.frame) for m in match(served, *frames)] == [(2, 3), (1, 7)]


def test_byte_hashes_match_when_equal_only() -> None:
    made = [entry(i, EntrySignal("md5", bytes([i // 2]) * 16)) for i in range(6)]
    served = snapshot(made)
    assert ids(match(served, Signal(MD5, b"\1" * 16))) == [2, 3]
    assert match(served, Signal(MD5, b"\1" * 15 + b"\0")) == ()
    assert match(served, Signal(SHA256, bytes(32))) == ()


def test_equal_signals_are_reported_once_a_bank() -> None:
    made = [entry(1, ZERO), entry(2, ZERO, bank_id="c")]
    assert [m.bank for m in match(snapshot(made, bank(), bank("c")))] == ["b", "c"]


def test_a_truncated_result_is_marked() -> None:
    served = snapshot([entry(i, far(i % 10)) for i in range(150)])
    result = served.match([Signal(PDQ, ZERO)])
    assert (len(result.matches), result.truncated) == (100, True)
    result = served.match([Signal(PDQ, ZERO)], MatchOptions(max_results=150))
    assert (len(result.matches), result.truncated) == (150, False)
    assert ids(match(served, max_results=2)) == [0, 10]


def test_top_k_counts_entries_an_algorithm() -> None:
    made = [entry(i, far(i)) for i in range(5)] + [entry(9, EntrySignal("md5", bytes(16)))]
    signals = Signal(PDQ, ZERO), Signal(MD5, bytes(16))
    result = snapshot(made).match(signals, MatchOptions(top_k=2))
    assert (sorted(ids(result.matches)), result.truncated) == ([0, 1, 9], False)


def test_variants_are_matched_where_a_bank_names_them() -> None:
    made = [entry(1, ZERO), entry(2, ZERO, bank_id="c")]
    served = snapshot(made, bank(), bank("c", query_variants=("flip_x",)))
    flipped = Signal(PDQ, ZERO, variant="flip_x")
    assert ids(match(served, flipped)) == [2]
    assert match(served, flipped, variants=Variants.NONE) == ()
    assert ids(match(served, flipped, variants=Variants.ALL)) == [1, 2]
    assert served.query_variants(MatchOptions()) == frozenset({"flip_x"})
    assert served.query_variants(MatchOptions(banks=("b",))) == frozenset()
    assert served.query_variants(MatchOptions(variants=Variants.ALL)) == {*QUERY_VARIANTS}


def test_wrong_requests_are_refused() -> None:
    served = snapshot([entry(1, ZERO)])
    with pytest.raises(NotFound, match="'zz'"):
        match(served, banks=("zz",))
    with pytest.raises(UnknownAlgorithm):
        MatchOptions(thresholds={"nope": 1})
    with pytest.raises(InvalidInput, match="32 bytes"):
        match(served, Signal(PDQ, b"short"))
    with pytest.raises(InvalidInput, match="0 to 256"):
        MatchOptions(thresholds={"pdq": 300})
    with pytest.raises(InvalidInput, match="max_results"):
        MatchOptions(max_results=1001)
    with pytest.raises(InvalidInput, match="labels"):
        MatchOptions(labels=tuple(map(str, range(33))))
    with pytest.raises(InvalidInput, match="top_k"):
        MatchOptions(top_k=-1)


def test_an_empty_snapshot_matches_nothing() -> None:
    assert match(snapshot([])) == ()
    assert Snapshot(StoreHead(0, None), (), ()).match([Signal(PDQ, ZERO)]).matches == ()


def test_status_counts_entries_and_signals() -> None:
    made = [entry(1, far(1), far(2)), entry(2, far(3), EntrySignal("md5", bytes(16)))]
    status = {s.algorithm: (s.entries, s.signals, s.engine) for s in snapshot(made).status}
    assert status == {"pdq": (2, 3, "scan"), "md5": (1, 1, "exact")}


def test_a_bank_may_choose_its_engine() -> None:
    made = [entry(i, far(i), bank_id="bc"[i % 2]) for i in range(20)]
    chosen = snapshot(made, bank("b", engine="faiss"), bank("c", engine="multi-index"))
    default = snapshot(made, bank("b"), bank("c"))
    assert match(chosen) == match(default)
    assert len(match(chosen)) == 20


def test_only_quick_searches_are_made_by_match_if_quick(monkeypatch: pytest.MonkeyPatch) -> None:
    served = snapshot([entry(i, far(i % 3)) for i in range(65)])
    signal = Signal(PDQ, far(100))
    assert served.match_if_quick(signal, MatchOptions()) == served.match([signal])
    assert served.match_if_quick(signal, MatchOptions(thresholds={"pdq": 32})) is None
    assert served.match_if_quick(Signal(PDQ, ZERO), MatchOptions()) is None
    monkeypatch.setattr(snapshot_module, "QUICK_SIGNALS", 64)
    served = snapshot([entry(i, far(i % 3)) for i in range(65)])
    assert served.match_if_quick(signal, MatchOptions()) is None


@settings(max_examples=60)
@given(st.integers(0, 2**32 - 1), st.integers(0, 60), st.integers(0, 256), st.sampled_from([1, 40]))
def test_search_equals_brute_force(seed: int, count: int, radius: int, noise: int) -> None:
    rng = np.random.default_rng(seed)
    centre = rng.integers(0, 256, 32, dtype=np.uint8)
    flips = rng.random((count, 256)) < noise / 256
    values = centre ^ np.packbits(flips, axis=1)
    expected = {
        i: d
        for i, d in enumerate(map(int, np.bitwise_count(values ^ centre).sum(1)))
        if d <= radius
    }
    served = snapshot([entry(i, bytes(v)) for i, v in enumerate(values)])
    matches = match(
        served, Signal(PDQ, bytes(centre)), thresholds={"pdq": radius}, max_results=1000
    )
    assert {m.entry_id: m.distance for m in matches} == expected
    assert [m.distance for m in matches] == sorted(expected.values())


def directions(*degrees: float) -> list[bytes]:
    kind = get_algorithm("sscd@3")
    turned = np.radians(degrees)
    points = np.stack([np.cos(turned), np.sin(turned)], axis=1)
    return [vector_value(kind, point) for point in points]


def test_vectors_match_within_a_cosine_distance() -> None:
    """A query that hits several vectors, alone and with a hash of the same entry."""
    made = directions(0, 10, 20, 60, 90, 180)
    entries = [
        entry(i, EntrySignal("sscd@3", v), EntrySignal("pdq", far(3 * i)))
        for i, v in enumerate(made)
    ]
    served = snapshot(entries, bank(thresholds={"sscd@3": 0.07}))
    query = Signal(SSCD, made[0])
    near = served.match([query]).matches
    assert [m.entry_id for m in near] == [0, 1, 2]
    assert [round(m.distance, 4) for m in near] == [0, 0.0152, 0.0603]
    assert {(m.threshold, m.algorithm.name) for m in near} == {(0.07, "sscd@3")}
    assert served.match_if_quick(query, MatchOptions()) is None
    wide = served.match([query], MatchOptions(thresholds={"sscd@3": 2})).matches
    assert [m.entry_id for m in wide] == [0, 1, 2, 3, 4, 5]
    both = served.match([query, Signal(PDQ, far(2))]).matches
    assert (both[0].entry_id, both[0].algorithm.name, len(both[0].evidence)) == (0, "sscd@3", 1)
    batch = served.match_batch(SSCD, np.stack([np.frombuffer(v, np.uint8) for v in made]))
    assert batch.distances.dtype == np.float32
    assert np.diff(batch.offsets).tolist() == [3, 3, 3, 1, 1, 1]
    with pytest.raises(InvalidInput, match="sscd@3 value has 8 bytes, not 12"):
        served.match([Signal(SSCD, bytes(12))])
