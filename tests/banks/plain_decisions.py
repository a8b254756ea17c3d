"""A bank with decisions as plain dictionaries, and steps that change it and a store alike."""

import copy
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from itertools import count
from typing import Any

import pytest
from hypothesis import strategies as st

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import (
    DECIDED_FIELDS,
    Entry,
    EntryEdit,
    EntrySignal,
    Opinion,
)
from featsvc.banks.results import EntryFilter, ImportOptions, ImportSummary
from featsvc.banks.store import BankStore
from featsvc.errors import InvalidInput, NotFound
from tests.banks.lists import list_file

SOURCE = "feed"
NAMES = ("a", "b", "c", "d")
LABELS = ("x", "y", "z")
MOMENTS = tuple(datetime(2050 + n, 1, 1, 0, 0, 0, n, tzinfo=UTC) for n in range(2))
_bank_numbers = count()


@dataclass(frozen=True)
class Said:
    """What a list says of an entry."""

    signals: tuple[int, ...] = (1,)
    labels: frozenset[str] = frozenset()
    note: str = ""
    opinion: Opinion = Opinion.UNSPECIFIED
    expire_time: datetime | None = None

    def line(self, name: str, *, withdrawn: bool = False) -> str:
        rows = [
            (
                "pdq",
                f"{NAMES.index(name):02x}{signal:062x}",
                name,
                ";".join(sorted(self.labels)),
                self.note,
                self.opinion.value,
                "" if self.expire_time is None else self.expire_time.isoformat(),
                "true" if withdrawn else "",
            )
            for signal in self.signals
        ]
        return "".join(",".join(row) + "\n" for row in rows)


HEADER = "algorithm,signal,external_id,labels,note,opinion,expire_time,withdrawn\n"


@dataclass
class Model:
    """The plain rules. `ids` are new for an entry that its list did not have before."""

    listed: dict[str, Said] = field(default_factory=dict)
    ids: dict[str, int] = field(default_factory=dict)
    decided: dict[str, dict[str, Any]] = field(default_factory=dict)

    def is_live(self, name: str) -> bool:
        return name in self.listed and "withdrawn" not in self.decided.get(name, {})

    def put(self, name: str, said: Said, fresh: Iterator[int]) -> None:
        if name not in self.listed:
            self.ids[name] = next(fresh)
        self.listed[name] = said

    def drop(self, name: str) -> None:
        del self.listed[name], self.ids[name]

    def decide(self, name: str, edit: EntryEdit) -> None:
        now = self.decided.setdefault(name, {})
        for reset in edit.reset:
            now.pop(reset, None)
        for flag in ("withdrawn", "quarantined"):
            if getattr(edit, flag):
                now[flag] = True
        if edit.note is not None:
            now["note"] = edit.note
        if edit.opinion is not None:
            now["opinion"] = edit.opinion
        if edit.expire_time or edit.never_expires:
            now["expire_time"] = edit.expire_time
        labels = dict(now.get("labels", {}))
        labels |= dict.fromkeys(edit.add_labels, True) | dict.fromkeys(edit.remove_labels, False)
        if labels:
            now["labels"] = labels
        if not now:
            del self.decided[name]

    def effective(self) -> dict[str, tuple[Any, ...]]:
        shown: dict[str, tuple[Any, ...]] = {}
        for name, said in self.listed.items():
            if not self.is_live(name):
                continue
            decided = self.decided.get(name, {})
            labels = set(said.labels)
            for label, wanted in decided.get("labels", {}).items():
                labels = labels | {label} if wanted else labels - {label}
            shown[name] = (
                tuple(sorted(said.signals)),
                frozenset(labels),
                decided.get("note", said.note),
                decided.get("opinion", said.opinion),
                decided.get("expire_time", said.expire_time),
                "quarantined" in decided,
                frozenset(decided),
                {k: getattr(said, k) for k in decided if k != "quarantined"},
            )
        return shown


def shown(entry: Entry) -> tuple[object, ...]:
    said: dict[str, object] = {}
    for name in entry.decided_fields:
        if name not in ("quarantined", "withdrawn"):
            assert entry.listed is not None
            value = getattr(entry.listed, name)
            said[name] = frozenset(value) if name == "labels" else value
    return (
        tuple(sorted(int.from_bytes(s.value[1:]) for s in entry.signals)),
        frozenset(entry.labels),
        entry.note,
        entry.opinion,
        entry.expire_time,
        entry.quarantined,
        frozenset(entry.decided_fields),
        said,
    )


