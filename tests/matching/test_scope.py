"""Scopes: what is searched, and what an answer says where nothing was."""

import threading
import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.banks.records import BankMode, Entry, EntrySignal, Opinion, StoreHead
from featsvc.errors import NotFound
from featsvc.matching import holdings, scope
from featsvc.matching.layers import Layers
from featsvc.matching.matches import MatchOptions, Variants
from featsvc.matching.scope import MAX_NAMED, ScopeQuery, SearchScope
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.hashes import ContentOutcome
from featsvc.signals.signal import Signal
from featsvc.signals.variants import QUERY_VARIANTS
from tests.matching.served import NOW, ZERO, bank, entry, far, rows_of, snapshot

VALUES = {"pdq": ZERO, "md5": bytes(16), "sha256": bytes(32), "phash": bytes(8)}
NAMES = tuple(VALUES)
LABELS = ("x", "y")
BANKS = "abcd"


def made(entry_id: int, algorithms: Sequence[str], **fields: Any) -> Entry:
    """An entry that every query of these algorithms matches."""
    return entry(entry_id, *(EntrySignal(name, VALUES[name]) for name in algorithms), **fields)


def scope_of(
    served: Snapshot,
    *planned: str,
    named: bool = False,
    searched: Sequence[str] | None = None,
    content: bool = True,
    **options: Any,
) -> SearchScope:
    computed = frozenset(planned if searched is None else searched)
    query = ScopeQuery(planned, computed, named=named, content=content)
    return served.scope(query, MatchOptions(**options))


def counts(found: SearchScope) -> dict[str, tuple[tuple[str, ...], int, int]]:
    return {of.algorithm: (of.banks, of.entries, of.signals) for of in found.algorithms}


def test_entries_and_signals_are_counted_by_algorithm() -> None:
    entries = [
        entry(1, far(1), far(2), EntrySignal("md5", bytes(16))),
        entry(2, far(3), labels=("x", "y")),
        entry(3, EntrySignal("md5", bytes(16)), bank_id="c", labels=("x",)),
        entry(4, far(4), bank_id="c", quarantined=True),
        entry(5, far(4), bank_id="c", expire_time=NOW - timedelta(seconds=1)),
        entry(6, far(4), bank_id="c", opinion=Opinion.NEGATIVE),
        entry(7, far(4), bank_id="s", opinion=Opinion.NEGATIVE),
        entry(8, far(4), bank_id="off"),
        entry(9, far(4), bank_id="deleted"),
    ]
    banks = bank("b"), bank("c"), bank("s", safe=True), bank("off", mode=BankMode.OFF)
    served = snapshot(entries, *banks)
    found = scope_of(served, "sha256", "pdq", "md5", searched=("pdq", "md5", "sha256"))
    assert counts(found) == {
        "sha256": ((), 0, 0),
        "pdq": (("b", "s"), 3, 4),
        "md5": (("b", "c"), 2, 2),
    }
    assert [of.algorithm for of in found.algorithms] == ["sha256", "pdq", "md5"]
    assert (found.safe_lists, found.not_searched) == (("s",), "")
    assert counts(scope_of(served, "pdq", "md5", labels=("x",))) == {
        "pdq": (("b",), 1, 1),
        "md5": (("c",), 1, 1),
    }
    assert scope_of(served, "md5").safe_lists == ()
    assert scope_of(served, "pdq", banks=("b",)).safe_lists == ("s",)
    assert scope_of(served, "pdq", ignore_safe_lists=True).safe_lists == ()
    assert counts(scope_of(served, "pdq", "md5", searched=("md5",))).keys() == {"md5"}


def test_withdrawn_entries_are_not_counted() -> None:
    layers = Layers.on_rows(rows_of([entry(i, far(i), far(i + 1)) for i in range(1, 9)]))
    layers = layers.advance(rows_of([entry(9, far(9))]), [2, 3]).advance((), [9])
    served = Snapshot(StoreHead(1, NOW), [bank()], layers.views([bank()]))
    assert counts(scope_of(served, "pdq")) == {"pdq": (("b",), 6, 12)}


def test_groups_are_the_same_sorted_or_in_blocks() -> None:
    entries = [
        entry(i, *[far(i)] * (i % 3 + 1), bank_id="bc"[i % 2], labels=(f"{i % 7}",))
        for i in range(1, 60)
    ]
    few = snapshot(entries, bank(), bank("c"))
    with mock.patch.object(holdings, "_FEW_GROUPS", -(2**40)):
        many = snapshot(entries, bank(), bank("c"))
    with mock.patch.object(holdings, "_BLOCK", 3):
        assert counts(scope_of(snapshot(entries, bank(), bank("c")), "pdq")) == counts(
            scope_of(few, "pdq")
        )
    for labels in ((), ("3",)):
        found = counts(scope_of(few, "pdq", labels=labels))
        assert found == counts(scope_of(many, "pdq", labels=labels))
        assert found["pdq"][1] == (9 if labels else 59)


