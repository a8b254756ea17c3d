"""Decisions: what a curator says about single entries, which wins over what their list says.

A decision is about an identity. It holds through imports, and while the list does not have the
entry, until the curator takes it back. Versions of the entry have the effective values, so readers
need no more than `entries`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, NamedTuple

import msgspec
from sqlalchemy import (
    Connection,
    and_,
    bindparam,
    insert,
    or_,
    select,
    update,
)

from featsvc.banks.records import DECIDED_FIELDS, MAX_LABELS, EntryEdit, Opinion
from featsvc.banks.sql.changes import EntryCounts, PendingRevision, count_signals
from featsvc.banks.sql.schema import (
    LABEL_SEPARATOR,
    decisions,
    entries,
    entry_signals,
    in_bank,
    listed_in,
    live_decisions,
)
from featsvc.banks.sql.stored import split_stored_labels
from featsvc.banks.sql.times import to_us

_LOOKED_UP = 500
"""Identities in a statement."""


class Values(NamedTuple):
    """Columns of an entry that a decision overlays, as stored."""

    labels: str
    note: str
    opinion: str
    expire_time: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What is decided about an entry: nothing where a field has its default.

    Stored as JSON: its field names are part of the store's layout.
    """

    withdrawn: bool = False
    quarantined: bool = False
    added_labels: tuple[str, ...] = ()
    removed_labels: tuple[str, ...] = ()
    note: str | None = None
    opinion: Opinion | None = None
    expiry: bool = False
    """Whether `expire_time` is decided; None is never."""
    expire_time: datetime | None = None

    @property
    def fields(self) -> tuple[str, ...]:
        """Return those of DECIDED_FIELDS that are decided."""
        labels = bool(self.added_labels or self.removed_labels)
        note, opinion = self.note is not None, self.opinion is not None
        decided = (self.withdrawn, self.quarantined, labels, note, opinion, self.expiry)
        return tuple(
            name for name, is_decided in zip(DECIDED_FIELDS, decided, strict=True) if is_decided
        )

    def edited(self, edit: EntryEdit) -> "Decision":
        """Return the decision after an edit."""
        reset = replace(self, **{k: v for name in edit.reset for k, v in _NOTHING[name].items()})
        added = (*reset.added_labels, *edit.add_labels)
        removed = (*reset.removed_labels, *edit.remove_labels)
        set_expiry = edit.never_expires or edit.expire_time is not None
        return Decision(
            withdrawn=reset.withdrawn or edit.withdrawn,
            quarantined=reset.quarantined or edit.quarantined,
            added_labels=_without(added, edit.remove_labels),
            removed_labels=_without(removed, edit.add_labels),
            note=reset.note if edit.note is None else edit.note,
            opinion=reset.opinion if edit.opinion is None else edit.opinion,
            expiry=reset.expiry or set_expiry,
            expire_time=edit.expire_time if set_expiry else reset.expire_time,
        )

    def effective(self, listed: Values) -> dict[str, Any]:
        """Return the columns of a version whose list says `listed`."""
        decided = [name for name in self.fields if name in Values._fields]
        columns = listed._asdict()
        if "labels" in decided:
            columns["labels"] = LABEL_SEPARATOR.join(self._labels(listed.labels))
        if self.note is not None:
            columns["note"] = self.note
        if self.opinion is not None:
            columns["opinion"] = self.opinion.value
        if self.expiry:
            columns["expire_time"] = None if self.expire_time is None else to_us(self.expire_time)
        said = msgspec.json.encode({name: getattr(listed, name) for name in decided}).decode()
        return {
            **columns,
            "listed": said if decided else None,
            "withheld": self.withdrawn,
            "quarantined": self.quarantined,
        }

    def _labels(self, stored: str) -> list[str]:
        """Return the list's labels with the decided ones: those last, and never cut off."""
        added = self.added_labels
        kept = _without(split_stored_labels(stored), (*self.removed_labels, *added))
        return [*kept[: MAX_LABELS - len(added)], *added]


NOTHING = Decision()
_NOTHING: Mapping[str, Mapping[str, Any]] = {
    "withdrawn": {"withdrawn": False},
    "quarantined": {"quarantined": False},
    "labels": {"added_labels": (), "removed_labels": ()},
    "note": {"note": None},
    "opinion": {"opinion": None},
    "expire_time": {"expiry": False, "expire_time": None},
}


