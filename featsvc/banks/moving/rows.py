"""Rows of a store's tables as both databases have them: read in order, checked, summed.

A row is a tuple of int, str, bytes and None; a Boolean is 0 or 1. Rows of the future, those of a
large change that is being written (`sql/schema.py`), are no part of any revision: they are not
read, and what such a change removes is live.

A checksum is BLAKE2b of 16 bytes over the rows in the order of their keys, each as MessagePack.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import msgspec
from sqlalchemy import BigInteger, Boolean, Column, Integer, LargeBinary, SmallInteger, Table
from sqlalchemy.dialects import postgresql
from sqlalchemy.types import String

from featsvc.banks.moving.endpoint import Endpoint
from featsvc.banks.sql.schema import head, metadata, pending_change
from featsvc.errors import DataCorrupt

Value = int | str | bytes | None
Row = tuple[Value, ...]

TABLES: tuple[Table, ...] = tuple(
    table for table in metadata.sorted_tables if table.name not in (head.name, pending_change.name)
)
"""Those that are copied row by row, each after the tables that it refers to."""
UNSUMMED = "store_id"
"""The column of `head` that a copy does not share with its source."""
CHUNK_ROWS = 1_000
_POSTGRESQL = postgresql.dialect()  # type: ignore[no-untyped-call]
_UNDECODED = "surrogateescape"


@dataclass(frozen=True, slots=True)
class CopiedHead:
    """The row of `head` that a copy has; `store_id` is the source's."""

    store_id: str
    revision: int
    commit_time: int
    change: int
    next_version: int

    @property
    def identity(self) -> tuple[str, int, int, int]:
        """What shows whether a store is still the same, at the same revision."""
        return self.store_id, self.revision, self.commit_time, self.change


class TableReader:
    """Reads a table of one of the two databases.

    `newest`: leaves out what is of the future, as seen from this head; None reads all rows.
    `for_postgresql`: whether its rows must fit into PostgreSQL, which refuses what SQLite holds.
    """

    def __init__(
        self,
        table: Table,
        endpoint: Endpoint,
        newest: CopiedHead | None = None,
        *,
        for_postgresql: bool = False,
    ) -> None:
        self.table = table
        self.keys = [column.name for column in table.primary_key]
        self.columns = [c for c in table.columns if (c.table.name, c.name) != ("head", UNSUMMED)]
        self._endpoint = endpoint
        self._newest = newest
        self._checks = [_ColumnCheck(column, for_postgresql) for column in self.columns]
        names = [column.name for column in self.columns]
        self._key_places = [names.index(name) for name in self.keys]

    def key(self, row: Row) -> Row:
        return tuple(row[place] for place in self._key_places)

    def describe(self, key: Row) -> str:
        """Return `entry_signals, version 7, ordinal 0`."""
        return ", ".join(
            [self.table.name, *(f"{n} {v!r}" for n, v in zip(self.keys, key, strict=True))]
        )

    def count(self) -> int:
        sql = f"SELECT count(*) FROM {self._from()}"
        with self._endpoint.errors():
            return int(self._endpoint.connection.exec_driver_sql(sql).scalar_one())

    def last_key(self) -> Row | None:
        """Return the largest key, None for no row."""
        keys = [self._ordered(name) for name in self.keys]
        order = ", ".join(f"{key} DESC" for key in keys)
        names = ", ".join(map(self._endpoint.quoted, self.keys))
        sql = f"SELECT {names} FROM {self._from()} ORDER BY {order} LIMIT 1"
        with self._endpoint.errors():
            row = self._endpoint.connection.exec_driver_sql(sql).first()
        return None if row is None else tuple(row)

    def chunks(self, after: Row | None = None) -> Iterator[list[Row]]:
        """Yield the rows with larger keys than `after`, in their order, up to CHUNK_ROWS at once.

        Raises DataCorrupt for a value that no store has, or that the target cannot hold.
        """
        read = self._from_sqlite if self._endpoint.is_sqlite else self._from_postgresql
        for chunk in read(after):
            if chunk:
                self._check(chunk)
                yield chunk

    def _from_sqlite(self, after: Row | None) -> Iterator[list[Row]]:
        sql, last = self._select(after), after
        with self._endpoint.errors():
            cursor = self._endpoint.sqlite.execute(sql, after or ())
        try:
            chunk: list[Row] = [()]
            while chunk:
                with self._endpoint.errors():
                    try:
                        chunk = cursor.fetchmany(CHUNK_ROWS)
                    except sqlite3.OperationalError as exc:
                        if "decode to UTF-8" in str(exc):
                            self._find_undecoded(last)
                        raise
                yield chunk
                last = self.key(chunk[-1]) if chunk else last
        finally:
            cursor.close()

    def _from_postgresql(self, after: Row | None) -> Iterator[list[Row]]:
        with self._endpoint.errors():
            cursor = self._endpoint.postgresql.cursor(f"copy_{self.table.name}", binary=True)
            cursor.execute(self._select(after).encode(), after or ())
        try:
            chunk: list[Row] = [()]
            while chunk:
                with self._endpoint.errors():
                    chunk = cursor.fetchmany(CHUNK_ROWS)
                yield chunk
        finally:
            cursor.close()

    def _select(self, after: Row | None) -> str:
        keys = ", ".join(self._ordered(name) for name in self.keys)
        mark = "?" if self._endpoint.is_sqlite else "%s"
        later = f"({keys}) > ({', '.join([mark] * len(self.keys))})"
        rows = self._from(*([later] if after else []))
        return f"SELECT {', '.join(map(self._read, self.columns))} FROM {rows} ORDER BY {keys}"

    def _from(self, *conditions: str) -> str:
        """Return the table, and which of its rows are read."""
        where = [*conditions]
        if self._newest and "added_change" in self.table.c:
            where.append(f"{self._endpoint.quoted('added_change')} <= {self._newest.change}")
        if self._newest and "version" in self.keys:
            where.append(f"{self._endpoint.quoted('version')} < {self._newest.next_version}")
        named = self._endpoint.quoted(self.table.name)
        return f"{named} WHERE {' AND '.join(where)}" if where else named

    def _read(self, column: Column[object]) -> str:
        name = self._endpoint.quoted(column.name)
        if self._newest and column.name == "removed_change":
            return f"CASE WHEN {name} <= {self._newest.change} THEN {name} END"
        if isinstance(column.type, Boolean) and not self._endpoint.is_sqlite:
            return f"{name}::int"
        return name

    def _ordered(self, name: str) -> str:
        """Return a key whose order is that of bytes, whatever the collation of its column."""
        quoted = self._endpoint.quoted(name)
        if isinstance(self.table.c[name].type, String) and not self._endpoint.is_sqlite:
            return f'{quoted} COLLATE "C"'
        return quoted

    def _check(self, chunk: Sequence[Row]) -> None:
        for check, values in zip(self._checks, zip(*chunk, strict=True), strict=True):
            if not check.passes(values):
                row, fault = next(
                    (row, check.fault(value))
                    for row, value in zip(chunk, values, strict=True)
                    if not check.passes((value,))
                )
                self._refuse(row, check.name, fault)

    def _find_undecoded(self, after: Row | None) -> None:
        driver = self._endpoint.sqlite
        driver.text_factory = lambda raw: raw.decode(errors=_UNDECODED)
        try:
            for row in driver.execute(self._select(after), after or ()):
                for column, value in zip(self.columns, row, strict=True):
                    if isinstance(value, str) and not value.isascii() and _is_undecoded(value):
                        self._refuse(row, column.name, "is a text that is not UTF-8")
        finally:
            driver.text_factory = str

    def _refuse(self, row: Row, column: str, fault: str) -> None:
        raise DataCorrupt(
            f"{self._endpoint.label}: {self.describe(self.key(row))}, column {column}: {fault}; "
            "correct that value, then run the same command again"
        )


