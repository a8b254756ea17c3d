"""Directions of a copy, and all that a store holds: the oracle of what a copy must be.

Rows are read by SQLAlchemy, table by table, and revisions through the store's own methods; neither
goes through the code that copies.
"""

import contextlib
import dataclasses
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from featsvc.banks.results import EntryFilter
from featsvc.banks.sql import schema
from featsvc.banks.sql.view import live_at
from featsvc.banks.store import BankStore
from featsvc.errors import InvalidInput, NotFound
from tests.banks.databases import DATABASES

DIRECTIONS = tuple(itertools.product(DATABASES, DATABASES))
CROSSINGS = DIRECTIONS[1:3]
"""Each database once as source, once as target."""
_TIMES = {"commit_time", "create_time", "update_time", "time", "answer"}


@dataclass(frozen=True)
class Ends:
    """Create empty databases, of the kinds that a store is copied from and into; return URLs."""

    source: Callable[[], str]
    target: Callable[[], str]


def rows(url: str, *, times: bool = True) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables without the store's identity, or also without times and answers."""
    engine = sa.create_engine(url)
    held = {}
    with engine.connect() as connection:
        for table in schema.metadata.sorted_tables:
            columns = [
                column
                for column in table.columns
                if column.name != "store_id" and (times or column.name not in _TIMES)
            ]
            found = connection.execute(sa.select(*columns)).all()
            held[table.name] = sorted((tuple(row) for row in found), key=repr)
    engine.dispose()
    return held


def tables(url: str) -> set[str]:
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        names = {*sa.inspect(connection).get_table_names()}
    engine.dispose()
    return names


def structure(url: str) -> dict[str, object]:
    """Indexes, keys and references of all tables, as the database describes them."""
    engine = sa.create_engine(url)
    found: dict[str, object] = {}
    with engine.connect() as connection:
        inspector = sa.inspect(connection)
        for name in inspector.get_table_names():
            found[name] = (
                repr(inspector.get_columns(name)),
                inspector.get_pk_constraint(name),
                inspector.get_foreign_keys(name),
            )
        query = (
            "SELECT name, sql FROM sqlite_master ORDER BY name"
            if engine.dialect.name == "sqlite"
            else "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1"
        )
        found[""] = [tuple(row) for row in connection.exec_driver_sql(query)]
    engine.dispose()
    return found


def seen(store: BankStore, *, times: bool = True) -> dict[object, Any]:
    """What the store says of every bank at every revision, its log, diffs, decisions and counts."""
    newest = store.head().revision
    held: dict[object, Any] = {
        "head": dataclasses.replace(store.head(), store_id=""),
        "banks": store.list_banks(page_size=1000).banks,
        "log": store.list_revisions(page_size=1000).revisions,
    }
    with store.view() as view:
        for revision in range(newest + 1):
            entries = view.entries_where(live_at(revision))
            held[f"live at {revision}"] = sorted(entries, key=lambda e: (e.bank_id, e.id))
    for bank in held["banks"]:
        held[bank.id, "log"] = store.list_revisions(bank.id, page_size=1000).revisions
        held[bank.id, "decided"] = store.list_entries(
            bank.id, EntryFilter(decided=True), page_size=1000
        ).entries
        held[bank.id, "matches"] = store.match_counts(bank.id, days=7, max_entries=1000)
        pairs = {*itertools.pairwise(range(newest + 1)), (0, newest), (newest // 2, newest)}
        for older, newer in sorted(pairs):
            with contextlib.suppress(NotFound, InvalidInput):
                held[bank.id, older, newer] = store.diff_revisions(
                    bank.id, older, newer, page_size=1000
                )
    return held if times else {key: _timeless(value) for key, value in held.items()}


def _timeless(value: Any) -> Any:
    if isinstance(value, datetime):
        return None
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _timeless(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return [_timeless(each) for each in value] if isinstance(value, list | tuple) else value
