"""Damaged rows are set aside and named, and every other entry is still matched, on both databases.

The damage is done with SQL to random rows of a real store. The oracle is what was stored before.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntrySignal
from featsvc.banks.store import BankStore
from featsvc.matching import follower as follower_module
from featsvc.matching.building import build_part
from featsvc.matching.follower import Follower
from featsvc.matching.indexer import Indexer
from featsvc.matching.matches import MatchOptions
from featsvc.matching.scope import ScopeQuery, SearchScope
from featsvc.matching.set_aside import (
    BAD_VALUE,
    DAMAGED_ROW,
    NOT_INDEXED,
    OTHER_VERSION,
    UNKNOWN_ALGORITHM,
    WRONG_LENGTH,
    SetAside,
)
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import Algorithm, get_algorithm
from featsvc.signals.hashes import ContentOutcome
from featsvc.signals.signal import Signal
from featsvc.signals.text_grams import stored_values
from featsvc.signals.vectors import FLOAT32
from tests.banks.lists import live
from tests.matching.rows import MODEL, row, value, vector
from tests.patience import PATIENCE_S, until
from tests.texts import ENTRIES

EXACT = MatchOptions(thresholds={"pdq": 0, MODEL: 1e-6, "text": 0.01}, max_results=1000)
TEXTS = [next(stored_values(text.lower().replace(" ", ""))) for text in ENTRIES]
VALUES: dict[str, Callable[[int], bytes]] = {
    "pdq": value,
    "md5": lambda n: value(n)[:16],
    MODEL: vector,
    "text": lambda n: TEXTS[n % len(TEXTS)],
}
NAMES = tuple(VALUES)


def signal(number: int) -> Signal:
    """Return the only signal of entry `number`."""
    name = NAMES[number % len(NAMES)]
    return Signal(get_algorithm(name), VALUES[name](number))


def add(store: BankStore, bank: str, numbers: Iterable[int]) -> int:
    rows = [
        ImportRow(n, (EntrySignal(signal(n).algorithm.name, signal(n).value),), f"x{n}")
        for n in numbers
    ]
    return store.add_entries(bank, rows).revision


def _nan(stored: bytes) -> bytes:
    numbers = np.frombuffer(stored, FLOAT32).copy()
    numbers[len(numbers) // 2] = np.nan
    return numbers.tobytes()


def _longer(stored: bytes) -> bytes:
    return (np.frombuffer(stored, FLOAT32) * FLOAT32.type(1.5)).tobytes()


# Name -> column of entry_signals, what its content becomes, and the algorithms that it applies to.
DAMAGE: dict[str, tuple[str, Callable[[Any], Any], tuple[str, ...], str]] = {
    "short": ("value", lambda v: v[:-1], ("pdq", "md5", MODEL), WRONG_LENGTH),
    "long": ("value", lambda v: v + b"\1\2\3\4", ("pdq", "md5", MODEL), WRONG_LENGTH),
    "empty": ("value", lambda _: b"", ("pdq", "md5", MODEL), WRONG_LENGTH),
    "unknown": ("algorithm", lambda _: "aurora", NAMES, UNKNOWN_ALGORITHM),
    "no version": ("algorithm", lambda _: "model@", NAMES, UNKNOWN_ALGORITHM),
    "other version": ("algorithm_version", lambda v: v + 1, NAMES, OTHER_VERSION),
    "negative version": ("algorithm_version", lambda _: -1, NAMES, OTHER_VERSION),
    "nan": ("value", _nan, (MODEL,), BAD_VALUE),
    "zeros": ("value", lambda v: bytes(len(v)), (MODEL,), BAD_VALUE),
    "infinite": ("value", lambda v: v[:-4] + b"\0\0\x80\x7f", (MODEL,), BAD_VALUE),
    "not of length 1": ("value", _longer, (MODEL,), BAD_VALUE),
    "cut gram": ("value", lambda v: v[:-1], ("text",), BAD_VALUE),
    "no grams": ("value", lambda _: b"", ("text",), BAD_VALUE),
    "few grams": ("value", lambda v: v[:9], ("text",), BAD_VALUE),
    "other layout": ("value", lambda v: b"\2" + v[1:], ("text",), BAD_VALUE),
    "unsorted": ("value", lambda v: b"\1\xff\xff\xff\xff" + v[1:], ("text",), BAD_VALUE),
}
# What only SQLite stores: any type in any column.
UNTYPED: dict[str, tuple[str, Any]] = {
    "text value": ("entry_signals.value", "0123"),
    "number value": ("entry_signals.value", 7),
    "blob variant": ("entry_signals.variant", b"original"),
    "text version": ("entry_signals.algorithm_version", "one"),
    "blob id": ("entries.external_id", b"\xff\xfe"),
    "text expiry": ("entries.expire_time", "tomorrow"),
    "text flag": ("entries.quarantined", "no"),
    "large flag": ("entries.quarantined", 77),
    "blob source": ("entries.source", b"s"),
    "blob labels": ("entries.labels", b"\x00"),
}


def damage(store: BankStore, bank: str, number: int, kind: str) -> str:
    """Damage the row of entry `number`; return the algorithm that its signal then has."""
    algorithm = signal(number).algorithm.name
    of_entry = (
        "version IN (SELECT version FROM entries JOIN banks ON banks.key = bank_key "
        "WHERE banks.id = :bank AND external_id = :id)"
    )
    if kind in DAMAGE:
        column, change, _, _ = DAMAGE[kind]
        table = "entry_signals"
    else:
        where, content = UNTYPED[kind]
        table, column = where.split(".")
        change = lambda _: content  # noqa: E731
    named = {"bank": bank, "id": f"x{number}"}
    with store._database.write() as connection:
        stored = connection.scalar(sa.text(f"SELECT {column} FROM {table} WHERE {of_entry}"), named)
        changed = change(bytes(stored) if isinstance(stored, memoryview) else stored)
        done = connection.execute(
            sa.text(f"UPDATE {table} SET {column} = :to WHERE {of_entry}"),
            {**named, "to": changed},
        )
        assert done.rowcount == 1
    return changed if column == "algorithm" else algorithm


def found(snapshot: Snapshot, number: int, bank: str) -> bool:
    """Return whether the entry is among the matches of its own signal."""
    options = MatchOptions(
        banks=(bank,), thresholds=EXACT.thresholds, max_results=EXACT.max_results
    )
    matches = snapshot.match([signal(number)], options).matches
    return f"x{number}" in {match.external_id for match in matches}


def check(follower: Follower, bank: str, numbers: range, damaged: dict[int, str]) -> None:
    for number in numbers:
        assert found(follower.snapshot, number, bank) == (number not in damaged), number
    status = follower.status()
    assert status.failure == ""
    assert follower.snapshot.set_aside == Counter(damaged.values())
    assert sum(cause.signals for cause in status.set_aside) == len(damaged)


@pytest.mark.slow
@settings(
    max_examples=12,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(st.data())
def test_all_undamaged_entries_are_still_matched(
    store: BankStore, tmp_path: Path, data: st.DataObject
) -> None:
    """From the store, as a delta, from a segment, and after the damaged entries are withdrawn."""
    for other in store.list_banks().banks:
        store.delete_bank(other.id, force=True)
    bank = f"b{store.head().revision}"
    store.create_bank(bank)
    numbers = range(data.draw(st.sampled_from([4, 24, 60])))
    add(store, bank, numbers)
    ids = {entry.external_id: entry.id for entry in live(store).values()}
    kinds = list(DAMAGE) + (list(UNTYPED) if store._database.is_sqlite else [])
    damaged: dict[int, str] = {}
    for number in data.draw(st.sets(st.sampled_from(numbers), max_size=10)):
        kind = data.draw(st.sampled_from(kinds))
        if kind in DAMAGE and signal(number).algorithm.name not in DAMAGE[kind][2]:
            continue
        damaged[number] = damage(store, bank, number, kind)
    folder = tmp_path / bank
    follower = Follower(store, poll_interval_ms=20, segments=folder)
    follower.start()
    try:
        check(follower, bank, numbers, damaged)
        Indexer(store, folder).build()
        until(lambda: all(a.segment_revision for a in follower.status().algorithms))
        check(follower, bank, numbers, damaged)
        more = range(len(numbers), len(numbers) + 8)
        follower.wait_for(add(store, bank, more), PATIENCE_S)
        check(follower, bank, range(more.stop), damaged)
    finally:
        follower.stop()
    if not damaged:
        return
    store.withdraw_entries(bank, [ids[f"x{number}"] for number in damaged])
    again = Follower(store, poll_interval_ms=20, segments=folder)
    again.start()
    again.stop()
    check(again, bank, range(0), {})
    assert again.snapshot.vectors_held(MatchOptions()) == (MODEL,)


@pytest.mark.parametrize("kind", DAMAGE)
def test_each_damage_has_its_reason(store: BankStore, kind: str) -> None:
    *_, algorithms, reason = DAMAGE[kind]
    store.create_bank("b")
    add(store, "b", range(8))
    for number in range(4):
        if signal(number).algorithm.name in algorithms:
            name = damage(store, "b", number, kind)
            break
    follower = Follower(store)
    follower.start()
    follower.stop()
    ((algorithm, told, signals, examples),) = follower.status().set_aside
    assert (algorithm, told, signals) == (name, reason, 1)
    ((_, entry_id),) = examples
    assert store.get_entry("b", entry_id).external_id == f"x{number}"


@pytest.mark.parametrize("kind", ["other version", "unknown"])
@pytest.mark.parametrize("damaged", [0, 1, 2])
def test_a_bank_of_which_nothing_can_be_compared_is_not_ok(
    store: BankStore, kind: str, damaged: int
) -> None:
    for bank in ("a", "b"):
        store.create_bank(bank)
        add(store, bank, (0, 4))  # PDQ, as NAMES has it
    name = ""
    for number in (0, 4)[:damaged]:
        name = damage(store, "a", number, kind)
    follower = Follower(store)
    follower.start()
    follower.stop()
    planned = ("pdq", "md5")

    def scope_of(named: bool, **options: Any) -> SearchScope:
        query = ScopeQuery(planned, frozenset(planned), named=named, content=True)
        return follower.snapshot.scope(query, MatchOptions(**options))

    scope = scope_of(named=False)
    outcome, reason = scope.outcome(ContentOutcome.OK, "")
    if damaged == 0 or (damaged == 1 and kind == "other version"):
        assert (outcome, reason) == (ContentOutcome.OK, "")
    else:
        assert outcome is ContentOutcome.DEGRADED
        assert reason.startswith(f"a: no signal of {name} can be compared")
        assert scope.outcome(ContentOutcome.UNSUPPORTED_MEDIA, "x")[1].endswith("; x")
    of_pdq = next(of for of in scope.algorithms if of.algorithm == "pdq")
    assert of_pdq.set_aside == (damaged if kind == "other version" else 0)
    assert of_pdq.signals == 4 - damaged
    only_b = scope_of(named=False, banks=("b",))
    assert only_b.outcome(ContentOutcome.OK, "")[0] is ContentOutcome.OK
    if kind == "unknown":  # a caller that names its algorithms does not miss this one
        assert scope_of(named=True).degraded == ""


@pytest.mark.slow
def test_more_variants_and_banks_than_16_bits_count() -> None:
    many = 70_000
    rows = [
        row(n, bank=f"b{n}", variant=f"v{n}", algorithm="md5", value=value(n)[:16])
        for n in range(1, many)
    ]
    part = build_part(rows)
    index = part.indexes["md5"]
    for entry in (0, 65_535, 65_536, many - 2):
        assert part.strings.banks[part.entries.bank[entry]] == f"b{entry + 1}"
        assert part.strings.variants[index.variant[entry]] == f"v{entry + 1}"


def test_an_index_that_cannot_be_built_is_named(caplog: pytest.LogCaptureFixture) -> None:
    def build(kind: Algorithm, _: object) -> Any:
        raise ZeroDivisionError(kind.name)

    part = build_part([row(1), row(2)], build)
    assert part.indexes == {}
    assert part.strings.causes == (("pdq", NOT_INDEXED),)
    assert part.set_aside.version.tolist() == [1, 2]
    assert "pdq: the index of 2 signals was not built" in caplog.text


def test_what_is_set_aside_is_logged_once(
    store: BankStore, caplog: pytest.LogCaptureFixture
) -> None:
    store.create_bank("b")
    add(store, "b", range(8))
    damage(store, "b", 0, "short")
    follower = Follower(store, poll_interval_ms=5)
    with caplog.at_level(logging.WARNING, follower_module.__name__):
        follower.start()
        for number in range(8, 12):
            follower.wait_for(add(store, "b", [number]), PATIENCE_S)
        follower.stop()
    (line,) = [record.getMessage() for record in caplog.records]
    (cause,) = follower.status().set_aside
    assert isinstance(cause, SetAside)
    assert "1 of pdq: WRONG_LENGTH, such as banks/b/entries/" in line
    assert str(cause) in line
    assert cause.reason != DAMAGED_ROW
