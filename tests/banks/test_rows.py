"""Values that one of the databases cannot hold are refused by table, key and column."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import pytest

from featsvc.banks.moving.rows import Checksum, Row
from featsvc.banks.moving.store_copy import copy_store
from featsvc.banks.store import BankStore
from featsvc.errors import DataCorrupt
from tests.banks.databases import PostgresServer
from tests.banks.lists import hex_list, list_file
from tests.banks.moves import rows


class Odd(NamedTuple):
    """A value as SQL, where it is, what is said of it; whether a copy on SQLite may have it."""

    value: str
    table: str
    column: str
    said: str
    sqlite_holds: bool


VALUES = (
    Odd("'a' || char(0) || 'b'", "entries", "note", r"U\+0000", True),
    Odd("char(0)", "revisions", "reason", r"U\+0000", True),
    Odd("printf('%.*c', 17, 'x')", "entries", "opinion", "longer than PostgreSQL's 16", True),
    Odd(
        "printf('%.*c', 81, 'x')", "entry_signals", "algorithm", "longer than PostgreSQL's 80", True
    ),
    Odd("32768", "entry_signals", "quality", "outside of -32768 to 32767", True),
    Odd("2147483648", "entry_signals", "algorithm_version", "outside of -2147483648", True),
    Odd("2", "entries", "quarantined", "outside of 0 to 1", False),
    Odd("CAST(x'ff' AS TEXT)", "entries", "note", "not UTF-8", False),
    Odd("CAST(x'eda080' AS TEXT)", "banks", "description", "not UTF-8", False),
    Odd("x'00'", "entries", "labels", "of type bytes, not str", False),
    Odd("'text'", "entries", "digest", "of type str, not bytes", False),
    Odd("1.5", "entries", "create_time", "of type float, not int", False),
)


@pytest.mark.slow
@pytest.mark.parametrize("into", ["sqlite", "postgresql"])
@pytest.mark.parametrize("odd", VALUES, ids=lambda odd: f"{odd.column} {odd.value}")
def test_a_value_that_does_not_fit_is_named(
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    into: str,
    odd: Odd,
) -> None:
    value, table, column, said, sqlite_holds = odd
    monkeypatch.setattr("featsvc.banks.moving.rows.CHUNK_ROWS", 20)
    path = tmp_path / "banks.db"
    url, target = f"sqlite:///{path}", f"sqlite:///{tmp_path / 'copy.db'}"
    if into == "postgresql":
        server: PostgresServer = request.getfixturevalue("postgres")
        target = server.create_database()
    with closing(BankStore(url)) as store:
        store.create_bank("b")
        store.import_entries("b", list_file(hex_list(range(50))))
    key = {"entries": "version", "entry_signals": "version", "banks": "key"}.get(table, "revision")
    with closing(sqlite3.connect(path)) as raw, raw:
        (row,) = raw.execute(f"SELECT max({key}) FROM {table}").fetchone()
        raw.execute(f"UPDATE {table} SET {column} = {value} WHERE {key} = {row}")
    if sqlite_holds and into == "sqlite":
        assert copy_store(url, target).differences == []
        assert rows(target) == rows(url)
        return
    with pytest.raises(DataCorrupt, match=rf"^--from: {table}, {key} {row}\b.* {column}: .*{said}"):
        copy_store(url, target)
    # Once it is corrected, the copy goes on.
    good = {"quality": "NULL", "digest": "x'00'", "create_time": "5"}.get(column, "1")
    with closing(sqlite3.connect(path)) as raw, raw:
        raw.execute(f"UPDATE {table} SET {column} = {good} WHERE {key} = {row}")
    done = copy_store(url, target)
    assert done.resumed
    assert done.differences == []
    assert rows(target) == rows(url)


def test_a_checksum_is_of_rows_in_order_however_they_are_cut() -> None:
    held: list[Row] = [(1, "a", b"\x00", None), (2, "é", b"", 0), (2**63 - 1, "", b"a", -1)]

    def checksum(*chunks: list[Row]) -> str:
        sums = Checksum()
        for chunk in chunks:
            sums.add(chunk)
        return sums.hex()

    whole = checksum([*held])
    assert checksum([*held[:1]], [], [*held[1:]]) == whole
    others = [held[::-1], held[:2], [*held, held[0]], [(1, "a\x00", b"", None), *held[1:]]]
    others += [[(1, b"a", "\x00", None), *held[1:]], [(1, "a", b"\x00", 0), *held[1:]]]
    assert len({whole, *(checksum([*other]) for other in others)}) == 1 + len(others)
