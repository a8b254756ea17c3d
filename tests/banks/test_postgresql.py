"""Sessions of PostgreSQL: whatever others set, hold or forbid, answers are right or refused."""

import os
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, nullcontext
from typing import Any

import psycopg
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from featsvc.banks.sql import postgresql
from featsvc.banks.store import BankStore
from featsvc.errors import Unavailable
from tests.banks.databases import PostgresServer
from tests.banks.lists import hex_list, list_file, live
from tests.banks.record_store import read, write
from tests.patience import until

EXAMPLES = int(os.environ.get("TEST_EXAMPLES", "12"))
ODD = {
    "standard_conforming_strings": "off",
    "backslash_quote": "on",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "DateStyle": "German, DMY",
    "TimeZone": "Pacific/Apia",
    "IntervalStyle": "sql_standard",
    "lc_numeric": "C",
    "extra_float_digits": "-15",
    "transform_null_equals": "on",
    "array_nulls": "off",
    "quote_all_identifiers": "on",
    "default_transaction_isolation": "serializable",
    "default_transaction_read_only": "on",
    "default_transaction_deferrable": "on",
    "synchronous_commit": "off",
    "search_path": "elsewhere",
    "lock_timeout": "1",
    "idle_in_transaction_session_timeout": "1",
    "statement_timeout": "1000",
    "row_security": "off",
    "enable_seqscan": "off",
    "enable_indexscan": "off",
    "plan_cache_mode": "force_generic_plan",
    "work_mem": "64",
    "temp_buffers": "100",
    "client_min_messages": "debug5",
}
TRANSACTIONS = 8
"""Transactions of an import."""
PLACES = ("database", "role", "url")


def plain(url: str) -> str:
    """Return the URL as the driver takes it."""
    return url.replace("postgresql+psycopg://", "postgresql://", 1)


def run(url: str, *statements: str) -> None:
    """Execute statements as an administrator, whatever is set for the database."""
    options = "-cdefault_transaction_read_only=off -cstatement_timeout=0 -clock_timeout=0"
    with psycopg.connect(plain(url), autocommit=True, options=options) as connection:
        for statement in statements:
            connection.execute(statement.encode())


def as_role(url: str, role: str) -> str:
    return sa.make_url(url).set(username=role).render_as_string(hide_password=False)


@contextmanager
def stored(url: str) -> Iterator[BankStore]:
    with closing(BankStore(url)) as store:
        yield store


@contextmanager
def role(url: str, *statements: str) -> Iterator[str]:
    """Create a role of a test; `{role}` in the statements is its name. It is dropped at the end."""
    name = f"r{uuid.uuid4().hex}"
    database = sa.make_url(url).database
    run(url, f"CREATE ROLE {name} LOGIN")
    try:
        run(url, *(statement.format(role=name, database=database) for statement in statements))
        yield name
    finally:
        run(url, f"DROP OWNED BY {name} CASCADE", f"DROP ROLE {name}")


def answers(store: BankStore) -> Any:
    """Return all that is read from a store, but for times, which differ."""
    found = read(store)
    found["entries"] = [[v for v in entry if "+00:00" not in str(v)] for entry in found["entries"]]
    found["log"] = [[v for v in line if "+00:00" not in str(v)] for line in found["log"]]
    return found


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """What SQLite answers to the same calls."""
    with stored(f"sqlite:///{tmp_path_factory.mktemp('banks') / 'banks.db'}") as store:
        write(store)
        return answers(store)


