"""An entry matches once, by any of its signals and any variant of the query."""

from itertools import product

import numpy as np
import pytest

from featsvc.banks.records import EntrySignal
from featsvc.matching import hits, snapshot
from featsvc.matching.matches import MAX_EVIDENCE, Match, MatchOptions, Variants
from featsvc.matching.part_search import search_parts
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.variants import VARIANTS
from tests.matching.served import ZERO, bank, entry, far, ids, match
from tests.matching.served import snapshot as snapshot_of

PDQ = get_algorithm("pdq")
MD5 = get_algorithm("md5")

ALL = ("flip_y", "trimmed", "unframed")
TURN = int(31 * VARIANTS["flip_y"].share)
CROP = int(31 * VARIANTS["crop_5"].share)
PHASH = bytes(8)


def crop(distance: int, name: str = "crop_5") -> EntrySignal:
    return EntrySignal("pdq", far(distance), name)


def evidence(match_: Match) -> list[tuple[str, float, str, str]]:
    return [
        (e.algorithm.name, e.distance, e.query_variant, e.entry_variant) for e in match_.evidence
    ]


def test_shares_are_stricter_for_turns_than_for_crops() -> None:
    assert 20 < TURN < CROP < 31


@pytest.mark.parametrize("whole", [31, 20, 1, 0])
def test_a_variant_has_its_share_of_the_threshold(whole: int) -> None:
    """On either side. Where both sides are variants, the smaller share applies."""
    searched = bank(thresholds={"pdq": whole}, query_variants=ALL)
    for query, known in product(("original", "flip_y"), ("original", "crop_5", "a list's own")):
        share = min(VARIANTS[query].share, VARIANTS[known].share if known in VARIANTS else 1)
        limit = int(whole * share)
        for others in ((), (entry(9, far(200)),)):
            made = [entry(i, crop(i, known)) for i in (limit, limit + 1)] + list(others)
            matches = match(snapshot_of(made, searched), Signal(PDQ, ZERO, variant=query))
            assert [(m.distance, m.threshold) for m in matches] == [(limit, limit)], (query, known)
            assert (matches[0].query_variant, matches[0].entry_variant) == (query, known)


def test_variants_have_their_share_of_the_threshold_of_a_request() -> None:
    served = snapshot_of([entry(1, crop(36)), entry(2, crop(38))], bank(query_variants=ALL))
    (only,) = match(served, thresholds={"pdq": 40})
    assert (only.entry_id, only.threshold, only.threshold_overridden) == (1, 37, True)


def test_entry_variants_have_their_share_in_batches() -> None:
    served = snapshot_of([entry(1, crop(CROP)), entry(2, crop(CROP + 1)), entry(3, far(31))])
    result = served.match_batch(PDQ, np.frombuffer(ZERO * 2, np.uint8).reshape(2, 32))
    assert [(m.entry_id, m.threshold) for m in result.entries] == [(1, CROP), (3, 31)]
    assert result.offsets.tolist() == [0, 2, 4]


def test_an_entry_that_many_variants_hit_matches_once() -> None:
    made = [entry(1, far(9), crop(2), crop(12, "crop_10")), entry(2, far(5))]
    served = snapshot_of(made, bank(query_variants=ALL))
    queries = Signal(PDQ, ZERO), Signal(PDQ, far(3), variant="flip_y")
    first, second = match(served, *queries)
    assert (first.entry_id, first.distance, first.query_variant) == (1, 1, "flip_y")
    assert (first.query_signal, first.entry_variant) == (far(3), "crop_5")
    assert evidence(first) == [
        ("pdq", 2, "original", "crop_5"),
        ("pdq", 6, "flip_y", "original"),
        ("pdq", 9, "original", "original"),
        ("pdq", 9, "flip_y", "crop_10"),
        ("pdq", 12, "original", "crop_10"),
    ]
    assert (second.entry_id, second.distance, second.query_variant) == (2, 2, "flip_y")
    assert evidence(second) == [("pdq", 5, "original", "original")]


def test_algorithms_are_ordered_by_their_share_of_differing_bits() -> None:
    """4 of 64 bits are more than 15 of 256, and fewer than 17."""
    phash = EntrySignal("phash", bytes(7) + b"\x0f")
    made = [entry(1, far(17), phash), entry(2, far(15)), entry(3, EntrySignal("md5", bytes(16)))]
    queries = Signal(PDQ, ZERO), Signal(get_algorithm("phash"), PHASH), Signal(MD5, bytes(16))
    matches = match(snapshot_of(made), *queries)
    assert [(m.entry_id, m.algorithm.name) for m in matches] == [
        (3, "md5"),
        (2, "pdq"),
        (1, "phash"),
    ]
    assert evidence(matches[2]) == [("pdq", 17, "original", "original")]


