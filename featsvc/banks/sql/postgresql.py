"""Sessions of PostgreSQL: what is set in them, how long they wait, whether they are sessions.

Settings that statements rely on are pinned, whatever the server, the database, the role or the URL
sets. Each transaction limits its waits by the kind of its work, and checks that it is in the
session that its connection made: behind a pooler in transaction mode it may be in any, with the
temporary tables, locks and settings of others.
"""

import uuid
from typing import NamedTuple

from sqlalchemy import Connection, Engine, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.pool import ConnectionPoolEntry

from featsvc.banks.sql.failures import POOLER, unavailable


class Limits(NamedTuple):
    """How long a transaction of a kind of work may wait, in ms.

    `lock`: for a lock. `statement`: for the end of a statement. `idle`: for its client between two
    statements; then the server ends the session, which frees its locks.
    """

    lock: int
    statement: int
    idle: int


READ = Limits(lock=5_000, statement=300_000, idle=600_000)
"""Reads wait for no writer, only for changes of the schema."""
STAGE = Limits(lock=30_000, statement=3_600_000, idle=3_600_000)
"""Rows are staged as slowly as their sender sends them. Nobody waits for that."""
WRITE = Limits(lock=30_000, statement=60_000, idle=10_000)
"""Every other writer waits for this one, which must not be paused for long."""
MIGRATE = Limits(lock=10_000, statement=0, idle=60_000)
"""A change of a table waits for its readers, and new readers wait behind it."""
TURN = Limits(lock=3_600_000, statement=0, idle=60_000)
"""A large change waits for the end of another one."""
_PROBES = 3
# With `standard_conforming_strings` off, for example, the escapes of a value become other bytes.
_PINNED = {
    "standard_conforming_strings": "on",
    "client_encoding": "UTF8",
    "bytea_output": "hex",
    "TimeZone": "UTC",
    "DateStyle": "ISO, YMD",
    "transform_null_equals": "off",
    "default_transaction_isolation": "read committed",
    "default_transaction_read_only": "off",
    "default_transaction_deferrable": "off",
    # Compiling a statement takes longer than most statements.
    "jit": "off",
}
_SET = (
    "SELECT set_config(name, value, false)"
    " FROM unnest(%s::text[], %s::text[]) AS pinned (name, value)"
)
# A commit that is acknowledged survives a crash of the server. Servers may limit whole transactions
# from version 17 on, but an import takes as long as its sender does.
_SET_OTHERS = (
    "SELECT set_config(name, CASE name WHEN 'synchronous_commit' THEN 'on' ELSE '0' END, false)"
    " FROM pg_settings WHERE name = 'transaction_timeout'"
    " OR (name = 'synchronous_commit' AND setting = 'off')"
)
_LIMITS = ("lock_timeout", "statement_timeout", "idle_in_transaction_session_timeout")
_BEGIN = "SELECT current_setting('featsvc.session', true)" + "".join(
    f", set_config('{name}', %s, true)" for name in _LIMITS
)
_SERVER = (
    "SELECT current_setting('server_encoding'), current_schema(), pg_backend_pid(),"
    " current_database(), current_user"
)


class Sessions:
    """Prepares the sessions of an engine. All work in the schema of the first one."""

    def __init__(self) -> None:
        self._search_path = ""

    def prepare(self, connection: DBAPIConnection, record: ConnectionPoolEntry) -> None:
        """Set up the session of a new connection."""
        nonce = uuid.uuid4().hex
        record.info["session"] = nonce
        # Without a transaction, in which the server may not let it be idle yet.
        connection.autocommit = True
        cursor = connection.cursor()
        if not self._search_path:
            cursor.execute("SELECT quote_ident(current_schema())")
            row = cursor.fetchone()
            # Temporary tables last: ours must not hide any other.
            self._search_path = f"{row[0]}, pg_temp" if row and row[0] else ""
        limits = dict(zip(_LIMITS, map(str, READ), strict=True))
        pinned = {**_PINNED, **limits, "featsvc.session": nonce}
        if self._search_path:
            pinned["search_path"] = self._search_path
        cursor.execute(_SET, (list(pinned), list(pinned.values())))
        cursor.execute(_SET_OTHERS)
        cursor.close()
        connection.autocommit = False


def begin(connection: Connection, limits: Limits, *, also: str = "NULL") -> object:
    """Limit the waits of a transaction; its first statement. It also returns an SQL expression.

    Raises Unavailable if the transaction is not in the session of its connection.
    """
    row = connection.exec_driver_sql(f"{_BEGIN}, {also}", tuple(map(str, limits))).one()
    if row[0] != connection.info["session"]:
        # Nothing is known of the session that its next transaction would be in.
        connection.invalidate()
        raise unavailable(POOLER)
    return row[-1]


def check_server(engine: Engine, connection: Connection) -> None:
    """Raises Unavailable for a database or a pooler that cannot hold a bank store."""
    with connection.begin():
        encoding, schema, pid, database, role = connection.exec_driver_sql(_SERVER).one()
    if encoding != "UTF8":
        raise unavailable(
            f"database {database!r} has the encoding {encoding}; create one with the encoding "
            "UTF8: createdb --encoding=UTF8 --template=template0"
        )
    if schema is None:
        raise unavailable(
            f"no schema of the search path exists that role {role!r} may use; create one with "
            f"CREATE SCHEMA AUTHORIZATION {role}"
        )
    driver = connection.connection.driver_connection
    if driver is not None and driver.info.backend_pid != pid:
        _check_pooler(engine, connection)


def _check_pooler(engine: Engine, connection: Connection) -> None:
    """Raises Unavailable if the session of the connection goes to others between transactions."""
    for _ in range(_PROBES):
        # Each is new to the pooler, and ends its transaction: the pool may have one session.
        with engine.connect() as other:
            with other.begin():
                begin(other, READ)
            with connection.begin():
                begin(connection, READ)
            other.invalidate()


def check_other_schemas(connection: Connection) -> None:
    """Raises Unavailable where a new store would hide the one of another schema.

    The search path of a role may have changed. Who wants a second store names its schema.
    """
    found = connection.execute(
        text(
            "SELECT string_agg(quote_ident(schemaname), ', ') FROM pg_tables"
            " WHERE tablename = 'entry_signals' AND schemaname <> current_schema()"
            " AND EXISTS (SELECT FROM pg_tables AS t WHERE t.tablename = 'head'"
            "  AND t.schemaname = pg_tables.schemaname)"
        )
    ).scalar()
    if found:
        schema = connection.exec_driver_sql("SELECT current_schema()").scalar()
        raise unavailable(
            f"schema {schema} of the database has no bank store, but there is one in {found}; set "
            "the search path of the role back, or name the schema of a new store in the URL: "
            "?options=-csearch_path%3DSCHEMA"
        )