@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    odd=st.dictionaries(st.sampled_from(sorted(ODD)), st.sampled_from(PLACES), max_size=8),
    early=st.booleans(),
)
@example(odd=dict.fromkeys(ODD, "database"), early=False)
@example(odd=dict.fromkeys(ODD, "role"), early=True)
@example(odd=dict.fromkeys(ODD, "url"), early=False)
def test_what_others_set_changes_no_answer(
    postgres: PostgresServer, expected: Any, odd: dict[str, str], *, early: bool
) -> None:
    """Set before the store is made (`early`), or while it has connections."""
    url = postgres.create_database()
    database = sa.make_url(url).database
    run(url, "CREATE SCHEMA elsewhere")
    with role(url, "GRANT ALL ON SCHEMA public, elsewhere TO {role}") as name:
        set_by = {"database": f"DATABASE {database}", "role": f"ROLE {name}"}
        alter = [
            f"ALTER {set_by[place]} SET {setting} TO '{ODD[setting]}'"
            for setting, place in odd.items()
            if place != "url"
        ]
        in_url = " ".join(
            f"-c {setting}={ODD[setting].replace(' ', '')}"
            for setting, place in odd.items()
            # Whoever names a schema in the URL gets it.
            if place == "url" and (early or setting != "search_path")
        )
        used = sa.make_url(as_role(url, name))
        if in_url:
            used = used.update_query_dict({"options": in_url})
        with stored(used.render_as_string(hide_password=False)) as store:
            if not early:
                store.head()
            run(url, *alter)
            write(store)
            found = answers(store)
    postgres.drop_database(url)
    assert found == expected


def test_a_search_path_that_changed_does_not_begin_a_second_store(url: str) -> None:
    with stored(url) as store:
        write(store)
        before = live(store)
    run(url, "CREATE SCHEMA elsewhere")
    with role(url, "GRANT ALL ON SCHEMA public, elsewhere TO {role}") as name:
        run(url, f"ALTER ROLE {name} SET search_path TO elsewhere")
        other = as_role(url, name)
        with stored(other) as store, pytest.raises(Unavailable, match=r"elsewhere.*one in public"):
            store.head()
        named = sa.make_url(other).update_query_dict({"options": "-csearch_path=elsewhere"})
        with stored(named.render_as_string(hide_password=False)) as store:
            assert store.head().revision == 0
    with stored(url) as store:
        assert live(store) == before


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_other_encodings_are_refused(postgres: PostgresServer, url: str, encoding: str) -> None:
    name = f"e{sa.make_url(url).database}"
    run(
        url,
        f"CREATE DATABASE {name} ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C' "
        "TEMPLATE template0",
    )
    other = sa.make_url(url).set(database=name).render_as_string(hide_password=False)
    with stored(other) as store:
        for call in (store.head, lambda: store.create_bank("b")):
            with pytest.raises(Unavailable, match=f"{encoding}.*createdb --encoding=UTF8"):
                call()
    with psycopg.connect(plain(other)) as connection:
        tables = connection.execute("SELECT count(*) FROM pg_tables WHERE tablename = 'head'")
        assert tables.fetchone() == (0,)
    postgres.drop_database(other)


def refusals(store: BankStore) -> list[str]:
    """Return what a read, a change, an import and the check of doctor answer."""
    found = []
    for call in (
        store.head,
        lambda: store.create_bank("c"),
        lambda: store.import_entries("b", list_file(hex_list([9]))),
        store.check_writable,
    ):
        try:
            call()
            found.append("")
        except Unavailable as exc:
            found.append(str(exc))
    return found


def test_a_role_without_rights_is_told_which(url: str) -> None:
    with (
        role(url, "GRANT USAGE ON SCHEMA public TO {role}") as name,
        stored(as_role(url, name)) as store,
    ):
        first, *others = refusals(store)
        assert "permission denied for schema public; grant that" in first
        assert set(others) == {first}
    with stored(url) as store:
        store.create_bank("b")
    with (
        role(
            url,
            "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}",
            "GRANT TEMP ON DATABASE {database} TO {role}",
        ) as name,
        stored(as_role(url, name)) as store,
    ):
        read_, *writes = refusals(store)
        assert read_ == ""
        assert all("permission denied for table head; grant that" in text for text in writes)
    run(url, f"REVOKE TEMP ON DATABASE {sa.make_url(url).database} FROM public")
    with (
        role(
            url,
            "GRANT ALL ON ALL TABLES IN SCHEMA public TO {role}",
            "GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {role}",
        ) as name,
        stored(as_role(url, name)) as store,
    ):
        read_, create, imported, checked = refusals(store)
        assert (read_, create) == ("", "")
        assert "permission denied to create temporary tables in database" in imported
        assert checked == imported