class _ColumnCheck:
    """Whether the values of a column are those of its type."""

    def __init__(self, column: Column[object], for_postgresql: bool) -> None:
        self.name = column.name
        kind = column.type.dialect_impl(_POSTGRESQL)
        self._kind: type = int if isinstance(kind, Integer | Boolean) else str
        if isinstance(kind, LargeBinary):
            self._kind = bytes
        self._allowed = {self._kind, type(None)} if column.nullable else {self._kind}
        self._range: tuple[int, int] | None = None
        if isinstance(kind, Boolean):
            self._range = 0, 1
        elif for_postgresql and isinstance(kind, Integer) and not isinstance(kind, BigInteger):
            bits = 15 if isinstance(kind, SmallInteger) else 31
            self._range = -(2**bits), 2**bits - 1
        is_checked = for_postgresql and isinstance(kind, String)
        self._is_postgresql_text = is_checked
        self._max_chars = kind.length if is_checked and isinstance(kind, String) else None

    def passes(self, values: Sequence[Value]) -> bool:
        return {*map(type, values)} <= self._allowed and not self._fault(values)

    def fault(self, value: Value) -> str:
        if type(value) not in self._allowed:
            found = "NULL" if value is None else f"a value of type {type(value).__name__}"
            return f"holds {found}, not {self._kind.__name__}"
        return self._fault((value,))

    def _fault(self, values: Sequence[Value]) -> str:
        """Return why PostgreSQL cannot store a value of the right type; "" if it can."""
        if self._range is not None:
            numbers = [value for value in values if isinstance(value, int)]
            low, high = self._range
            if numbers and not low <= min(numbers) <= max(numbers) <= high:
                return f"holds a number outside of {low} to {high}"
        if self._is_postgresql_text:
            texts = [value for value in values if isinstance(value, str)]
            if "\0" in "".join(texts):
                return "holds the character U+0000, which PostgreSQL cannot store"
            if self._max_chars and texts and max(map(len, texts)) > self._max_chars:
                return f"is longer than PostgreSQL's {self._max_chars} characters"
        return ""


def _is_undecoded(text: str) -> bool:
    return any("\ud800" <= char <= "\udfff" for char in text)


class Checksum:
    """The rows that were added, as a number of them and a checksum."""

    def __init__(self) -> None:
        self.rows = 0
        self._digest = hashlib.blake2b(digest_size=16)
        self._encode = msgspec.msgpack.Encoder().encode

    def add(self, rows: Sequence[Row]) -> None:
        self.rows += len(rows)
        self._digest.update(b"".join(map(self._encode, rows)))

    def hex(self) -> str:
        return self._digest.hexdigest()