def _without(labels: Iterable[str], unwanted: Collection[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(label for label in labels if label not in unwanted))


def decode(stored: str) -> Decision:
    """Return the decision in the column `decided`."""
    return msgspec.json.decode(stored, type=Decision)


def has_decisions(connection: Connection, bank_key: int) -> bool:
    """Return whether the bank has, or ever had, a decision."""
    table = decisions.c
    # In order: a step in an index, while a bitmap would be of the whole bank.
    first = select(table.identity).where(table.bank_key == bank_key).order_by(table.identity)
    return connection.scalar(first.limit(1)) is not None


def find_decisions(
    connection: Connection, bank_key: int, identities: Iterable[str]
) -> dict[str, Decision]:
    """Return the decisions that hold about some identities of a bank."""
    table = decisions.c
    found: dict[str, Decision] = {}
    for piece in _pieces(identities):
        query = select(table.identity, table.decided).where(
            live_decisions(bank_key), table.identity.in_(piece)
        )
        found |= {row.identity: decode(row.decided) for row in connection.execute(query)}
    return found


def write_decisions(
    connection: Connection, pending: PendingRevision, bank_key: int, new: Mapping[str, Decision]
) -> None:
    """Replace the decisions about identities of a bank; NOTHING ends one."""
    table = decisions.c
    for piece in _pieces(new):
        connection.execute(
            update(decisions)
            .where(live_decisions(bank_key), table.identity.in_(piece))
            .values(removed_change=pending.change)
        )
    rows = [
        {
            "bank_key": bank_key,
            "identity": identity,
            "added_change": pending.change,
            "withdrawn": decision.withdrawn,
            "decided": msgspec.json.encode(decision).decode(),
        }
        for identity, decision in new.items()
        if decision != NOTHING
    ]
    if rows:
        connection.execute(insert(decisions), rows)


def restore_decisions(
    connection: Connection, pending: PendingRevision, bank_key: int, change: int
) -> int:
    """Make the decisions of an earlier change hold again; return how many differed."""
    differing = changed_decisions(connection, bank_key, change)
    write_decisions(connection, pending, bank_key, differing)
    return len(differing)


def changed_decisions(connection: Connection, bank_key: int, change: int) -> dict[str, Decision]:
    """Return the decisions that held after a change, NOTHING for none, where now others hold."""
    table = decisions.c
    since = or_(table.added_change > change, table.removed_change > change)
    rows = connection.execute(select(decisions).where(in_bank(bank_key, decisions), since)).all()
    then = {row.identity: row.decided for row in rows if row.added_change <= change}
    now = find_decisions(connection, bank_key, {row.identity for row in rows})
    earlier = {i: decode(then[i]) if i in then else NOTHING for i in {r.identity for r in rows}}
    return {i: d for i, d in earlier.items() if d != now.get(i, NOTHING)}


@dataclass(frozen=True, slots=True)
class Decided:
    """What decisions changed: counts of entries, and by how many the live signals grew."""

    counts: EntryCounts
    grown: Counter[str]


def apply_decisions(
    connection: Connection, pending: PendingRevision, bank_key: int, new: Mapping[str, Decision]
) -> Decided:
    """Write decisions, and new versions of the listed entries whose values they change."""
    write_decisions(connection, pending, bank_key, new)
    copies: list[dict[str, Any]] = []
    counted: Counter[str] = Counter()
    for piece in _pieces(new):
        rows = connection.execute(
            select(entries).where(listed_in(bank_key), entries.c.identity.in_(piece))
        ).all()
        for row in rows:
            columns = new[row.identity].effective(listed_values(row))
            if all(getattr(row, name) == value for name, value in columns.items()):
                continue
            version = pending.first_version + len(copies)
            added = {"version": version, "added_change": pending.change, "removed_change": None}
            copies.append({**row._mapping, **columns, **added, "old": row.version})
            counted[_KINDS[bool(row.withheld), columns["withheld"]]] += 1
    grown = _write_copies(connection, pending, bank_key, copies)
    unseen = len(new) - counted["new"] - counted["changed"] - counted["withdrawn"]
    counts = EntryCounts(
        counted["new"], counted["changed"], counted["withdrawn"], len(copies), unseen
    )
    return Decided(counts, grown)


_KINDS = {
    (False, False): "changed",
    (False, True): "withdrawn",
    (True, False): "new",
    (True, True): "unseen",
}
"""Whether the version was, and is, withheld -> what its entry counts as."""


def listed_values(row: Any) -> Values:
    """Return what the list says of an entry, given the row of a version."""
    said = {} if row.listed is None else msgspec.json.decode(row.listed)
    return Values(*(said.get(name, getattr(row, name)) for name in Values._fields))


def _write_copies(
    connection: Connection,
    pending: PendingRevision,
    bank_key: int,
    copies: list[dict[str, Any]],
) -> Counter[str]:
    """Write copies of versions in their place; return by how many the live signals grew."""
    grown: Counter[str] = Counter()
    if not copies:
        return grown
    table = entries.c
    seen = and_(in_bank(bank_key), ~table.withheld)
    for piece in _pieces(copy["old"] for copy in copies):
        olds = table.version.in_(piece)
        grown.subtract(count_signals(connection, and_(seen, olds)))
        pending.remove(connection, olds)
    names = entries.c.keys()
    connection.execute(insert(entries), [{name: copy[name] for name in names} for copy in copies])
    signals = {c.name: c for c in entry_signals.c if c.name != "version"}
    copied = select(bindparam("new"), *signals.values()).where(
        entry_signals.c.version == bindparam("old")
    )
    connection.execute(
        insert(entry_signals).from_select(["version", *signals], copied),
        [{"new": copy["version"], "old": copy["old"]} for copy in copies],
    )
    first = pending.first_version
    written = table.version.between(first, first + len(copies) - 1)
    grown.update(count_signals(connection, and_(seen, written)))
    return grown


def _pieces(items: Iterable[Any]) -> Iterable[list[Any]]:
    listed = list(items)
    for start in range(0, len(listed), _LOOKED_UP):
        yield listed[start : start + _LOOKED_UP]