def test_an_entry_that_expires_while_it_is_served_is_left_out_later() -> None:
    served = snapshot([entry(1, ZERO, expire_time=NOW + timedelta(days=1))])
    assert scope_of(served, "pdq").not_searched == ""
    day_later = (NOW + timedelta(days=2)).timestamp()
    with (
        mock.patch.object(time, "time_ns", return_value=int(day_later * 1e9)),
        mock.patch.object(time, "monotonic", return_value=float("inf")),
    ):
        found = scope_of(served, "pdq")
    assert (counts(found), bool(found.not_searched)) == ({"pdq": ((), 0, 0)}, True)


def test_names_are_capped_and_the_rest_is_counted() -> None:
    many = [f"b{i:02}" for i in range(MAX_NAMED + 5)]
    entries = [entry(i, far(i), bank_id=name) for i, name in enumerate(many, 1)]
    served = snapshot(entries, *(bank(name, safe=True) for name in many))
    found = scope_of(served, "pdq")
    (pdq,) = found.algorithms
    assert (pdq.banks, pdq.bank_count) == (tuple(many[:MAX_NAMED]), MAX_NAMED + 5)
    assert (found.safe_lists, found.safe_list_count) == (tuple(many[:MAX_NAMED]), MAX_NAMED + 5)
    off = snapshot([], *(bank(name, mode=BankMode.OFF) for name in many))
    assert "b19 and 5 more: OFF" in scope_of(off, "pdq", banks=tuple(many)).not_searched


def test_variants_are_those_that_are_tried() -> None:
    served = snapshot(
        [entry(1, ZERO), made(2, ["md5"])], bank(query_variants=("flip_x", "trimmed"))
    )
    tried = {of.algorithm: of.variants for of in scope_of(served, "pdq", "md5").algorithms}
    assert tried == {"pdq": ("flip_x", "trimmed"), "md5": ()}
    for variants, expected in ((Variants.NONE, ()), (Variants.ALL, tuple(sorted(QUERY_VARIANTS)))):
        assert scope_of(served, "pdq", variants=variants).algorithms[0].variants == expected
    assert scope_of(served, "pdq", content=False).algorithms[0].variants == ()


NOTHING: dict[str, tuple[dict[str, Any], str]] = {
    "an OFF bank": ({"banks": ("off",)}, "off: OFF"),
    "an OFF bank beside another": ({"banks": ("b", "off")}, "off: OFF"),
    "an empty bank": ({"banks": ("empty",)}, "empty: no live entry"),
    "an empty bank beside another": ({"banks": ("empty", "b")}, "empty: no live entry"),
    "a bank of other algorithms": ({"banks": ("md5s",)}, "no searched bank holds signals of pdq"),
    "a label that nobody has": ({"labels": ("zz",)}, "all of the labels zz"),
    "labels that nobody has together": ({"labels": ("x", "y")}, "all of the labels x, y"),
    "a label of other algorithms": ({"labels": ("m",)}, "all of the labels m"),
    "a named algorithm nobody holds": ({"planned": ("pdq", "sha256")}, "signals of sha256"),
}


@pytest.mark.parametrize(("request_", "reason"), NOTHING.values(), ids=NOTHING.keys())
def test_what_the_caller_named_and_had_nothing_to_search(
    request_: dict[str, Any], reason: str
) -> None:
    entries = [
        entry(1, ZERO, labels=("x",)),
        entry(2, ZERO, labels=("y",)),
        made(3, ["md5"], bank_id="md5s", labels=("m",)),
        entry(4, ZERO, bank_id="off"),
    ]
    served = snapshot(entries, bank(), bank("md5s"), bank("off", mode=BankMode.OFF), bank("empty"))
    planned = request_.get("planned", ("pdq",))
    options = {name: value for name, value in request_.items() if name != "planned"}
    found = scope_of(served, *planned, named=True, **options)
    assert reason in found.not_searched
    assert found.outcome(ContentOutcome.OK, "") == (
        ContentOutcome.NOT_SEARCHED,
        found.not_searched,
    )
    assert found.outcome(ContentOutcome.LOW_QUALITY, "poor")[1] == f"{found.not_searched}; poor"
    assert scope_of(served, "pdq", "sha256").not_searched == "", "sha256 is not named"


def test_a_store_with_nothing_to_search() -> None:
    empty = Snapshot(StoreHead(0, None), (), ())
    assert "there is no bank" in scope_of(empty, "pdq").not_searched
    assert "no bank has a live entry" in scope_of(snapshot([]), "pdq").not_searched
    only_off = snapshot([entry(1, ZERO)], bank(mode=BankMode.OFF))
    assert "there is no bank that is not OFF" in scope_of(only_off, "pdq").not_searched
    assert "signals of text" in scope_of(snapshot([entry(1, ZERO)]), "text").not_searched
    with pytest.raises(NotFound):
        scope_of(empty, "pdq", banks=("zz",))


