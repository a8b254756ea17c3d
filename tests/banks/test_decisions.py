"""Decisions of curators win over lists until they are taken back, at every revision."""

import os
import threading
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.lists import importing, merging
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import (
    MAX_LABELS,
    ChangeContext,
    EntryEdit,
    EntrySignal,
)
from featsvc.banks.results import ImportOptions, ImportSummary
from featsvc.banks.sql import large_changes
from featsvc.banks.sql.changes import PendingRevision
from featsvc.banks.store import BankStore
from featsvc.errors import InvalidInput, NotFound
from tests.banks.lists import list_file
from tests.banks.plain_decisions import (
    HEADER,
    MOMENTS,
    NAMES,
    SOURCE,
    Played,
    Said,
    counts_of,
    steps,
)

NOTHING_ELSE = Said()
EXAMPLES = int(os.environ.get("TEST_DECISIONS_EXAMPLES", "25"))


@pytest.mark.slow
@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
@given(plan=st.lists(steps, min_size=1, max_size=12))
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_decisions_win_until_they_are_taken_back(
    store: BankStore, large: bool, plan: list[tuple[Any, ...]]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        if large:
            patch.setattr(large_changes, "LARGE_VERSIONS", 0)
            patch.setattr(large_changes, "PIECE_VERSIONS", 1)
        played = Played(store)
        for step in plan:
            played.play(step)
        played.check()


def listed_bank(store: BankStore) -> dict[str, int]:
    """Make a bank `b` with the entries of NAMES; return their ids."""
    store.create_bank("b")
    import_all(store)
    return {entry.external_id: entry.id for entry in store.list_entries("b").entries}


def import_all(store: BankStore, said: Said = NOTHING_ELSE, **options: Any) -> ImportSummary:
    file = list_file(HEADER + "".join(said.line(name) for name in NAMES))
    return store.import_entries("b", file, ImportOptions(source=SOURCE, **options)).summary


def test_an_import_says_what_stays_withdrawn(store: BankStore) -> None:
    ids = listed_bank(store)
    store.withdraw_entries("b", [ids["a"], ids["b"]])
    again = import_all(store)
    assert counts_of(again) == {"new": 0, "changed": 0, "unchanged": 2, "withdrawn": 0, "kept": 2}
    assert {e.external_id for e in store.list_entries("b").entries} == {"c", "d"}
    changed = import_all(store, Said(note="other"))
    assert (changed.changed_entries, changed.kept_withdrawn) == (2, 2)
    assert changed.changed_fields == {"note": 2}
    assert store.restore_entries("b", [ids["a"]]).entries == 1
    assert store.get_entry("b", ids["a"]).note == "other", "as the list last said"


def test_a_decided_field_does_not_change_with_the_list(store: BankStore) -> None:
    ids = listed_bank(store)
    store.edit_entries("b", [ids["a"]], EntryEdit(note="mine", add_labels=("x",)))
    summary = import_all(store, Said(note="other", labels=frozenset({"y"})))
    assert summary.changed_fields == {"labels": 3, "note": 3}
    entry = store.get_entry("b", ids["a"])
    assert (entry.note, entry.labels) == ("mine", ("y", "x"))
    assert entry.listed is not None
    assert (entry.listed.note, entry.listed.labels) == ("other", ("y",))
    store.edit_entries("b", [ids["a"]], EntryEdit(reset=("note",)))
    assert store.get_entry("b", ids["a"]).note == "other"


def test_a_restored_entry_that_its_list_withdrew_is_not_live(store: BankStore) -> None:
    ids = listed_bank(store)
    store.withdraw_entries("b", [ids["a"]])
    import_list = HEADER + Said().line("a", withdrawn=True)
    store.import_entries("b", list_file(import_list), ImportOptions(source=SOURCE))
    restored = store.restore_entries("b", [ids["a"]])
    assert (restored.entries, restored.unlisted) == (0, 1)
    with pytest.raises(NotFound, match="none that a curator decided about"):
        store.restore_entries("b", [ids["a"]])
    assert import_all(store).new_entries == 1


def test_decided_labels_are_never_cut_off(store: BankStore) -> None:
    ids = listed_bank(store)
    store.edit_entries("b", [ids["a"]], EntryEdit(add_labels=("mine", "l0")))
    many = frozenset(f"l{n}" for n in range(MAX_LABELS))
    import_all(store, Said(labels=many))
    labels = store.get_entry("b", ids["a"]).labels
    assert len(labels) == len(set(labels)) == MAX_LABELS
    assert {"mine", "l0"} < set(labels) < many | {"mine"}


@pytest.mark.parametrize(
    ("fields", "field_name"),
    [
        ({}, "edit"),
        ({"add_labels": ("x",), "remove_labels": ("x",)}, "remove_labels"),
        ({"add_labels": ("",)}, "add_labels"),
        ({"note": "n" * 5000}, "note"),
        ({"never_expires": True, "expire_time": MOMENTS[0]}, "never_expires"),
        ({"reset": ("signals",)}, "reset"),
    ],
)
def test_edits_that_cannot_be(fields: dict[str, Any], field_name: str) -> None:
    with pytest.raises(InvalidInput) as refused:
        EntryEdit(**fields)
    assert refused.value.field == field_name


def test_a_retried_edit_happens_once(store: BankStore) -> None:
    ids = listed_bank(store)
    context = ChangeContext(request_id="r")
    edit = EntryEdit(note="mine")
    first = store.edit_entries("b", [ids["a"]], edit, context)
    assert first.entries == 1
    assert store.edit_entries("b", [ids["a"]], edit, context) == first
    with pytest.raises(InvalidInput, match="another call"):
        store.edit_entries("b", [ids["a"]], EntryEdit(note="yours"), context)


@pytest.mark.parametrize("large", [False, True], ids=["small", "large"])
def test_decisions_hold_that_were_made_during_an_import(
    store: BankStore, store_url: str, large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = listed_bank(store)
    store.edit_entries("b", [ids["c"]], EntryEdit(note="mine"))
    other = BankStore(store_url)
    if large:
        monkeypatch.setattr(large_changes, "LARGE_VERSIONS", 0)
        monkeypatch.setattr(large_changes, "PIECE_VERSIONS", 1)

    def decide() -> None:
        other.withdraw_entries("b", [ids["a"]])
        other.edit_entries("b", [ids["b"]], EntryEdit(note="mine"))
        other.edit_entries("b", [ids["c"]], EntryEdit(reset=("note",)))

    decider = threading.Thread(target=decide)
    write = merging.ImportPlan.write

    def write_meanwhile(
        plan: merging.ImportPlan, pending: PendingRevision, pause: Callable[[], object]
    ) -> None:
        def longer() -> object:
            if not decider.ident:
                decider.start()
            committed = pause()
            while decider.is_alive():
                committed = pause() or committed
            return committed

        write(plan, pending, longer if large else pause)  # type: ignore[arg-type]

    def apply_later(*arguments: Any) -> object:
        if not large:
            decider.start()
            decider.join()
        return apply_change(*arguments)

    apply_change = large_changes.apply_change
    with monkeypatch.context() as patch:
        patch.setattr(merging.ImportPlan, "write", write_meanwhile)
        patch.setattr(importing, "apply_change", apply_later)
        summary = import_all(store, Said(signals=(2,), note="other"), allow_replaced=True)
    other.close()
    assert counts_of(summary) == {"new": 0, "changed": 3, "unchanged": 0, "withdrawn": 0, "kept": 1}
    entries = {e.external_id: e.note for e in store.list_entries("b").entries}
    assert entries == {"b": "mine", "c": "other", "d": "other"}
    assert store.get_bank("b").entry_count == 3
    assert import_all(store, Said(signals=(2,), note="other")).kept_withdrawn == 1
    store.restore_entries("b", [ids["a"]])
    assert store.get_entry("b", ids["a"]).note == "other"


def test_a_restored_vector_gives_a_bank_no_second_version_of_its_model(store: BankStore) -> None:
    store.create_bank("b")

    def vector(name: str, model: str) -> ImportRow:
        value = b"\x00\x00\x80\x3f" + bytes(28)
        return ImportRow(0, (EntrySignal(model, value),), external_id=name)

    (old,) = store.add_entries("b", [vector("old", "sscd@2")]).entries
    store.withdraw_entries("b", [old.id])
    store.add_entries("b", [vector("new", "sscd@3")])
    with pytest.raises(InvalidInput, match="one version of a model"):
        store.restore_entries("b", [old.id])


def test_a_bank_with_withdrawn_entries_only_is_deleted(store: BankStore) -> None:
    ids = listed_bank(store)
    store.withdraw_entries("b", list(ids.values()))
    assert store.delete_bank("b").entries == 0
    store.create_bank("b")
    assert import_all(store).new_entries == len(NAMES), "another bank, without decisions"
