"""What the bank store should do, said again in plain Python: the oracle of its laws.

A bank is a dict of entries by identity; each revision keeps a copy of it. Nothing here is shared
with the store but the words.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

Identity = tuple[str, str, frozenset[int]]
"""External id and source; the numbers of the signals only of an entry without an external id."""


class Row(NamedTuple):
    """A row of a list, or an entry to add; `signals` are the numbers of PDQ hashes."""

    external_id: str
    source: str
    signals: tuple[int, ...]
    label: str = ""
    withdrawn: bool = False

    def identity(self, source: str) -> Identity:
        return identity_of(self.external_id, self.source or source, self.signals)


class PlainEntry(NamedTuple):
    id: int
    external_id: str
    source: str
    signals: frozenset[int]
    labels: frozenset[str]
    quarantined: bool = False

    @property
    def content(self) -> tuple[object, ...]:
        return self[1:-1]


class Counts(NamedTuple):
    added: int = 0
    changed: int = 0
    withdrawn: int = 0


PlainBank = Mapping[Identity, PlainEntry]


def identity_of(external_id: str, source: str, signals: Iterable[int]) -> Identity:
    return external_id, source, frozenset() if external_id else frozenset(signals)


class PlainStore:
    """Banks by name, and the log: one line for each revision after the first, `base`."""

    def __init__(self, base: int) -> None:
        self.base = base
        self.banks: dict[str, PlainBank] = {}
        self.states: list[dict[str, PlainBank]] = [{}]
        self._quarantines: dict[str, frozenset[Identity]] = {}
        """By bank: a quarantine holds while a list does not have the entry."""
        self._quarantined_at: list[dict[str, frozenset[Identity]]] = [{}]
        self.log: list[tuple[str, Counts]] = []
        self.born: dict[str, int] = {}
        """Revision of each bank's creation."""
        self._next_id = 1

    @property
    def revision(self) -> int:
        return self.base + len(self.log)

    def at(self, revision: int, bank: str) -> PlainBank:
        """Return what an existing bank held at a revision."""
        if revision < self.born[bank]:
            return {}
        return self.states[revision - self.base].get(bank, {})

    def create(self, bank: str) -> None:
        self._quarantines[bank] = frozenset()
        self._commit(bank, {}, Counts())
        self.born[bank] = self.revision

    def delete(self, bank: str) -> None:
        count = len(self.banks.pop(bank))
        del self._quarantines[bank]
        self._log(bank, Counts(withdrawn=count))

    def add(self, bank: str, rows: Sequence[Row]) -> Counts:
        return self.import_rows(bank, rows, source="", replace=False)

    def import_rows(self, bank: str, rows: Sequence[Row], *, source: str, replace: bool) -> Counts:
        before = self.banks[bank]
        staged, cancelled = _joined(rows, source)
        after = {key: entry for key, entry in before.items() if key not in cancelled - {*staged}}
        for row in rows:
            if row.withdrawn:
                for hit in _hit(before, rows, row, source) - staged.keys():
                    after.pop(hit, None)
        sources = {row.source or source for row in rows if not row.withdrawn}
        if source:
            sources.add(source)
        for identity, entry in before.items():
            if replace and entry.source in (sources or {""}) and identity not in staged:
                after.pop(identity, None)
        for identity, entry in staged.items():
            old = before.get(identity)
            if old is None:
                held = identity in self._quarantines[bank]
                after[identity] = entry._replace(id=self._new_id(), quarantined=held)
            else:
                after[identity] = entry._replace(id=old.id, quarantined=old.quarantined)
        return self._commit_if_changed(bank, after)

    def withdraw(self, bank: str, identities: Iterable[Identity]) -> None:
        after = dict(self.banks[bank])
        counts = Counts(withdrawn=len({*identities}))
        for identity in {*identities}:
            del after[identity]
        self._commit(bank, after, counts)

    def quarantine(self, bank: str, identities: Iterable[Identity], *, release: bool) -> None:
        after, chosen = dict(self.banks[bank]), frozenset(identities)
        for identity in chosen:
            after[identity] = after[identity]._replace(quarantined=not release)
        held = self._quarantines[bank]
        self._quarantines[bank] = held - chosen if release else held | chosen
        self._commit_if_changed(bank, after)

    def rollback(self, bank: str, revision: int) -> Counts:
        before = self._quarantines[bank]
        if revision < self.born[bank]:
            self._quarantines[bank] = frozenset()
        else:
            self._quarantines[bank] = self._quarantined_at[revision - self.base][bank]
        return self._commit_if_changed(
            bank, self.at(revision, bank), also=before != self._quarantines[bank]
        )

    def _new_id(self) -> int:
        self._next_id += 1
        return self._next_id

    def _commit_if_changed(self, bank: str, after: PlainBank, *, also: bool = False) -> Counts:
        counts = difference(self.banks[bank], after)
        if any(counts) or also:
            self._commit(bank, after, counts)
        return counts

    def _commit(self, bank: str, after: PlainBank, counts: Counts) -> None:
        self.banks[bank] = after
        self._log(bank, counts)

    def _log(self, bank: str, counts: Counts) -> None:
        self.log.append((bank, counts))
        self.states.append(dict(self.banks))
        self._quarantined_at.append(dict(self._quarantines))


def difference(before: PlainBank, after: PlainBank) -> Counts:
    changed = sum(after[key] != before[key] for key in after.keys() & before.keys())
    return Counts(len(after.keys() - before.keys()), changed, len(before.keys() - after.keys()))


def signal_count(bank: PlainBank) -> Counter[str]:
    return Counter({"pdq": sum(len(entry.signals) for entry in bank.values())})


def _joined(rows: Sequence[Row], source: str) -> tuple[dict[Identity, PlainEntry], set[Identity]]:
    """Return the entries of a list, and those that a later row withdraws.

    Its rows are taken one after the other, those of an identity joined.
    """
    staged: dict[Identity, PlainEntry] = {}
    cancelled: set[Identity] = set()
    for row in rows:
        origin = row.source or source
        if row.withdrawn:
            named = {row.identity(source)} if row.external_id else _of_signals(staged, row, source)
            cancelled |= named & staged.keys()
            for identity in named & staged.keys():
                del staged[identity]
            continue
        labels = frozenset({row.label} - {""})
        entry = PlainEntry(0, row.external_id, origin, frozenset(row.signals), labels)
        identity = row.identity(source)
        if (old := staged.get(identity)) is not None:
            entry = entry._replace(signals=old.signals | entry.signals, labels=old.labels | labels)
        staged[identity] = entry
    return staged, cancelled


def _of_signals(bank: PlainBank, row: Row, source: str) -> set[Identity]:
    origin, wanted = row.source or source, {*row.signals}
    return {key for key, entry in bank.items() if entry.source == origin and entry.signals & wanted}


def _hit(before: PlainBank, rows: Sequence[Row], row: Row, source: str) -> set[Identity]:
    """Return the live entries that a withdrawn row names.

    That of its id; or, if neither a live entry nor an earlier row has it, all with its signals.
    """
    identity = row.identity(source)
    if row.external_id:
        if identity in before:
            return {identity}
        index = next(i for i, other in enumerate(rows) if other is row)
        if any(r.identity(source) == identity and not r.withdrawn for r in rows[:index]):
            return set()
    return _of_signals(before, row, source)