saids = st.builds(
    Said,
    signals=st.sampled_from([(1,), (2,), (1, 2)]),
    labels=st.frozensets(st.sampled_from(LABELS)),
    note=st.sampled_from(["", "n"]),
    opinion=st.sampled_from([Opinion.UNSPECIFIED, Opinion.DISPUTED]),
    expire_time=st.sampled_from([None, *MOMENTS]),
)
names = st.sampled_from(NAMES)
some_names = st.lists(names, min_size=1, max_size=2, unique=True)
some_labels = st.frozensets(st.sampled_from(LABELS), max_size=2).map(sorted).map(tuple)


@st.composite
def edits(draw: st.DrawFn) -> EntryEdit:
    expiry: dict[str, Any] = draw(
        st.sampled_from([{}, {"never_expires": True}, {"expire_time": MOMENTS[0]}])
    )
    add = draw(some_labels)
    edit: dict[str, Any] = {
        "add_labels": add,
        "remove_labels": tuple(label for label in draw(some_labels) if label not in add),
        "note": draw(st.sampled_from([None, "", "m"])),
        "opinion": draw(st.sampled_from([None, Opinion.UNSPECIFIED, Opinion.NEGATIVE])),
        "reset": tuple(sorted(draw(st.frozensets(st.sampled_from(DECIDED_FIELDS), max_size=2)))),
        **expiry,
    }
    try:
        return EntryEdit(**edit)
    except InvalidInput:
        return EntryEdit(note="m")


resets = st.frozensets(st.sampled_from(DECIDED_FIELDS), min_size=1).map(
    lambda fields: EntryEdit(reset=tuple(sorted(fields)))
)
imports = st.tuples(
    st.just("import"),
    st.dictionaries(names, saids, max_size=4),
    st.sets(names, max_size=2),
    st.booleans(),
)
steps = st.one_of(
    imports,
    imports,
    st.tuples(st.just("reimport")),
    st.tuples(st.just("add"), names, saids),
    st.tuples(st.just("edit"), some_names, edits() | resets),
    *(
        st.tuples(st.just(name), some_names)
        for name in ("withdraw", "withdraw until listed", "restore", "quarantine", "release")
    ),
    st.tuples(st.just("rollback"), st.integers(0, 30)),
)


