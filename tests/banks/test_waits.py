"""Waits on PostgreSQL: who holds a lock, or pauses, keeps nobody waiting for ever."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa

from featsvc.banks.results import ImportOptions
from featsvc.banks.sql import postgresql
from featsvc.banks.sql.database import Database
from featsvc.errors import Unavailable
from tests.banks.lists import hex_list, ids, list_file
from tests.banks.record_store import write
from tests.banks.test_postgresql import answers, plain, stored
from tests.patience import until


def test_who_holds_the_head_keeps_writers_waiting_only(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An open psql: reads go on; writers fail, clearly, once they have waited long enough."""
    monkeypatch.setattr(postgresql, "WRITE", postgresql.WRITE._replace(lock=200))
    with stored(url) as store:
        write(store)
        before = answers(store)
        revision = store.head().revision
        with psycopg.connect(plain(url)) as psql:
            psql.execute("SELECT * FROM head FOR UPDATE")
            calls: list[Callable[[], object]] = [
                lambda: store.create_bank("c"),
                lambda: store.withdraw_entries("a", ids(store)[:1]),
                lambda: store.import_entries("a", list_file(hex_list([77]))),
                lambda: store.rollback_bank("a", 3),
                lambda: store.delete_bank("b", force=True),
                store.check_writable,
            ]
            with ThreadPoolExecutor(len(calls)) as threads:
                waiting = [threads.submit(call) for call in calls]
                assert answers(store) == before
                for writer in waiting:
                    with pytest.raises(Unavailable, match=r"holds a lock.*pg_stat_activity"):
                        writer.result()
            options = ImportOptions(dry_run=True)
            assert store.import_entries("a", list_file(hex_list([77])), options).summary.new_entries
            assert answers(store) == before
        assert store.head().revision == revision
        assert store.create_bank("c")


@contextmanager
def staging(database: Database) -> Iterator[sa.Connection]:
    with database.session() as connection, database.read_on(connection):
        yield connection


WORKS: dict[str, Callable[[Database], AbstractContextManager[Any]]] = {
    "READ": Database.read,
    "STAGE": staging,
    "WRITE": Database.write,
}


@pytest.mark.parametrize("limited", WORKS)
@pytest.mark.parametrize("work", WORKS)
def test_a_kind_of_work_has_its_own_limits(
    url: str, monkeypatch: pytest.MonkeyPatch, work: str, limited: str
) -> None:
    """Others hold a table, or a statement takes long: only the work that is limited ends."""
    limits = getattr(postgresql, limited)
    with stored(url) as store:
        store.create_bank("b")

        def execute(statement: str) -> None:
            with WORKS[work](store._database) as connection:
                connection.execute(sa.text(statement))

        monkeypatch.setattr(postgresql, limited, limits._replace(statement=200))
        ends = pytest.raises(Unavailable, match="took longer") if work == limited else nullcontext()
        with ends:
            execute("SELECT pg_sleep(0.5)")
        monkeypatch.setattr(postgresql, limited, limits._replace(lock=200))
        with psycopg.connect(plain(url)) as psql, ThreadPoolExecutor(1) as threads:
            psql.execute("LOCK TABLE match_counts IN ACCESS EXCLUSIVE MODE")
            waiting = threads.submit(execute, "SELECT count(*) FROM match_counts")
            if work == limited:
                with pytest.raises(Unavailable, match=r"holds a lock"):
                    waiting.result()
            else:
                until(lambda: is_anyone_waiting(url), "it does not wait")
                psql.rollback()
                waiting.result()


def is_anyone_waiting(url: str) -> bool:
    with psycopg.connect(plain(url)) as connection:
        waiting = connection.execute("SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)")
        return waiting.fetchone() == (True,)


def test_the_turn_of_another_large_change_has_a_limit(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "TURN", postgresql.TURN._replace(lock=200))
    with stored(url) as store, stored(url) as other:
        store.create_bank("b")
        other.head()

        def take_turn() -> None:
            with other._database.session() as connection, other._database.turn(connection):
                pytest.fail("two have the turn")

        with store._database.session() as connection, store._database.turn(connection):
            with pytest.raises(Unavailable, match="holds a lock"):
                take_turn()
            assert other.create_bank("c")


def test_a_paused_writer_loses_the_lock_not_the_others(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgresql, "WRITE", postgresql.WRITE._replace(idle=200))
    with stored(url) as store, stored(url) as other:
        store.create_bank("b")

        def pause() -> None:
            with store._database.write() as connection:
                connection.execute(sa.text("UPDATE banks SET display_name = 'lost'"))
                other.create_bank("c")  # waits until the server has ended the paused session
                connection.execute(sa.text("UPDATE head SET revision = 99"))

        with pytest.raises(Unavailable):
            pause()
        banks = [(bank.id, bank.display_name) for bank in store.list_banks().banks]
        assert banks == [("b", ""), ("c", "")]
        assert store.head().revision == 2
