"""Searches of a bank's entries, and the overlap of two banks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, and_, func, literal, select

from featsvc.banks.records import Entry, EntrySignal, stored_version
from featsvc.banks.results import NO_FILTER, EntryFilter, Overlap
from featsvc.banks.sql.decisions import find_decisions
from featsvc.banks.sql.identity import has_external_id
from featsvc.banks.sql.schema import (
    LABEL_SEPARATOR,
    decisions,
    entries,
    entry_signals,
    has_expired,
    has_signal,
    is_live,
    live_decisions,
    live_entries,
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
    view: StoreView, bank_id: str, entry_filter: EntryFilter, *, after: int, limit: int
) -> tuple[list[Entry], list[float], int]:
    """Return at most `limit` entries with an id above `after`, by id; and the total number.

    Between the two are the distances of the entries, if the filter has `near`. Raises NotFound for
    the bank, InvalidInput for a future revision.
    """
    bank = view.bank(bank_id)
    condition = _condition(view, view.bank_key(bank_id), entry_filter)
    near = entry_filter.near
    if near is not None and _is_equality(near, entry_filter.max_distance):
        found, total = _equal(view, near, condition, after=after, limit=limit)
        return found, [0.0] * len(found), total
    distances: dict[int, float] = {}
    if near is not None:
        distances = _near(view, near, entry_filter.max_distance, condition)
        condition = entries.c.version.in_(distances)
    elif entry_filter.external_id:
        # A query before that of the page: ordered by id, the database would read the whole bank.
        versions = list(view.connection.scalars(select(entries.c.version).where(condition)))
        condition = entries.c.version.in_(versions)
    page = view.version_page(condition, after=after, limit=limit)
    if entry_filter.decided:
        page = _with_decisions(view, view.bank_key(bank_id), page)
    if near is not None:
        total = len(distances)
    elif entry_filter == NO_FILTER:
        total = bank.entry_count
    else:
        counted = select(func.count()).select_from(entries).where(condition)
        total = view.connection.scalar(counted) or 0
    nearest = [distances[version] for version, _ in page if distances]
    return [entry for _, entry in page], nearest, total


def _condition(view: StoreView, bank_key: int, entry_filter: EntryFilter) -> ColumnElement[bool]:
    table = entries.c
    revision = check_revision(entry_filter.revision, view.head.revision, "revision")
    conditions = [table.bank_key == bank_key]
    if entry_filter.decided:
        conditions.append(_newest_decided(bank_key))
    elif entry_filter.show_withdrawn:
        until = change_of(revision)
        newer = entries.alias("newer")
        superseded = select(newer.c.version).where(
            newer.c.bank_key == bank_key,
            newer.c.id == table.id,
            newer.c.version > table.version,
            newer.c.added_change <= until,
        )
        conditions += [table.added_change <= until, ~superseded.exists()]
    elif entry_filter.revision:
        conditions.append(live_at(revision))
    else:
        conditions.append(is_live)
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
    return and_(*conditions)


def _newest_decided(bank_key: int) -> ColumnElement[bool]:
    """Select the newest version, live or not, of each identity with a decision."""
    table = entries.c
    newest = (
        select(func.max(table.version))
        .join(decisions, decisions.c.identity == table.identity)
        .where(
            live_decisions(bank_key),
            table.bank_key == bank_key,
            table.added_change <= newest_change,
        )
        .group_by(table.identity)
    )
    return table.version.in_(newest)


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


def _equal(
    view: StoreView,
    signal: EntrySignal,
    condition: ColumnElement[bool],
    *,
    after: int,
    limit: int,
) -> tuple[list[Entry], int]:
    """Return a page of the entries with an equal signal, of which there may be any number."""
    version = stored_version(signal.algorithm, signal.version, field="near.version")
    equal = has_signal(
        entry_signals, literal(signal.algorithm), literal(version), literal(signal.value)
    )
    table = entries.c
    matching = (
        select(table.version)
        .join(entry_signals)
        .where(condition, equal)
        .group_by(table.version, table.id)
    )
    total = view.connection.scalar(select(func.count()).select_from(matching.subquery())) or 0
    page = matching.where(table.id > after).order_by(table.id).limit(limit)
    versions = list(view.connection.scalars(page))
    return list(view.entries_where(table.version.in_(versions), by_id=True)), total


def _near(
    view: StoreView, signal: EntrySignal, max_distance: float, condition: ColumnElement[bool]
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
    equal = has_signal(
        right_signals,
        left_signals.c.algorithm,
        left_signals.c.algorithm_version,
        left_signals.c.value,
    )
    pairs = (
        select(left.c.version, func.min(right.c.version).label("other"))
        .select_from(left)
        .join(left_signals, left_signals.c.version == left.c.version)
        .join(right_signals, equal)
        .join(right, right.c.version == right_signals.c.version)
        .where(
            live_entries(view.bank_key(bank_id), left),
            live_entries(view.bank_key(other_id), right),
        )
        .group_by(left.c.id, left.c.version)
    )
    shared = 0
    if not after:
        shared = view.connection.scalar(select(func.count()).select_from(pairs.subquery())) or 0
    page = pairs.where(left.c.id > after).order_by(left.c.id).limit(limit)
    first = view.connection.execute(page).all()
    versions = [version for pair in first for version in pair]
    by_version = dict(view.versioned(entries.c.version.in_(versions)))
    return Overlap(
        bank.entry_count,
        shared,
        other.entry_count,
        tuple((by_version[row.version], by_version[row.other]) for row in first),
    )
