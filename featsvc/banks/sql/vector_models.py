"""What vectors a store and a bank take: one length a model, one version a bank."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, insert, select

from featsvc.banks.sql.changes import Change, bank_row, signals_removed
from featsvc.banks.sql.schema import import_details, import_rows, vector_models
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import Kind, get_algorithm


def check_vectors(connection: Connection, change: Change) -> None:
    """Of the staged rows, merged already under the writers' lock; remembers lengths seen first.

    Raises InvalidInput where vectors of one model differ in length from each other or from what
    the store holds or ever held of it, or where the bank would hold two versions of a model.
    """
    staged = connection.scalars(select(import_details.c.algorithm).distinct())
    names = [name for name in staged if get_algorithm(name).kind is Kind.VECTOR]
    if not names:
        return
    _check_lengths(connection, names)
    _check_versions(connection, change, names)


def check_dimensions(connection: Connection, model: str, size: int, *, field: str) -> None:
    """Raises InvalidInput where a value of `size` bytes has not the length that the store knows."""
    wanted = connection.scalar(
        select(vector_models.c.dimensions).where(vector_models.c.model == model)
    )
    if wanted is not None and size != 4 * wanted:
        raise InvalidInput(
            f"{field}: has {size // 4} dimensions, vectors of {model} have {wanted} in this store",
            field=field,
        )


def _check_lengths(connection: Connection, names: Iterable[str]) -> None:
    size = func.length(import_rows.c.value)
    details = import_details.c
    rows = connection.execute(
        select(details.algorithm, func.min(size).label("least"), func.max(size).label("most"))
        .select_from(import_rows.join(import_details, import_rows.c.details == details.key))
        .where(details.algorithm.in_(names))
        .group_by(details.algorithm)
    ).all()
    known = select(vector_models).where(vector_models.c.model.in_(names))
    held: Mapping[str, int] = {r.model: r.dimensions for r in connection.execute(known)}
    for row in sorted(rows):
        wanted = held.get(row.algorithm, row.least // 4)
        for other in (row.least // 4, row.most // 4):
            if other != wanted:
                raise InvalidInput(
                    f"signals: vectors of {row.algorithm} have {wanted} dimensions in this store, "
                    f"one here has {other}; give another model another name or version",
                    field="signals",
                )
        if row.algorithm not in held:
            connection.execute(insert(vector_models).values(model=row.algorithm, dimensions=wanted))


def _check_versions(connection: Connection, change: Change, names: Iterable[str]) -> None:
    bank = bank_row(connection, change.bank_id)
    live = Counter(json.loads(bank.signal_counts))
    live.subtract(signals_removed(connection, bank.key, change.revision))
    held = {name for name, count in live.items() if count > 0} | set(names)
    for name in names:
        kind = get_algorithm(name)
        for other in sorted(held - {name}):
            its = get_algorithm(other)
            if its.kind is kind.kind and its.base == kind.base:
                raise InvalidInput(
                    f"signals: vectors of {name} and {other} do not compare, and a bank holds one "
                    f"version of a model; use a bank of its own for {name}, or replace the others "
                    "in one import",
                    field="signals",
                )