def test_frames_of_an_animation_give_one_match() -> None:
    frames = [Signal(PDQ, far(d), frame=i) for i, d in enumerate((8, 3, 20))]
    (one,) = match(snapshot_of([entry(1, ZERO)]), *frames)
    assert (one.distance, one.frame, one.query_signal) == (3, 1, far(3))
    assert [e.distance for e in one.evidence] == [8, 20]


def test_content_in_several_banks_gives_a_match_in_each() -> None:
    made = [entry(1, ZERO, crop(1)), entry(2, ZERO, crop(1), bank_id="c")]
    banks = bank(), bank("c", thresholds={"pdq": 10}, query_variants=ALL)
    matches = match(
        snapshot_of(made, *banks), Signal(PDQ, ZERO), Signal(PDQ, far(2), variant="trimmed")
    )
    assert [(m.bank, m.threshold, len(m.evidence)) for m in matches] == [("b", 31, 1), ("c", 10, 3)]
    assert {e.threshold for e in matches[1].evidence} == {8, 9}, "both shares of 10"


def test_a_safe_list_suppresses_through_a_variant() -> None:
    made = [entry(1, ZERO), entry(2, ZERO, bank_id="s")]
    served = snapshot_of(
        made, bank(), bank("s", safe=True, thresholds={"pdq": 3}, query_variants=ALL)
    )
    original = Signal(PDQ, far(4))
    assert not match(served, original)[0].suppressed
    flipped = Signal(PDQ, ZERO, variant="flip_y")
    assert [m.suppressed for m in match(served, original, flipped) if m.bank == "b"] == [True]


def test_a_poor_variant_is_not_matched_and_not_low_quality() -> None:
    served = snapshot_of([entry(1, ZERO)], bank(query_variants=ALL))
    poor = Signal(PDQ, ZERO, quality=49, variant="trimmed")
    result = served.match([Signal(PDQ, far(99), quality=90), poor])
    assert (result.matches, result.low_quality) == ((), False)
    assert served.match([poor], MatchOptions(match_low_quality=True)).matches == ()
    good = Signal(PDQ, ZERO, quality=50, variant="trimmed")
    result = served.match([Signal(PDQ, far(99), quality=10), good])
    assert (ids(result.matches), result.low_quality) == ([1], True)


def test_evidence_is_capped() -> None:
    made = entry(1, *(crop(i % 9, name) for i, name in enumerate(VARIANTS) if "crop" in name))
    signals = [Signal(PDQ, ZERO), Signal(PDQ, far(1), variant="flip_y")]
    (one,) = match(snapshot_of([made], bank(query_variants=ALL)), *signals)
    assert len(one.evidence) == MAX_EVIDENCE
    distances = [one.distance, *(e.distance for e in one.evidence)]
    assert distances == sorted(distances)


def test_variants_with_equal_thresholds_are_searched_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    searched: list[int] = []

    def counted(parts, queries, radius):  # type: ignore[no-untyped-def]
        searched.append(len(queries))
        return search_parts(parts, queries, radius)

    monkeypatch.setattr(snapshot, "search_parts", counted)
    queries = [Signal(PDQ, far(i), variant=v) for i, v in enumerate(("original", *ALL))]
    served = snapshot_of([entry(1, ZERO)], bank(query_variants=ALL))
    assert len(match(served, *queries)[0].evidence) == 3
    assert searched == [1, 3]


def test_queries_with_too_many_hits_are_searched_in_halves(monkeypatch: pytest.MonkeyPatch) -> None:
    made = [entry(i, far(i % 5)) for i in range(800)]
    served = snapshot_of(made, bank(query_variants=ALL))
    queries = [Signal(PDQ, far(i), variant=v) for i, v in enumerate(ALL)]
    whole = match(served, *queries)
    monkeypatch.setattr(hits, "MAX_HITS", 300)
    assert match(served, *queries) == whole
    assert len(whole) == 100


def test_all_variants_are_matched_in_banks_without_variants() -> None:
    served = snapshot_of([entry(1, ZERO)])
    flipped = Signal(PDQ, ZERO, variant="flip_y")
    assert match(served, flipped) == ()
    (one,) = match(served, flipped, variants=Variants.ALL)
    assert (one.query_variant, one.threshold) == ("flip_y", TURN)