class Played:
    """A bank beside its model."""

    def __init__(self, store: BankStore) -> None:
        self.store = store
        self.bank = f"b{next(_bank_numbers)}"
        store.create_bank(self.bank)
        self.model = Model()
        self.fresh = count()
        self.states = {store.head().revision: copy.deepcopy(self.model)}
        self.last = ""

    def entry_id(self, name: str) -> int:
        """Return the newest id of an entry; one that does not exist for none."""
        every = EntryFilter(external_id=name, show_withdrawn=True)
        entries = self.store.list_entries(self.bank, every).entries
        return max((entry.id for entry in entries), default=10**15)

    def play(self, step: tuple[Any, ...]) -> None:
        before, revision = copy.deepcopy(self.model), self.store.head().revision
        action, *arguments = step
        getattr(self, f"_{action.replace(' ', '_')}")(*arguments)
        changed = self.model != before
        assert self.store.head().revision == revision + changed, step
        self.states[self.store.head().revision] = copy.deepcopy(self.model)
        bank = self.store.get_bank(self.bank)
        shown = self.model.effective()
        assert bank.entry_count == len(shown)
        assert bank.signal_count == sum(len(values[0]) for values in shown.values())

    def _import(self, rows: dict[str, Said], withdrawn: set[str], replace_all: bool) -> None:
        lines = [said.line(name) for name, said in rows.items() if name not in withdrawn]
        # A withdrawn row without the id would find entries by their signals.
        lines += [Said().line(name, withdrawn=True) for name in sorted(withdrawn)]
        self.last = HEADER + "".join(lines)
        model, before = self.model, copy.deepcopy(self.model)
        kept = [name for name in rows if name not in withdrawn]
        gone = [
            name
            for name in before.listed
            if name in withdrawn or (replace_all and name not in kept)
        ]
        for name in kept:
            model.put(name, rows[name], self.fresh)
        for name in gone:
            model.drop(name)
        options = ImportOptions(
            source=SOURCE,
            replace=replace_all,
            dry_run=True,
            allow_withdrawn=len(NAMES),
            allow_replaced=True,
        )
        planned = self.store.import_entries(self.bank, list_file(self.last), options).summary
        done = self.store.import_entries(
            self.bank, list_file(self.last), replace(options, dry_run=False)
        ).summary
        assert planned == done
        decided = {n for n in kept if "withdrawn" in model.decided.get(n, {})}
        free = [n for n in kept if n not in decided]
        assert counts_of(done) == {
            "new": sum(n not in before.listed for n in free),
            "changed": sum(n in before.listed and before.listed[n] != rows[n] for n in free),
            "unchanged": sum(before.listed.get(n) == rows[n] for n in free),
            "withdrawn": sum(before.is_live(n) for n in gone),
            "kept": len(decided),
        }

    def _reimport(self) -> None:
        """Importing the newest list once more changes nothing after the first time."""
        if not self.last or "true" in self.last:
            return
        options = ImportOptions(source=SOURCE)
        file = list_file(self.last)
        self.store.import_entries(self.bank, file, replace(options, dry_run=True))

    def _add(self, name: str, said: Said) -> None:
        signals = tuple(
            EntrySignal("pdq", bytes.fromhex(f"{NAMES.index(name):02x}{signal:062x}"))
            for signal in said.signals
        )
        row = ImportRow(
            0,
            signals,
            name,
            tuple(sorted(said.labels)),
            SOURCE,
            said.opinion,
            said.note,
            said.expire_time,
        )
        added = self.store.add_entries(self.bank, [row], allow_replaced=True)
        self.model.put(name, said, self.fresh)
        if "withdrawn" in self.model.decided.get(name, {}):
            self.model.decide(name, EntryEdit(reset=("withdrawn",)))
        (entry,) = added.entries
        assert shown(entry) == self.model.effective()[name]

    def _on(
        self, chosen: list[str], allowed: Callable[[str], bool], call: Callable[[list[int]], object]
    ) -> bool:
        """Call with the ids of entries; return whether it must have worked, and did."""
        ids = [self.entry_id(name) for name in chosen]
        if all(map(allowed, chosen)):
            call(ids)
            return True
        with pytest.raises(NotFound):
            call(ids)
        return False

    def _decide(
        self,
        chosen: list[str],
        edit: EntryEdit,
        allowed: Callable[[str], bool],
        call: Callable[[list[int]], object],
    ) -> None:
        if self._on(chosen, allowed, call):
            for name in chosen:
                self.model.decide(name, edit)

    def _edit(self, chosen: list[str], edit: EntryEdit) -> None:
        only_resets = edit == EntryEdit(reset=edit.reset) if edit.reset else False

        def allowed(name: str) -> bool:
            return name in self.model.listed or (only_resets and name in self.model.decided)

        self._decide(
            chosen, edit, allowed, lambda ids: self.store.edit_entries(self.bank, ids, edit)
        )

    def _withdraw(self, chosen: list[str]) -> None:
        self._decide(
            chosen,
            EntryEdit(withdrawn=True),
            self.model.is_live,
            lambda ids: self.store.withdraw_entries(self.bank, ids),
        )

    def _withdraw_until_listed(self, chosen: list[str]) -> None:
        def call(ids: list[int]) -> None:
            self.store.withdraw_entries(self.bank, ids, until_listed=True)

        if self._on(chosen, self.model.is_live, call):
            for name in chosen:
                self.model.drop(name)

    def _restore(self, chosen: list[str]) -> None:
        def allowed(name: str) -> bool:
            return self.model.is_live(name) or "withdrawn" in self.model.decided.get(name, {})

        self._decide(
            chosen,
            EntryEdit(reset=("withdrawn",)),
            allowed,
            lambda ids: self.store.restore_entries(self.bank, ids),
        )

    def _quarantine(self, chosen: list[str]) -> None:
        self._decide(
            chosen,
            EntryEdit(quarantined=True),
            self.model.is_live,
            lambda ids: self.store.quarantine_entries(self.bank, ids),
        )

    def _release(self, chosen: list[str]) -> None:
        self._decide(
            chosen,
            EntryEdit(reset=("quarantined",)),
            self.model.is_live,
            lambda ids: self.store.quarantine_entries(self.bank, ids, release=True),
        )

    def _rollback(self, number: int) -> None:
        revisions = sorted(self.states)
        revision = revisions[number % len(revisions)]
        self.store.rollback_bank(self.bank, revision)
        self.model = copy.deepcopy(self.states[revision])

    def check(self) -> None:
        """Compare every revision with the model's state at it."""
        for revision, model in self.states.items():
            page = self.store.list_entries(self.bank, EntryFilter(revision=revision))
            assert {e.external_id: shown(e) for e in page.entries} == model.effective(), revision
        listed = self.store.list_entries(self.bank, EntryFilter(decided=True)).entries
        assert {e.external_id: set(e.decided_fields) for e in listed} == {
            name: set(decided) for name, decided in self.model.decided.items()
        }


def counts_of(summary: ImportSummary) -> dict[str, int]:
    return {
        "new": summary.new_entries,
        "changed": summary.changed_entries,
        "unchanged": summary.unchanged_entries,
        "withdrawn": summary.withdrawn_entries,
        "kept": summary.kept_withdrawn,
    }
