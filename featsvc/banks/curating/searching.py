"""Searches of a bank's entries, and the overlap of two banks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, Select, and_, case, func, literal, select

from featsvc.banks.records import Entry, EntrySignal, stored_version
from featsvc.banks.results import NO_FILTER, EntryFilter, Overlap
from featsvc.banks.sql.decisions import find_decisions
from featsvc.banks.sql.identity import has_external_id
from featsvc.banks.sql.lookups import look_up
from featsvc.banks.sql.schema import (
    LABEL_SEPARATOR,
    decisions,
    entries,
    entry_signals,
    has_expired,
    has_signal,
    in_bank,
    is_live,
    live_decisions,
    live_entries,
    live_in,
    newest_change,
)
from featsvc.banks.sql.times import now_us
from featsvc.banks.sql.vector_models import check_dimensions
from featsvc.banks.sql.view import StoreView, VersionedEntry, change_of, check_revision, live_at
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.distance import ScannedDistance

MAX_NEAR = 10_000
"""Entries that a search by distance may find; with more it asks for a smaller distance."""


def find(
    view: StoreView,
    bank_id: str,
    entry_filter: EntryFilter,
    *,
    after: int,
    limit: int,
    total: int | None,
) -> tuple[list[Entry], list[float], int]:
    """Return at most `limit` entries with an id above `after`, by id; and the total number.

    Between the two are the distances of the entries, if the filter has `near`. Entries are counted
    only if `total` is None. Raises NotFound for the bank, InvalidInput for a future revision.
    """
    bank = view.bank(bank_id)
    matching = _Matching(view, view.bank_key(bank_id), entry_filter)
    near = entry_filter.near
    distances: dict[int, float] = {}
    if near is None:
        chosen = matching.versions()
    elif _is_equality(near, entry_filter.max_distance):
        chosen = _equal(view, near, matching)
    else:
        distances = _near(view, near, entry_filter.max_distance, matching)
        total = len(distances)
        chosen = select(entries.c.version, entries.c.id).where(entries.c.version.in_(distances))
    if entry_filter == NO_FILTER:
        total = bank.entry_count
    if total is None:
        counted = select(func.count()).select_from(chosen.subquery())
        total = view.connection.scalar(counted) or 0
    first = chosen.where(entries.c.id > after).order_by(entries.c.id).limit(limit)
    versions = list(view.connection.scalars(first))
    page = list(view.versioned(entries.c.version.in_(versions), by_id=True))
    if entry_filter.decided:
        page = _with_decisions(view, view.bank_key(bank_id), page)
    nearest = [distances.get(version, 0.0) for version, _ in page if near is not None]
    return [entry for _, entry in page], nearest, total


class _Matching:
    """The versions that meet a filter: all but what it says of signals.

    Those of a bank are read by id; those of an external id, a signal or a decision are looked up.
    """

    def __init__(self, view: StoreView, bank_key: int, entry_filter: EntryFilter) -> None:
        """Raises InvalidInput for a future revision."""
        self.bank_key = bank_key
        self._filter = entry_filter
        self._revision = check_revision(entry_filter.revision, view.head.revision, "revision")
        self._meets = _conditions(view, entry_filter)

    def versions(self) -> Select[tuple[int, int]]:
        """Select the versions with the ids of their entries."""
        table = entries.c
        if self._filter.decided:
            return select(table.version, table.id).where(self.looked_up())
        bank = table.bank_key == self.bank_key
        if self._filter.external_id:
            # Found by its identity, which all versions of an entry share.
            named = has_external_id(self._filter.external_id, self._filter.source or None)
            bank = and_(in_bank(self.bank_key), named)
        if not self._filter.show_withdrawn:
            return select(table.version, table.id).where(bank, self._holds(), *self._meets)
        # The newest version of each entry decides, found without looking for each one's next.
        newest = func.max(table.version)
        versions = (
            select(newest.label("version"), table.id).where(bank, self._holds()).group_by(table.id)
        )
        if not self._meets:
            return versions
        return versions.having(newest == func.max(case((and_(*self._meets), table.version))))

    def looked_up(self) -> ColumnElement[bool]:
        """Select the matching ones of some versions."""
        conditions = [in_bank(self.bank_key), self._holds(), *self._meets]
        if self._filter.decided:
            conditions.append(_newest_decided(self.bank_key))
        elif self._filter.show_withdrawn:
            newer = entries.alias("newer")
            newest = select(func.max(newer.c.version)).where(
                newer.c.bank_key == self.bank_key,
                newer.c.id == entries.c.id,
                newer.c.added_change <= change_of(self._revision),
            )
            conditions.append(entries.c.version == newest.scalar_subquery())
        return and_(*conditions)

    def _holds(self) -> ColumnElement[bool]:
        """Select the versions of the filter's time, with `show_withdrawn` also earlier ones."""
        if self._filter.decided:
            return entries.c.added_change <= newest_change
        if self._filter.show_withdrawn:
            return entries.c.added_change <= change_of(self._revision)
        return live_at(self._revision) if self._filter.revision else is_live


def _conditions(view: StoreView, entry_filter: EntryFilter) -> list[ColumnElement[bool]]:
    """Return what a filter says of the fields of a version."""
    table = entries.c
    conditions: list[ColumnElement[bool]] = []
    if entry_filter.external_id:
        conditions.append(has_external_id(entry_filter.external_id, entry_filter.source or None))
    if entry_filter.expired is not None:
        expired = has_expired(now_us())
        conditions.append(expired if entry_filter.expired else ~expired)
    if entry_filter.source:
        conditions.append(table.source == entry_filter.source)
    framed = literal(LABEL_SEPARATOR) + table.labels + literal(LABEL_SEPARATOR)
    for label in entry_filter.labels:
        framed_label = f"{LABEL_SEPARATOR}{label}{LABEL_SEPARATOR}"
        # LIKE ignores case on one of the two databases.
        position = func.instr if view.connection.dialect.name == "sqlite" else func.strpos
        conditions.append(position(framed, framed_label) > 0)
    return conditions


