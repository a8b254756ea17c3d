"""What the log, a diff and a rollback say of settings and entries equals a plain model."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import (
    SAME_SETTINGS,
    BankMode,
    BankSettings,
    ChangeContext,
    EntrySignal,
    Opinion,
    SettingChange,
)
from featsvc.banks.results import ChangeKind, EntryFilter
from featsvc.banks.store import BankStore
from featsvc.errors import InvalidInput, NotFound

EXAMPLES = int(os.environ.get("TEST_HISTORY_EXAMPLES", "12"))


@dataclass(frozen=True)
class Known:
    """What an entry of the model is, by its external id."""

    number: int
    labels: tuple[str, ...] = ()
    note: str = ""
    opinion: Opinion = Opinion.UNSPECIFIED
    expire_time: datetime | None = None
    quarantined: bool = False

    def differs(self, other: "Known") -> set[str]:
        """Names of the fields that differ."""
        named = {"number": "signals"}
        names = [f.name for f in fields(self) if getattr(self, f.name) != getattr(other, f.name)]
        return {named.get(name, name) for name in names}


@dataclass(frozen=True)
class State:
    """The bank after a revision; no settings: there is no bank yet.

    `withdrawn` and `quarantined` are what is decided, also about entries that are not there.
    """

    settings: BankSettings | None = None
    entries: Mapping[str, Known] = field(default_factory=dict)
    withdrawn: frozenset[str] = frozenset()
    quarantined: frozenset[str] = frozenset()


knowns = st.builds(
    Known,
    number=st.integers(1, 3),
    labels=st.sampled_from([(), ("x",), ("x", "y")]),
    note=st.sampled_from(["", "n"]),
    opinion=st.sampled_from([Opinion.UNSPECIFIED, Opinion.DISPUTED]),
    expire_time=st.sampled_from([None, datetime(2020, 1, 1, tzinfo=UTC)]),
)
names = st.sampled_from(["a", "b", "c"])
bank_settings = st.builds(
    BankSettings,
    display_name=st.sampled_from(["", "Bank"]),
    description=st.sampled_from(["", 'a\n"list"']),
    mode=st.sampled_from(BankMode),
    safe=st.booleans(),
    thresholds=st.dictionaries(
        st.sampled_from(["pdq", "tlsh"]), st.sampled_from([3, 20.5]), max_size=2
    ),
    query_variants=st.sampled_from([(), ("flip_x",), ("flip_x", "flip_y")]),
    engine=st.sampled_from(["auto", "scan"]),
)
steps = st.one_of(
    st.tuples(
        st.just("update"),
        bank_settings,
        st.sets(st.sampled_from([f.name for f in fields(BankSettings)])),
    ),
    st.tuples(st.just("add"), names, knowns),
    st.tuples(st.just("withdraw"), names),
    st.tuples(st.just("quarantine"), names, st.booleans()),
    st.tuples(st.just("rollback"), st.integers(0, 20)),
    st.tuples(st.just("elsewhere")),
)


def texts(of: BankSettings) -> dict[str, str]:
    thresholds = {f"thresholds[{a}]": f"{n:g}" for a, n in of.thresholds.items()}
    return {
        "mode": of.mode.value,
        "safe": "true" if of.safe else "false",
        **thresholds,
        "query_variants": ", ".join(of.query_variants),
        "engine": of.engine,
        "display_name": of.display_name,
        "description": of.description,
    }


def changes(old: BankSettings | None, new: BankSettings | None) -> set[SettingChange]:
    """What differs between settings; None is no bank."""
    if old is None or new is None:
        there = old or new
        if there is None:
            return set()
        default = texts(BankSettings())
        del default["mode"]
        shown = {n: t for n, t in texts(there).items() if default.get(n) != t}
        return {SettingChange(n, t if old else None, t if new else None) for n, t in shown.items()}
    before, after = texts(old), texts(new)
    pairs = {n: (before.get(n, "default"), after.get(n, "default")) for n in {**before, **after}}
    return {SettingChange(n, *pair) for n, pair in pairs.items() if pair[0] != pair[1]}


class Model:
    """Applies steps to a store and to plain states; `states` begins before the bank was created."""

    def __init__(self, store: BankStore, made: BankSettings) -> None:
        self.store = store
        self.first = store.head().revision
        self.states = [State()]
        store.create_bank("b", made)
        self.note(State(made))

    @property
    def now(self) -> State:
        return self.states[-1]

    def note(self, state: State) -> None:
        """Every revision since the first has a state, those of other banks the one before."""
        revisions = self.store.head().revision - self.first
        assert revisions - len(self.states) in (-1, 0)
        if revisions == len(self.states):
            self.states.append(state)
        assert self.now == state

    def step(self, name: str, *arguments: Any) -> None:
        getattr(self, name)(*arguments)

    def update(self, new: BankSettings, named: set[str]) -> None:
        given = {name: getattr(new, name) for name in named}
        self.store.update_bank("b", given)
        assert self.now.settings
        self.note(replace(self.now, settings=replace(self.now.settings, **given)))

    def add(self, name: str, known: Known) -> None:
        row = ImportRow(
            0,
            (pdq(known.number),),
            name,
            known.labels,
            "",
            known.opinion,
            known.note,
            known.expire_time,
        )
        self.store.add_entries("b", [row], allow_replaced=True)
        known = replace(known, quarantined=name in self.now.quarantined)
        entries = {**self.now.entries, name: known}
        self.note(replace(self.now, entries=entries, withdrawn=self.now.withdrawn - {name}))

    def withdraw(self, name: str) -> None:
        if name not in self.now.entries:
            with pytest.raises(NotFound):
                self.store.withdraw_entries("b", (), [name])
            return
        self.store.withdraw_entries("b", (), [name])
        left = {n: known for n, known in self.now.entries.items() if n != name}
        self.note(replace(self.now, entries=left, withdrawn=self.now.withdrawn | {name}))

    def quarantine(self, name: str, release: bool) -> None:
        if name in self.now.entries:
            page = self.store.list_entries("b", EntryFilter(external_id=name))
            self.store.quarantine_entries("b", [page.entries[0].id], release=release)
            known = replace(self.now.entries[name], quarantined=not release)
            entries = {**self.now.entries, name: known}
            quarantined = self.now.quarantined | {name}
            if release:
                quarantined -= {name}
            self.note(replace(self.now, entries=entries, quarantined=quarantined))

    def rollback(self, index: int) -> None:
        index %= len(self.states)
        target = self.states[index]
        if not target.settings:
            target = replace(target, settings=self.now.settings)
        if self.first + index < 1:
            return
        expected = changes(self.now.settings, target.settings)
        preview = self.store.rollback_bank("b", self.first + index, dry_run=True)
        done = self.store.rollback_bank("b", self.first + index)
        assert replace(done, revision=0) == preview
        assert {*done.settings.changes} == expected
        assert not done.settings.unknown
        assert bool(done.revision) == (target != self.now)
        self.note(target)

    def elsewhere(self) -> None:
        self.store.update_bank("other", {"description": str(self.store.head().revision)})
        self.note(self.now)


def pdq(number: int) -> EntrySignal:
    return EntrySignal("pdq", number.to_bytes(32, "big"))


@pytest.mark.slow
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(made=bank_settings, sequence=st.lists(steps, max_size=10), data=st.data())
def test_the_history_equals_a_plain_model(
    store: BankStore, made: BankSettings, sequence: list[Any], data: st.DataObject
) -> None:
    """The bank of the last example is deleted: another one of its id has a history of its own."""
    existing = {bank.id for bank in store.list_banks().banks}
    if "other" not in existing:
        store.create_bank("other")
    if "b" in existing:
        store.delete_bank("b", force=True)
    model = Model(store, made)
    for step in sequence:
        model.step(*step)
    bank = store.get_bank("b")
    assert model.now.settings == BankSettings(
        **{f.name: getattr(bank, f.name) for f in fields(BankSettings)}
    )
    assert bank.expired_entries == sum(
        k.expire_time is not None for k in model.now.entries.values()
    )
    check_log(store, model)
    last = len(model.states) - 1
    for _ in range(3):
        old, new = data.draw(st.integers(0, last)), data.draw(st.integers(1, last))
        check_diff(store, model, old, new)


def check_log(store: BankStore, model: Model) -> None:
    for page_size in (1000, 2):
        token, lines = "", []
        while True:
            page = store.list_revisions("b", page_size=page_size, page_token=token)
            lines += [line for line in page.revisions if line.revision > model.first]
            token = page.next_page_token
            if not token:
                break
        for line in lines:
            index = line.revision - model.first
            expected = changes(model.states[index - 1].settings, model.states[index].settings)
            assert {*line.settings.changes} == expected, line
            assert not line.settings.unknown
    everything = {line.revision: line for line in store.list_revisions(page_size=1000).revisions}
    assert all(everything[line.revision] == line for line in lines)


def check_diff(store: BankStore, model: Model, old: int, new: int) -> None:
    """Compare a diff with the model, page by page, and with the diff that leads back."""
    first, second = model.first + old, model.first + new
    if not first:
        return
    found: dict[str, Any] = {}
    token, count = "", 0
    while True:
        page = store.diff_revisions("b", first, second, page_size=2, page_token=token)
        if not token:
            expected = changes(model.states[old].settings, model.states[new].settings)
            assert {*page.settings.changes} == expected
            count = page.total_changes
        else:
            assert page.settings == SAME_SETTINGS
            assert page.total_changes == count
        found |= {change.entry.external_id: change for change in page.changes}
        token = page.next_page_token
        if not token:
            break
    before, after = model.states[old].entries, model.states[new].entries
    differ = {n for n in {*before, *after} if before.get(n) != after.get(n)}
    assert found.keys() == differ
    assert count == len(differ)
    back = store.diff_revisions("b", second, first)
    mirrored = {change.entry.external_id: change for change in back.changes}
    assert mirrored.keys() == found.keys()
    assert {*back.settings.changes} == {
        SettingChange(c.name, c.new, c.old)
        for c in store.diff_revisions("b", first, second).settings.changes
    }
    for name, change in found.items():
        other = mirrored[name]
        if name in before and name in after:
            assert change.kind is other.kind is ChangeKind.CHANGED
            assert (change.entry, change.older) == (other.older, other.entry)
            assert {*change.changed_fields} == before[name].differs(after[name])
            assert change.changed_fields == other.changed_fields
        else:
            kinds = (ChangeKind.ADDED, ChangeKind.WITHDRAWN)
            assert (change.kind, other.kind) == (kinds if name in after else kinds[::-1])
            assert change.entry == other.entry
            assert change.older is other.older is None


def test_the_log_says_what_changed(store: BankStore) -> None:
    store.create_bank("b", BankSettings(mode=BankMode.SHADOW, thresholds={"pdq": 20}))
    store.update_bank("b", {"mode": BankMode.ENFORCE, "thresholds": {"pdq": 28, "tlsh": 3}})
    store.add_entries("b", [ImportRow(0, (pdq(1),))])
    log = [line.settings.changes for line in store.list_revisions("b").revisions]
    assert log == [
        (),
        (
            SettingChange("mode", "shadow", "enforce"),
            SettingChange("thresholds[pdq]", "20", "28"),
            SettingChange("thresholds[tlsh]", "default", "3"),
        ),
        (SettingChange("mode", None, "shadow"), SettingChange("thresholds[pdq]", None, "20")),
    ]


def test_a_rollback_of_settings_alone_is_a_revision(store: BankStore) -> None:
    created = store.create_bank("b", BankSettings(mode=BankMode.SHADOW))
    changed = store.update_bank("b", {"mode": BankMode.ENFORCE})
    context = ChangeContext("ann", "why", "request-1")
    done = store.rollback_bank("b", 1, context)
    assert (done.revision, done.settings.changes) == (
        3,
        (SettingChange("mode", "enforce", "shadow"),),
    )
    assert store.rollback_bank("b", 1, context) == done
    bank = store.get_bank("b")
    assert bank.mode is BankMode.SHADOW
    assert len({bank.etag, created.etag, changed.etag}) == 3
    assert store.rollback_bank("b", 1).revision == 0
    assert store.rollback_bank("b", 2).settings.changes == (
        SettingChange("mode", "shadow", "enforce"),
    )


def test_settings_that_this_build_does_not_have_are_not_restored(store: BankStore) -> None:
    store.create_bank("b")
    store.update_bank("b", {"description": "new"})
    with store._database.write() as connection:
        connection.exec_driver_sql("UPDATE bank_settings SET engine = 'gone' WHERE revision = 1")
    with pytest.raises(InvalidInput, match="'gone'"):
        store.rollback_bank("b", 1)
    assert store.get_bank("b").description == "new"
    assert store.diff_revisions("b", 1, 2).settings.changes == (
        SettingChange("engine", "gone", "auto"),
        SettingChange("description", "", "new"),
    )
