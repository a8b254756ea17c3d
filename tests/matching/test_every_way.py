"""Rules hold whichever code applies them: hits one by one, in columns, quick, and in batches."""

from collections.abc import Sequence
from unittest import mock

import numpy as np
import pytest

from featsvc.banks.records import Bank, BankMode, Entry, EntrySignal, Opinion, StoreHead
from featsvc.matching import hits, match_builder
from featsvc.matching import snapshot as snapshot_module
from featsvc.matching.layers import Layers
from featsvc.matching.matches import MatchOptions, MatchResult
from featsvc.matching.part_search import search_parts
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from tests.matching.served import NOW, ZERO, bank, entry, far, ids, rows_of, snapshot

PDQ, PHASH, MD5 = map(get_algorithm, ("pdq", "phash", "md5"))
DEFAULT = MatchOptions()
VARIANTS = ("flip_x", "flip_y")
SIGNALS = [Signal(PDQ, far(d), variant=v) for v in ("original", *VARIANTS) for d in (0, 1, 2)]


def results(
    served: Snapshot, signals: Sequence[Signal], options: MatchOptions = DEFAULT
) -> list[MatchResult]:
    """The result by every limit from which hits are handled in columns."""
    found = []
    for few, many in ((1000, 1000), (0, 1000), (0, 0)):
        with mock.patch.multiple(match_builder, FEW=few, MANY=many):
            found.append(served.match(signals, options))
    return found


def facts(
    served: Snapshot, query: bytes = ZERO, options: MatchOptions = DEFAULT
) -> set[tuple[tuple[int, bool, bool], ...]]:
    """The entry, `safe` and `suppressed` of each match, by every way, sorted; one if all agree."""
    signal = Signal(PDQ, query)
    quick = served.match_if_quick(signal, options)
    answers = [result.matches for result in results(served, [signal], options)]
    answers += [quick.matches] if quick else []
    for queries in ((query,), (far(250), query)):
        values = np.frombuffer(b"".join(queries), np.uint8).reshape(-1, 32)
        batch = served.match_batch(PDQ, values, options)
        columns = batch.entry_index[batch.offsets[-2] :].tolist()
        answers.append(tuple(batch.entries[i] for i in columns))
    return {
        tuple(sorted((m.entry_id, m.safe, m.suppressed) for m in matches)) for matches in answers
    }


def after(
    first: Sequence[Entry], added: Sequence[Entry], removed: Sequence[int], *banks: Bank
) -> Snapshot:
    """Serve a base and a later change, which withdraws entries by their ids."""
    layers = Layers.on_rows(rows_of(first)).advance(rows_of(added), removed)
    return Snapshot(StoreHead(2, NOW), banks or (bank(),), layers.views(banks or (bank(),)))


@pytest.mark.parametrize("removed", [(), (1,), (0, 7, 19), tuple(range(20))])
def test_withdrawn_entries_do_not_match(removed: tuple[int, ...]) -> None:
    """Of more hits than are handled one by one, too."""
    served = after([entry(i, far(i)) for i in range(20)], [entry(20, far(2))], removed)
    live = sorted({*range(21)} - {*removed})
    assert facts(served) == {tuple((i, False, False) for i in live)}


def test_entries_of_a_deleted_bank_do_not_match() -> None:
    served = after([entry(1, ZERO, bank_id="gone")], [entry(2, far(1))], ())
    assert facts(served) == {((2, False, False),)}


@pytest.mark.parametrize("labels", [(), ("l",)])
@pytest.mark.parametrize("mode", BankMode)
def test_safe_lists_suppress_in_enforce_only_and_not_themselves(
    mode: BankMode, labels: tuple[str, ...]
) -> None:
    made = [entry(1, ZERO, labels=("l",)), entry(2, far(3), bank_id="ok"), entry(3, far(4))]
    served = snapshot(made, bank(), bank("ok", safe=True, mode=mode))
    suppressed = mode is BankMode.ENFORCE
    every = [(1, False, suppressed), (2, True, False), (3, False, suppressed)]
    if mode is BankMode.OFF:
        del every[1]
    expected = every[:1] if labels else every
    assert facts(served, options=MatchOptions(labels=labels)) == {tuple(expected)}


