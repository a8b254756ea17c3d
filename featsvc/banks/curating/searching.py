"""Which entries of a bank: by id, label, source, nearness, as of any revision; overlap of two."""

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray
from sqlalchemy import ColumnElement, and_, func, literal, select

from featsvc.banks.records import Entry, EntrySignal, stored_version
from featsvc.banks.results import EntryFilter, Overlap
from featsvc.banks.sql.identity import has_external_id
from featsvc.banks.sql.schema import LABEL_SEPARATOR, entries, entry_signals, value_prefix
from featsvc.banks.sql.vector_models import check_dimensions
from featsvc.banks.sql.view import StoreView, VersionedEntry, check_revision, live_at
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.distance import ScannedDistance

MAX_NEAR = 10_000
"""Entries that one search by nearness finds; beyond, it asks for a smaller distance."""


def find(
    view: StoreView, bank_id: str, wanted: EntryFilter, *, after: int, limit: int
) -> tuple[tuple[Entry, ...], tuple[float, ...], int]:
    """Entries with an id above `after`, by id; how near each is, where `wanted` asks for nearness;
    and how many entries there are in all.

    Raises NotFound for the bank, InvalidInput for a revision that is yet to come.
    """
    bank = view.bank(bank_id)
    condition = _condition(view, view.bank_key(bank_id), wanted)
    if wanted.near is not None:
        apart = _near(view, wanted.near, wanted.max_distance, condition)
        page = view.version_page(entries.c.version.in_(apart), after=after, limit=limit)
        return _entries(page), tuple(apart[v.version] for v in page), len(apart)
    if wanted.external_id:
        # Apart from the page: ordered by id, the database would walk through the bank.
        versions = list(view.connection.scalars(select(entries.c.version).where(condition)))
        condition = entries.c.version.in_(versions)
    page = view.version_page(condition, after=after, limit=limit)
    if wanted == EntryFilter():
        return _entries(page), (), bank.entry_count
    total = view.connection.scalar(select(func.count()).select_from(entries).where(condition))
    return _entries(page), (), total or 0


def _entries(page: Iterable[VersionedEntry]) -> tuple[Entry, ...]:
    return tuple(found.entry for found in page)


def _condition(view: StoreView, bank_key: int, wanted: EntryFilter) -> ColumnElement[bool]:
    table = entries.c
    revision = check_revision(wanted.revision, view.head.revision, "revision")
    held = [table.bank_key == bank_key]
    if wanted.show_withdrawn:
        newer = entries.alias("newer")
        superseded = select(newer.c.version).where(
            newer.c.bank_key == bank_key,
            newer.c.id == table.id,
            newer.c.version > table.version,
            newer.c.added_revision <= revision,
        )
        held += [table.added_revision <= revision, ~superseded.exists()]
    elif wanted.revision:
        held.append(live_at(revision))
    else:
        held.append(table.removed_revision.is_(None))
    if wanted.external_id:
        held.append(has_external_id(wanted.external_id, wanted.source or None))
    if wanted.source:
        held.append(table.source == wanted.source)
    framed = literal(LABEL_SEPARATOR) + table.labels + literal(LABEL_SEPARATOR)
    for label in wanted.labels:
        framed_label = f"{LABEL_SEPARATOR}{label}{LABEL_SEPARATOR}"
        # LIKE would take case for equal on one database and not on the other.
        position = func.instr if view.connection.dialect.name == "sqlite" else func.strpos
        held.append(position(framed, framed_label) > 0)
    return and_(*held)


def _near(
    view: StoreView, signal: EntrySignal, max_distance: float, condition: ColumnElement[bool]
) -> dict[int, float]:
    """Version -> distance of its nearest signal, where that is near enough."""
    kind = get_algorithm(signal.algorithm)
    version = stored_version(signal.algorithm, signal.version, field="near.version")
    apart = kind.distance
    if not isinstance(apart, ScannedDistance) or (max_distance < 1 and not apart.fractional):
        held = and_(
            entry_signals.c.algorithm == signal.algorithm,
            entry_signals.c.algorithm_version == version,
            entry_signals.c.value == signal.value,
            value_prefix(entry_signals.c.value) == value_prefix(literal(signal.value)),
        )
        equal = select(entries.c.version).join(entry_signals).where(condition, held)
        return dict.fromkeys(view.connection.scalars(equal.limit(MAX_NEAR)), 0.0)
    query = np.frombuffer(signal.value, np.uint8)
    found: dict[int, float] = {}
    if not kind.bytes:
        check_dimensions(view.connection, kind.name, len(query), field="near.value")
    for batch in view.signals_where(signal.algorithm, condition):
        distances = apart.to_all(query, _rows(batch.values))
        for i in np.flatnonzero(distances <= max_distance).tolist():
            mine, distance = batch.versions[i], float(distances[i])
            found[mine] = min(distance, found.get(mine, distance))
        if len(found) > MAX_NEAR:
            raise InvalidInput(
                f"max_distance: more than {MAX_NEAR} entries are within {max_distance:g}; "
                "ask for a smaller one",
                field="max_distance",
            )
    return found


def _rows(values: Sequence[bytes]) -> NDArray[np.uint8]:
    """uint8[n, bytes] of values of one size."""
    return np.frombuffer(b"".join(values), np.uint8).reshape(len(values), -1)


def overlap(view: StoreView, bank_id: str, other_id: str, *, max_pairs: int) -> Overlap:
    """Entries of a bank with a signal that is live in the other too, equal to the bit."""
    bank, other = view.bank(bank_id), view.bank(other_id)
    mine, theirs = entries.alias("mine"), entries.alias("theirs")
    my_signals, their_signals = entry_signals.alias("s"), entry_signals.alias("t")
    pairs = (
        select(mine.c.version.label("mine"), func.min(theirs.c.version).label("theirs"))
        .select_from(mine)
        .join(my_signals, my_signals.c.version == mine.c.version)
        .join(
            their_signals,
            and_(
                value_prefix(their_signals.c.value) == value_prefix(my_signals.c.value),
                their_signals.c.value == my_signals.c.value,
                their_signals.c.algorithm == my_signals.c.algorithm,
                their_signals.c.algorithm_version == my_signals.c.algorithm_version,
            ),
        )
        .join(theirs, theirs.c.version == their_signals.c.version)
        .where(
            mine.c.bank_key == view.bank_key(bank_id),
            mine.c.removed_revision.is_(None),
            theirs.c.bank_key == view.bank_key(other_id),
            theirs.c.removed_revision.is_(None),
        )
        .group_by(mine.c.version)
    )
    shared = view.connection.scalar(select(func.count()).select_from(pairs.subquery())) or 0
    first = view.connection.execute(pairs.order_by(mine.c.version).limit(max_pairs)).all()
    named = [row.mine for row in first] + [row.theirs for row in first]
    found = {v.version: v.entry for v in view.versioned(entries.c.version.in_(named))}
    return Overlap(
        bank.entry_count,
        shared,
        other.entry_count,
        tuple((found[row.mine], found[row.theirs]) for row in first),
    )
