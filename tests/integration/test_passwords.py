"""Passwords of any characters, in the ways that docs/operations.md names, with real servers."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from urllib.parse import quote

import psycopg
import pytest
import redis
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from psycopg import sql
from sqlalchemy import URL, make_url

from featsvc.accounts import load_definitions
from featsvc.banks.store import BankStore
from featsvc.errors import ConfigInvalid, Unavailable
from tests.accounts.stores import open_store, running_valkey
from tests.banks.databases import PostgresServer, postgres_server
from tests.integration.pages import blocks, shell

NASTY = "@:/?#[]%&=+;$ '\"\\`{}<>|~^*!,()"
PASSWORDS = st.text(
    st.characters(exclude_categories=["Cc", "Cs"]), min_size=1, max_size=40
) | st.text(NASTY, min_size=1)
many = settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def guarded_url(postgres: PostgresServer) -> str:
    """A database whose owner `nasty` needs a password; the URL has none and names the superuser."""
    url = postgres.create_database()
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE ROLE nasty LOGIN")
        name = sql.Identifier(connection.info.dbname)
        connection.execute(sql.SQL("ALTER DATABASE {} OWNER TO nasty").format(name))
        row = connection.execute("SHOW hba_file").fetchone()
        assert row is not None
        rules = Path(row[0])
        rules.write_text(
            "local all nasty scram-sha-256\nhost all nasty all scram-sha-256\n" + rules.read_text()
        )
        connection.execute("SELECT pg_reload_conf()")
    return url


@many
@given(password=PASSWORDS)
@example(password=NASTY)
def test_any_password_of_postgresql(guarded_url: str, password: str) -> None:
    with psycopg.connect(guarded_url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute(sql.SQL("ALTER ROLE nasty PASSWORD {}").format(sql.Literal(password)))
    given = make_url(guarded_url)
    plain = URL.create(given.drivername, "nasty", database=given.database, query=given.query)
    bare = plain.render_as_string()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGPASSWORD", password)
        with closing(BankStore(bare)) as store:
            assert store.head().revision == 0
        patch.setenv("PGPASSWORD", password + "x")
        with closing(BankStore(bare)) as store, pytest.raises(Unavailable, match="password"):
            store.head()
        encoded = bare.replace("//nasty@", f"//nasty:{quote(password, safe='')}@", 1)
        assert encoded != bare
        with closing(BankStore(encoded)) as store:
            assert store.head().revision == 0


@pytest.fixture(scope="module")
def valkey() -> Iterator[Path]:
    """The socket of a Valkey."""
    with TemporaryDirectory(prefix="featsvc-test-") as folder, running_valkey(Path(folder)):
        yield Path(folder, "s")


async def ping(url: str) -> None:
    async with open_store(url, load_definitions()) as store:
        await store.ping()


@many
@given(password=PASSWORDS)
@example(password=NASTY)
def test_any_password_of_redis_percent_encoded(valkey: Path, password: str) -> None:
    with redis.Redis(unix_socket_path=str(valkey)) as client:
        client.config_set("requirepass", password)
        try:
            asyncio.run(ping(f"unix://:{quote(password, safe='')}@{valkey}"))
            with pytest.raises((Unavailable, ConfigInvalid)):
                asyncio.run(ping(f"unix://:{quote(password, safe='')}x@{valkey}"))
        finally:
            client.config_set("requirepass", "")


@pytest.mark.parametrize("password", [NASTY, "ü€ x", "plain"])
def test_the_command_of_the_page_encodes_it(tmp_path: Path, password: str) -> None:
    (command,) = [text for text in blocks("operations.md") if "getpass" in text]
    with shell(command, tmp_path, {"PYTHONWARNINGS": "ignore"}) as process:
        printed, _ = process.communicate(password + "\n")
    assert printed.splitlines()[-1].removeprefix("Password: ") == quote(password, safe="")