def test_a_safe_list_matches_its_own_negative_entries_only() -> None:
    made = [entry(i, far(i), bank_id=b, opinion=Opinion.NEGATIVE) for i, b in ((1, "b"), (2, "ok"))]
    served = snapshot(made, bank(), bank("ok", safe=True, mode=BankMode.SHADOW))
    assert facts(served) == {((2, True, False),)}


@pytest.mark.parametrize("quality", [0, 49, 50, None])
@pytest.mark.parametrize("match_low_quality", [False, True])
def test_a_quick_match_is_that_of_match(quality: int | None, match_low_quality: bool) -> None:
    """Low quality is not matched, and never reads as "no match"."""
    served = snapshot([entry(1, far(3))])
    signal, options = Signal(PDQ, ZERO, quality), MatchOptions(match_low_quality=match_low_quality)
    result = served.match([signal], options)
    assert served.match_if_quick(signal, options) in (None, result)
    poor = quality in (0, 49) and not match_low_quality
    assert (result.low_quality, ids(result.matches)) == (poor, [] if poor else [1])


def test_shares_order_algorithms_by_every_way() -> None:
    """4 of 64 bits are more than 15 of 256, and fewer than 17."""
    phash = EntrySignal("phash", bytes(7) + b"\x0f")
    made = [entry(1, far(17), phash), entry(2, far(15)), entry(3, EntrySignal("md5", bytes(16)))]
    signals = Signal(PDQ, ZERO), Signal(PHASH, bytes(8)), Signal(MD5, bytes(16))
    first, *others = results(snapshot(made), signals)
    assert [(m.entry_id, m.algorithm) for m in first.matches] == [(3, MD5), (2, PDQ), (1, PHASH)]
    assert [e.distance for e in first.matches[2].evidence] == [17]
    assert others == [first, first]


def test_ties_are_in_one_order_by_every_way() -> None:
    """By query signal, then in the order in which entries were added."""
    first = [entry(i, ZERO, far(1)) for i in range(12)]
    later = [entry(i, far(1), ZERO, far(2)) for i in range(12, 20)]
    served = after(first, later, (), bank(query_variants=VARIANTS))
    for options in (DEFAULT, MatchOptions(max_results=7), MatchOptions(top_k=5)):
        one, *others = results(served, SIGNALS, options)
        assert others == [one, one]
        assert ids(one.matches) == list(range(len(one.matches)))
        assert one.truncated == (options.max_results == 7)


def test_queries_that_are_searched_in_halves_lose_no_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Hits are counted only beyond the buffer of a thread, which holds 1,024."""
    made = [entry(i, far(i % 3)) for i in range(900)]
    served = snapshot(made, bank(query_variants=VARIANTS))
    options = MatchOptions(max_results=1000)
    whole = results(served, SIGNALS, options)
    assert len(whole[0].matches) == 900
    searched = mock.Mock(side_effect=search_parts)
    monkeypatch.setattr(snapshot_module, "search_parts", searched)
    monkeypatch.setattr(hits, "MAX_HITS", 500)
    assert results(served, SIGNALS, options) == whole
    assert searched.call_count > 3 * 2, "nothing was searched in halves"


def test_a_batch_lists_a_safe_row_once() -> None:
    """It is not suppressed, whether another safe list suppresses the matches of a query or not."""
    made = [entry(1, far(3), bank_id="watched"), entry(2, far(20), bank_id="ok")]
    shadow = bank("watched", safe=True, mode=BankMode.SHADOW)
    served = snapshot(made, shadow, bank("ok", safe=True, thresholds={"pdq": 2}))
    values = np.frombuffer(far(0) + far(19), np.uint8).reshape(2, 32)
    batch = served.match_batch(PDQ, values)
    assert [(m.entry_id, m.suppressed) for m in batch.entries] == [(1, False), (2, False)]
    assert np.diff(batch.offsets).tolist() == [1, 2]
