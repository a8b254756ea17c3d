"""Joins by look-up: a step in an index for each row, whatever the database believes of a table.

PostgreSQL chooses between an index and a whole table by statistics. A store that was never analysed
has none, and those of another time know nothing of a new bank: a join of its 20,000 entries then
reads the whole store, or the bank once for each entry. A sub-select with an OFFSET is planned for
one row of the outer side, where the index always costs less. SQLite plans by the fixed figures of
its migrations.
"""

from typing import Any

from sqlalchemy import (
    ColumnElement,
    Connection,
    FromClause,
    and_,
    literal_column,
    select,
    true,
)
from sqlalchemy.sql.base import ReadOnlyColumnCollection

Columns = ReadOnlyColumnCollection[str, ColumnElement[Any]]


def look_up(
    connection: Connection,
    outer: FromClause,
    table: FromClause,
    *conditions: ColumnElement[bool],
    optional: bool = False,
) -> tuple[FromClause, Columns]:
    """Join `table` to `outer` by conditions that an index of the table serves.

    Returns the join and the columns of the table in it. With `optional` an outer row without any
    stays, beside NULLs.
    """
    if connection.dialect.name == "sqlite":
        return outer.join(table, and_(*conditions), isouter=optional), table.c
    found = (
        select(table)
        .where(*conditions)
        .offset(literal_column("0"))
        .correlate_except(table)
        .lateral(f"found_{table.description}")
    )
    return outer.join(found, true(), isouter=optional), found.c