def _newest_decided(bank_key: int) -> ColumnElement[bool]:
    """Select the newest version, live or not, of each identity with a decision."""
    other = entries.alias("newest")
    newest = select(func.max(other.c.version)).where(
        other.c.identity == decisions.c.identity,
        in_bank(bank_key, other),
        other.c.added_change <= newest_change,
    )
    of_each = newest.correlate(decisions).scalar_subquery()
    return entries.c.version.in_(select(of_each).where(live_decisions(bank_key)))


def _with_decisions(
    view: StoreView, bank_key: int, page: list[VersionedEntry]
) -> list[VersionedEntry]:
    """Name the fields that are decided now, also of entries that their list has withdrawn."""
    versions = entries.c.version.in_([row.version for row in page])
    identities = dict(
        map(
            tuple,
            view.connection.execute(select(entries.c.version, entries.c.identity).where(versions)),
        )
    )
    decided = find_decisions(view.connection, bank_key, identities.values())
    return [
        row._replace(
            entry=replace(row.entry, decided_fields=decided[identities[row.version]].fields)
        )
        for row in page
    ]


def _is_equality(signal: EntrySignal, max_distance: float) -> bool:
    """Return whether only equal signals are within the distance."""
    distance = get_algorithm(signal.algorithm).distance
    return not isinstance(distance, ScannedDistance) or (
        max_distance < 1 and not distance.fractional
    )


def _equal(view: StoreView, signal: EntrySignal, matching: _Matching) -> Select[tuple[int, int]]:
    """Select the entries with an equal signal, of which there may be any number."""
    version = stored_version(signal.algorithm, signal.version, field="near.version")
    equal = has_signal(
        entry_signals, literal(signal.algorithm), literal(version), literal(signal.value)
    )
    found = select(entry_signals.c.version).where(equal).distinct()
    signals = found.cte("equal").prefix_with("MATERIALIZED")
    return (
        select(entries.c.version, entries.c.id)
        .join_from(signals, entries, entries.c.version == signals.c.version)
        .where(matching.looked_up())
    )


def _near(
    view: StoreView, signal: EntrySignal, max_distance: float, matching: _Matching
) -> dict[int, float]:
    """Return the versions within the distance, and the distance of each one's nearest signal."""
    algorithm = get_algorithm(signal.algorithm)
    stored_version(signal.algorithm, signal.version, field="near.version")
    distance = algorithm.distance
    assert isinstance(distance, ScannedDistance)  # noqa: S101 (for mypy: _is_equality)
    query = np.frombuffer(signal.value, np.uint8)
    nearest: dict[int, float] = {}
    if not algorithm.bytes:
        check_dimensions(view.connection, algorithm.name, len(query), field="near.value")
    condition = entries.c.version.in_(select(matching.versions().subquery().c.version))
    for batch in view.signals_where(signal.algorithm, condition):
        distances = distance.to_all(query, _stack(batch.values))
        for i in np.flatnonzero(distances <= max_distance).tolist():
            entry_version, this_distance = batch.versions[i], float(distances[i])
            nearest[entry_version] = min(this_distance, nearest.get(entry_version, this_distance))
        if len(nearest) > MAX_NEAR:
            raise InvalidInput.at(
                "max_distance",
                f"more than {MAX_NEAR} entries are within {max_distance:g}; use a smaller distance",
            )
    return nearest


def _stack(values: Sequence[bytes]) -> NDArray[np.uint8]:
    """Return values of one length as uint8 (n, bytes)."""
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)


def overlap(view: StoreView, bank_id: str, other_id: str, *, after: int, limit: int) -> Overlap:
    """Find at most `limit` pairs whose first entry has an id above `after`, by that id.

    Counts all of them where `after` is 0: that reads the whole bank. See `BankStore.overlap`.
    """
    bank, other = view.bank(bank_id), view.bank(other_id)
    left, right = entries.alias("left_entries"), entries.alias("right_entries")
    left_signals, right_signals = entry_signals.alias("s"), entry_signals.alias("t")
    connection = view.connection
    source, signal = look_up(
        connection, left, left_signals, left_signals.c.version == left.c.version
    )
    equal = has_signal(right_signals, signal.algorithm, signal.algorithm_version, signal.value)
    source, other_signal = look_up(connection, source, right_signals, equal)
    of_other = right.c.version == other_signal.version, live_in(view.bank_key(other_id), right)
    source, other_entry = look_up(connection, source, right, *of_other)
    pairs = (
        select(left.c.version, func.min(other_entry.version).label("other"))
        .select_from(source)
        .where(live_entries(view.bank_key(bank_id), left), left.c.id > after)
        .group_by(left.c.id, left.c.version)
        .order_by(left.c.id)
    )
    if not after:
        # Counted as they are joined, not by joining them again.
        pairs = pairs.add_columns(func.count().over().label("shared"))
    first = connection.execute(pairs.limit(limit)).all()
    shared = first[0].shared if first and not after else 0
    versions = [version for row in first for version in (row.version, row.other)]
    by_version = dict(view.versioned(entries.c.version.in_(versions)))
    return Overlap(
        bank.entry_count,
        shared,
        other.entry_count,
        tuple((by_version[row.version], by_version[row.other]) for row in first),
    )