def test_scopes_are_shared_and_kept_up_to_a_number() -> None:
    served = snapshot([entry(1, ZERO)])
    first = scope_of(served, "pdq")
    assert scope_of(served, "pdq", max_results=3) is first
    for i in range(1000):
        scope_of(served, "pdq", labels=(f"l{i}",))
    assert len(served._scopes._made) <= scope._MAX_CACHED
    assert counts(scope_of(served, "pdq")) == counts(first)


def test_threads_make_the_same_scopes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scope, "_MAX_CACHED", 3)
    served = snapshot([entry(i, far(i), labels=(f"l{i}",)) for i in range(20)])
    wrong: list[object] = []

    def ask() -> None:
        for i in range(400):
            found = scope_of(served, "pdq", labels=(f"l{i % 20}",))
            if counts(found) != {"pdq": (("b",), 1, 1)}:
                wrong.append(found)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


ENTRIES = st.lists(
    st.tuples(
        st.sampled_from(BANKS),
        st.lists(st.sampled_from(NAMES), min_size=1, max_size=2, unique=True),
        st.lists(st.sampled_from(LABELS), unique=True),
        st.sampled_from(["live", "live", "quarantined", "expired", "negative"]),
    ),
    max_size=6,
)
SETTINGS = st.tuples(st.sampled_from(BankMode), st.booleans())


@settings(max_examples=300)
@given(
    ENTRIES,
    st.lists(SETTINGS, min_size=len(BANKS), max_size=len(BANKS)),
    st.lists(st.sampled_from(NAMES), min_size=1, unique=True),
    st.booleans(),
    st.lists(st.sampled_from(BANKS), unique=True),
    st.lists(st.sampled_from(LABELS), unique=True),
    st.booleans(),
)
def test_ok_means_that_every_bank_that_could_match_was_searched(
    entries: list[tuple[str, list[str], list[str], str]],
    bank_settings: list[tuple[BankMode, bool]],
    planned: list[str],
    named: bool,
    banks: list[str],
    labels: list[str],
    ignore: bool,
) -> None:
    """Every entry would match the query, so the matches say what was searched.

    The oracle reads entries and banks as they were made.
    """
    rows = [
        made(
            i, names, bank_id=name, labels=tuple(own),
            quarantined=state == "quarantined",
            expire_time=NOW - timedelta(hours=1) if state == "expired" else None,
            opinion=Opinion.NEGATIVE if state == "negative" else Opinion.UNSPECIFIED,
        )
        for i, (name, names, own, state) in enumerate(entries, 1)
    ]  # fmt: skip
    modes = dict(zip(BANKS, bank_settings, strict=True))
    served = snapshot(rows, *(bank(n, mode=mode, safe=safe) for n, (mode, safe) in modes.items()))
    options = MatchOptions(
        banks=tuple(banks), labels=tuple(labels), max_results=1000, ignore_safe_lists=ignore
    )
    found = served.scope(ScopeQuery(tuple(planned), frozenset(planned), named, True), options)
    result = served.match([Signal(get_algorithm(n), VALUES[n]) for n in planned], options)

    def may_match(name: str, state: str) -> bool:
        return state == "live" or (state == "negative" and modes[name][1])

    def held(algorithm: str, by: Sequence[str]) -> set[str]:
        return {
            name
            for name, names, own, state in entries
            if algorithm in names and may_match(name, state) and set(by) <= set(own)
        }

    returned = {n for n in banks or BANKS if modes[n][0] is not BankMode.OFF}
    for of in found.algorithms:
        assert set(of.banks) == held(of.algorithm, labels) & returned
    # What matched is what the scope says, and nothing else.
    assert {m.bank for m in result.matches} == {b for of in found.algorithms for b in of.banks}
    consulted = {
        n
        for n, (mode, safe) in modes.items()
        if safe and mode is BankMode.ENFORCE and any(n in held(a, ()) for a in planned)
    }
    assert set(found.safe_lists) == (set() if ignore else consulted)
    others = [m for m in result.matches if not m.safe]
    assert {m.suppressed for m in others} <= {bool(found.safe_lists)}

    searched = {name: held(name, labels) & returned for name in planned}
    anything = {n for name in NAMES for n in held(name, ())}
    idle = (
        not any(searched.values())
        or (named and not all(searched.values()))
        or any(n not in returned or n not in anything for n in banks)
    )
    assert (found.outcome(ContentOutcome.OK, "")[0] is not ContentOutcome.OK) == idle
