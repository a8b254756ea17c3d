"""Versions of algorithms: stored with signals; signals of different versions never compare."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
import sqlalchemy as sa

from featsvc.banks import records
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import ChangeContext, EntrySignal, Opinion
from featsvc.banks.results import EntryFilter, ImportOptions
from featsvc.banks.sql.changes import IdempotentCall
from featsvc.banks.store import BankStore
from featsvc.banks.tuning.evaluation import evaluate
from featsvc.errors import InvalidSignal
from featsvc.matching.layers import Layers
from featsvc.matching.matches import MatchOptions
from featsvc.matching.set_aside import OTHER_VERSION, SetAside
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import Algorithm, get_algorithm
from featsvc.signals.signal import Signal
from tests.banks.lists import exported, hex_list, list_file, live

PDQ = bytes(31) + b"\x01"
MODEL = "sscd@3"
VECTOR = b"\x00\x00\x80\x3f" + bytes(28)


@pytest.fixture
def bank(store: BankStore) -> BankStore:
    """A bank with two entries of PDQ, the second also with an MD5, and one of a vector."""
    store.create_bank("b")
    rows = [
        ImportRow(0, (EntrySignal("pdq", PDQ),), external_id="one"),
        ImportRow(
            1,
            (EntrySignal("pdq", PDQ, version=1), EntrySignal("md5", PDQ[:16])),
            external_id="two",
        ),
        ImportRow(2, (EntrySignal(MODEL, VECTOR, version=3),), external_id="three"),
    ]
    store.add_entries("b", rows)
    return store


def set_version(store: BankStore, entry: str, version: int) -> None:
    """Change the version of an entry's PDQ, as if another build had written it."""
    with store._database.write() as connection:
        connection.execute(
            sa.text(
                "UPDATE entry_signals SET algorithm_version = :v WHERE algorithm = 'pdq' AND "
                "version IN (SELECT version FROM entries WHERE external_id = :x)"
            ),
            {"v": version, "x": entry},
        )


def matches(layers: Layers, store: BankStore, *signals: Signal) -> list[str]:
    with store.view() as view:
        snapshot = Snapshot(view.head, view.banks(), layers.views(view.banks()))
    return [m.external_id for m in snapshot.match(signals, MatchOptions()).matches]


def test_entries_have_the_versions_of_their_algorithms(bank: BankStore) -> None:
    versions = {e.external_id: [s.version for s in e.signals] for e in live(bank).values()}
    assert versions == {"one": [1], "two": [1, 1], "three": [3]}


@pytest.mark.parametrize(
    ("signal", "message"),
    [
        (EntrySignal("pdq", PDQ, version=2), "this build has pdq version 1"),
        (EntrySignal(MODEL, VECTOR, version=1), "this build has sscd@3 version 3"),
        (EntrySignal("pdq", PDQ, version=-1), "values of different versions do not compare"),
    ],
)
def test_a_signal_of_another_version_is_refused(
    bank: BankStore, signal: EntrySignal, message: str
) -> None:
    revision = bank.head().revision
    with pytest.raises(InvalidSignal, match=message) as refused:
        bank.add_entries("b", [ImportRow(0, (signal,))])
    assert refused.value.field == "entries[0].signals"
    with pytest.raises(InvalidSignal, match=message):
        bank.list_entries("b", EntryFilter(near=signal))
    assert bank.head().revision == revision


def test_a_listed_version_must_be_this_builds(bank: BankStore) -> None:
    lines = [
        json.dumps({"signals": [{"algorithm": "pdq", "signal": f"{n:064x}", "version": version}]})
        for n, version in ((7, 0), (8, 1), (9, 2))
    ]
    file = list_file("\n".join(lines))
    summary = bank.import_entries("b", file, ImportOptions(skip_bad=True)).summary
    assert (summary.new_entries, summary.bad_rows) == (2, 1)
    (bad,) = summary.bad
    assert bad.line == 3
    assert "this build has pdq version 1" in bad.reason


