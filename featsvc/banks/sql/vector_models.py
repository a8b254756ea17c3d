"""Checks of vectors: a store holds one length for each model, a bank one version of a model."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, func, insert, select

from featsvc.banks.sql.schema import vector_models
from featsvc.banks.sql.stored import bank_row
from featsvc.banks.sql.temporary import import_details, import_rows
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import Kind, get_algorithm


def check_vectors(
    connection: Connection, bank_id: str, grown: Mapping[str, int], *, store: bool
) -> None:
    """Check the staged vectors, and `store` the length of each new model.

    `grown` is by how many the change has grown the bank's signals of each algorithm. Raises
    InvalidInput if vectors of a model differ in length from each other or from what the store holds
    or ever held, or if the bank would hold two versions of a model.
    """
    staged = connection.scalars(select(import_details.c.algorithm).distinct())
    names = [name for name in staged if get_algorithm(name).kind is Kind.VECTOR]
    if not names:
        return
    _check_lengths(connection, names, store=store)
    _check_versions(connection, bank_id, grown, names)


def check_grown_vectors(connection: Connection, bank_id: str, grown: Mapping[str, int]) -> None:
    """Raises InvalidInput if entries that live again would give a bank two versions of a model."""
    vectors = [n for n, more in grown.items() if more > 0 and get_algorithm(n).kind is Kind.VECTOR]
    _check_versions(connection, bank_id, grown, vectors)


def check_dimensions(connection: Connection, model: str, size: int, *, field: str) -> None:
    """Raises InvalidInput if `size` bytes is not the length of the model's vectors in the store."""
    dimensions = connection.scalar(
        select(vector_models.c.dimensions).where(vector_models.c.model == model)
    )
    if dimensions is not None and size != 4 * dimensions:
        raise InvalidInput.at(
            field, f"has {size // 4} dimensions, vectors of {model} have {dimensions} in this store"
        )


def _check_lengths(connection: Connection, names: Iterable[str], *, store: bool) -> None:
    size = func.length(import_rows.c.value)
    details = import_details.c
    rows = connection.execute(
        select(details.algorithm, func.min(size).label("least"), func.max(size).label("most"))
        .select_from(import_rows.join(import_details, import_rows.c.details == details.key))
        .where(details.algorithm.in_(names))
        .group_by(details.algorithm)
    ).all()
    known = select(vector_models).where(vector_models.c.model.in_(names))
    stored: Mapping[str, int] = {r.model: r.dimensions for r in connection.execute(known)}
    for model, least, most in sorted(rows):
        dimensions = stored.get(model, least // 4)
        for other in (least // 4, most // 4):
            if other != dimensions:
                raise InvalidInput.at(
                    "signals",
                    f"vectors of {model} have {dimensions} dimensions in this store, one "
                    f"of these has {other}; give another model another name or version",
                )
        if store and model not in stored:
            connection.execute(insert(vector_models).values(model=model, dimensions=dimensions))


def _check_versions(
    connection: Connection, bank_id: str, grown: Mapping[str, int], names: Iterable[str]
) -> None:
    live = Counter(json.loads(bank_row(connection, bank_id).signal_counts))
    live.update(grown)
    present = {name for name, count in live.items() if count > 0} | set(names)
    for name in names:
        model = get_algorithm(name)
        for other_name in sorted(present - {name}):
            other = get_algorithm(other_name)
            if other.kind is model.kind and other.base == model.base:
                raise InvalidInput.at(
                    "signals",
                    f"vectors of {name} and {other_name} do not compare, and a bank holds "
                    f"one version of a model; use another bank for {name}, or replace all vectors "
                    "in one import",
                )
