"""A database that others change under a running process: upgraded, emptied, half restored."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from featsvc.banks.sql import migrations, sqlite
from featsvc.banks.sql.database import Database
from featsvc.banks.store import BankStore
from featsvc.errors import DataCorrupt, Unavailable
from tests.banks.lists import hex_list, list_file, live
from tests.banks.test_migrations import config_of, engine_of, insert, insert_bank

NEWER = "9999"


@pytest.fixture
def engine(store_url: str) -> Iterator[sa.Engine]:
    """Another process's way to the database of `store`."""
    engine = engine_of(store_url)
    yield engine
    engine.dispose()


def fill(store: BankStore) -> None:
    store.create_bank("b")
    store.import_entries("b", list_file(hex_list(range(1, 6))))


def stamp(engine: sa.Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(f"UPDATE alembic_version SET version_num = '{revision}'"))


def empty(engine: sa.Engine) -> None:
    """Drop everything, as one does before a backup is restored into the same database."""
    if engine.dialect.name == "sqlite":
        path = Path(str(engine.url.database))
        path.rename(path.with_name("away.db"))
        path.touch()
        return
    with engine.begin() as connection:
        connection.execute(sa.text("DROP SCHEMA public CASCADE"))
        connection.execute(sa.text("CREATE SCHEMA public"))


def tables(engine: sa.Engine) -> list[str]:
    engine.dispose()
    return sa.inspect(engine).get_table_names()


def test_a_schema_that_was_upgraded_is_neither_read_nor_written(
    store: BankStore, engine: sa.Engine
) -> None:
    """A worker of the old version, while the new one has started already."""
    fill(store)
    before = store.head(), live(store)
    stamp(engine, NEWER)
    for call in (
        store.head,
        lambda: live(store),
        lambda: store.create_bank("c"),
        lambda: store.import_entries("b", list_file(hex_list([9]))),
        lambda: store.withdraw_entries("b", (), ["1"]),
    ):
        with pytest.raises(Unavailable, match=f"{NEWER}.*{migrations.HEAD}.*stop this one"):
            call()
    stamp(engine, migrations.HEAD)
    assert (store.head(), live(store)) == before


def test_a_start_with_a_newer_schema_says_what_to_do(store: BankStore, engine: sa.Engine) -> None:
    fill(store)
    stamp(engine, NEWER)
    again = BankStore(engine.url.render_as_string(hide_password=False))
    with closing(again), pytest.raises(DataCorrupt, match=r"9999.*upgrade featsvc, or restore"):
        again.head()


def test_an_emptied_database_is_not_begun_anew(store: BankStore, engine: sa.Engine) -> None:
    """Its tables would be taken for a store without banks, and nothing would match."""
    fill(store)
    empty(engine)
    with pytest.raises(Unavailable):
        store.head()
    for _ in range(2):
        with pytest.raises(Unavailable, match="tables are gone"):
            store.head()
        with pytest.raises(Unavailable, match="tables are gone"):
            store.create_bank("c")
    if engine.dialect.name == "sqlite":
        assert Path(str(engine.url.database)).stat().st_size == 0
    assert tables(engine) == []


def test_a_backup_of_an_older_schema_is_upgraded(store: BankStore, engine: sa.Engine) -> None:
    fill(store)
    empty(engine)
    with engine.begin() as connection:
        command.upgrade(config_of(connection), "0003")
        connection.execute(sa.text("UPDATE head SET revision = 1, commit_time = 4"))
        insert(connection, "revisions", 1, 4, "old", "create", "", "", "", "", "", 0, 0, 0, 1)
        insert_bank(connection, "old", 1, 1, 1, 1, 0, "{}", None)
    with pytest.raises(Unavailable, match=r"older schema 0003|was replaced"):
        store.head()
    assert store.head().revision == 1
    assert [bank.id for bank in store.list_banks().banks] == ["old"]
    with engine.connect() as connection:
        assert migrations.current(connection) == migrations.HEAD


@settings(
    max_examples=40,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(cut=st.integers(0, 200) | st.integers(0, 2**17))
@example(cut=0)
@example(cut=99)
@example(cut=4096)
@example(cut=2**17)
def test_a_half_copied_file_is_never_served(tmp_path: Path, cut: int) -> None:
    """A backup that is copied in place of the file, and not moved."""
    shutil.rmtree(tmp_path)
    tmp_path.mkdir()
    path, backup = tmp_path / "banks.db", tmp_path / "backup.db"
    with closing(BankStore(f"sqlite:///{path}")) as store:
        fill(store)
        expected = live(store)
        with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(backup)) as target:
            source.backup(target)
        content = backup.read_bytes()
        (tmp_path / "old").mkdir()
        for file in tmp_path.glob("banks.db*"):
            file.rename(tmp_path / "old" / file.name)
        cut = min(cut, len(content) - 1)
        with path.open("wb") as copy:
            copy.write(content[:cut])
            copy.flush()
            with pytest.raises((Unavailable, DataCorrupt)):
                store.head()
            with pytest.raises((Unavailable, DataCorrupt)):
                store.create_bank("c")
            assert path.read_bytes() == content[:cut]
            copy.write(content[cut:])
        with suppress(Unavailable, DataCorrupt):  # once for the connection to the half file
            store.head()
        assert live(store) == expected


def test_a_change_that_is_committed_waits_for_no_lock_again(tmp_path: Path) -> None:
    database, other = (Database(f"sqlite:///{tmp_path / 'banks.db'}") for _ in range(2))
    with database.session() as connection:
        with database.exclusive(connection):
            pass
        # As at the end of temporary tables. Waiting, it would fail: the lock is held.
        with other.write(), connection.begin():
            connection.execute(sa.text("CREATE TEMPORARY TABLE t (x)"))
    database.close()
    other.close()


def test_the_log_of_a_long_transaction_is_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sqlite, "_KEPT_WAL_BYTES", 2**19)
    store = BankStore(f"sqlite:///{tmp_path / 'banks.db'}")
    store.create_bank("b")
    store.import_entries("b", list_file(hex_list(range(20_000)), chunk_bytes=1 << 16))
    wal = tmp_path / "banks.db-wal"
    assert wal.stat().st_size > 2**20
    # The next writers find that the whole log is in the file, and begin it anew.
    for name in ("c", "d"):
        store.create_bank(name)
    assert wal.stat().st_size <= 2**19
    store.close()