def test_signals_of_another_version_are_not_matched(bank: BankStore) -> None:
    set_version(bank, "two", 2)
    query = Signal(get_algorithm("pdq"), PDQ)
    (two,) = [entry.id for entry in live(bank).values() if entry.external_id == "two"]
    with bank.view() as view:
        layers = Layers.on_rows(view.live_signals())
    assert layers.set_aside() == (SetAside("pdq", OTHER_VERSION, 1, (("b", two),)),)
    assert matches(layers, bank, query) == ["one"]
    assert matches(layers, bank, Signal(get_algorithm("md5"), PDQ[:16])) == ["two"]
    assert matches(layers, bank, Signal(get_algorithm(MODEL), VECTOR)) == ["three"]
    set_version(bank, "one", 3)
    with bank.view() as view:
        layers = Layers.on_rows(view.live_signals())
        later = Layers.on_rows(()).advance(view.signals_added_since(0), ())
    for current in (layers, later):
        assert [status.algorithm for status in current.status()] == ["md5", MODEL]
        assert matches(current, bank, query) == []


def test_searches_do_not_find_signals_of_another_version(bank: BankStore) -> None:
    bank.create_bank("other")
    bank.import_entries("other", list_file(hex_list([1])))
    set_version(bank, "two", 2)

    def near(distance: float) -> list[str]:
        page = bank.list_entries(
            "b", EntryFilter(near=EntrySignal("pdq", PDQ), max_distance=distance)
        )
        return [entry.external_id for entry in page.entries]

    assert near(0) == near(31) == ["one"]
    assert bank.overlap("b", "other").shared == 1
    set_version(bank, "one", 2)
    assert near(0) == near(31) == []
    assert bank.overlap("b", "other").shared == 0
    file = list_file(hex_list([1]))
    assert bank.import_entries("other", file).summary.in_other_banks == 0
    with bank.view() as view:
        evaluation = evaluate(view, "b", "pdq", [(PDQ, True)], 0.01)
    assert evaluation.positive_histogram == ()


def test_an_export_names_versions_of_other_builds_only(bank: BankStore) -> None:
    before = exported(bank, "b", "jsonl")
    assert b"version" not in before
    assert "version" not in bank.export_entries("b", "csv").dropped_fields
    set_version(bank, "two", 2)
    after = exported(bank, "b", "jsonl")
    assert after == before.replace(b'"},{"algorithm":"md5"', b'","version":2},{"algorithm":"md5"')
    assert after != before
    for name in ("csv", "tx", "pdq-text"):
        assert "version" in bank.export_entries("b", name).dropped_fields
    bank.create_bank("copy")
    assert bank.import_entries("copy", list_file(before)).summary.new_entries == 3
    assert bank.import_entries("copy", list_file(after)).refused


def test_a_rollback_keeps_the_versions(bank: BankStore) -> None:
    set_version(bank, "two", 2)
    revision = bank.head().revision
    bank.withdraw_entries("b", (), ["two"])
    bank.rollback_bank("b", revision)
    versions = {e.external_id: [s.version for s in e.signals] for e in live(bank).values()}
    assert versions["two"] == [2, 1]


def test_a_list_is_unchanged_until_an_algorithm_changes(
    bank: BankStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A value of another version is another signal, even if it is equal."""
    content = f"algorithm,signal,external_id\npdq,{5:064x},x\n"
    assert bank.import_entries("b", list_file(content)).summary.new_entries == 1
    assert bank.import_entries("b", list_file(content)).summary.unchanged_entries == 1

    def changed(name: str, **_: object) -> Algorithm:
        return replace(get_algorithm(name), version=2)

    monkeypatch.setattr(records, "get_algorithm", changed)
    assert bank.import_entries("b", list_file(content)).summary.changed_entries == 1
    assert bank.import_entries("b", list_file(content)).summary.unchanged_entries == 1
    (entry,) = (e for e in live(bank).values() if e.external_id == "x")
    assert entry.signals[0].version == 2


def test_fingerprints_of_calls_stay_the_same() -> None:
    """They equal those stored before signals had versions: retries are known after an upgrade."""
    signals = EntrySignal("pdq", b"\1" * 32), EntrySignal("md5", b"\2" * 16, "flip_x", 9)
    until = datetime(2030, 1, 1, tzinfo=UTC)
    row = ImportRow(0, signals, "a", ("l",), "s", Opinion.DISPUTED, "n", until)
    added = IdempotentCall(ChangeContext(), "add", "b", (row,))
    assert added.fingerprint == "b f3d8834a8534016027911b34972bdd6a"
    withdrawn = IdempotentCall(ChangeContext(), "withdraw", "b", ((1,), ("a",), False))
    assert withdrawn.fingerprint == "b e605967ff89fb5b54631fe57b94cb165"
    other = row._replace(signals=(signals[0]._replace(version=1), signals[1]))
    assert replace(added, arguments=(other,)).fingerprint != added.fingerprint