def test_a_read_only_server_is_named(url: str) -> None:
    """As a standby's transactions are."""
    with stored(url) as store:
        store.create_bank("b")
        store.head()
        sa.event.listen(
            store._database._engine,
            "begin",
            lambda connection: connection.exec_driver_sql("SET TRANSACTION READ ONLY"),
        )
        assert [bank.id for bank in store.list_banks().banks] == ["b"]
        with pytest.raises(Unavailable, match=r"reads only.*primary"):
            store.create_bank("c")


def test_a_database_that_is_made_again_is_served_once_it_is_restored(
    postgres: PostgresServer, url: str, tmp_path: object
) -> None:
    name = sa.make_url(url).database
    admin = sa.make_url(url).set(database="postgres").render_as_string(hide_password=False)
    with stored(url) as store:
        write(store)
        before = answers(store)
        kept = f"k{name}"
        terminate = (
            f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"
        )
        run(admin, terminate, f"CREATE DATABASE {kept} TEMPLATE {name}")
        assert answers(store) == before
        run(admin, f"DROP DATABASE {name} WITH (FORCE)")
        for _ in range(2):
            with pytest.raises(Unavailable, match=r"does not exist|terminated|terminating|closed"):
                store.head()
        run(admin, f"CREATE DATABASE {name}")
        for call in (store.head, lambda: store.create_bank("x")):
            with pytest.raises(Unavailable, match="tables are gone"):
                call()
        run(admin, f"DROP DATABASE {name} WITH (FORCE)", f"CREATE DATABASE {name} TEMPLATE {kept}")
        until(lambda: not refused(store.head), "it did not serve the restored database")
        assert answers(store) == before
    postgres.drop_database(
        sa.make_url(url).set(database=kept).render_as_string(hide_password=False)
    )


def refused(call: Callable[[], object]) -> bool:
    try:
        call()
    except Unavailable:
        return True
    return False


@pytest.mark.parametrize("lost_before", range(TRANSACTIONS + 1))
def test_a_transaction_in_another_session_is_refused(url: str, lost_before: int) -> None:
    """As behind a pooler in transaction mode, at any transaction of an import."""
    with stored(url) as store:
        store.create_bank("b")
        engine = store._database._engine
        begun = 0

        def lose(connection: sa.Connection) -> None:
            nonlocal begun
            if begun == lost_before:
                driver = connection.connection.driver_connection
                assert driver is not None
                driver.execute("RESET featsvc.session")
            begun += 1

        sa.event.listen(engine, "begin", lose)
        expectation = (
            pytest.raises(Unavailable, match="pooler in transaction mode")
            if lost_before < TRANSACTIONS
            else nullcontext()
        )
        with expectation:
            store.import_entries("b", list_file(hex_list(range(5))))
        sa.event.remove(engine, "begin", lose)
        assert begun > lost_before or lost_before == TRANSACTIONS
        entries = store.get_bank("b").entry_count
        assert entries == len(live(store)) == (5 if store.head().revision == 2 else 0)
        assert entries or lost_before < TRANSACTIONS
        # Connections that are made anew are in order.
        assert store.import_entries("b", list_file(hex_list(range(6)))).summary.rows == 6


def test_what_is_set_is_what_postgresql_knows(url: str) -> None:
    with stored(url) as store, store._database.read() as connection:
        for name, value in postgresql._PINNED.items():
            assert connection.scalar(sa.text(f"SHOW {name}")).lower() == value.lower()
