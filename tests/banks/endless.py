"""Makes statements of a bank store endless, in the database itself.

A read of the bank `endless`, and of all banks, waits for a view that has no end (`endless_reads`).
A change whose actor is `endless` never writes its line of the log, the last step of every change:
until then it holds the writers' lock (`endless_changes`).
"""

import sys
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

ENDLESS = "endless"
_ROWS = {
    "sqlite": "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT i FROM n",
    "postgresql": "SELECT a FROM generate_series(1, 1000000) a, generate_series(1, 1000000) b",
}
_CHANGES = {
    "sqlite": """
CREATE TRIGGER endless BEFORE INSERT ON revisions WHEN NEW.actor = 'endless'
BEGIN SELECT count(*) FROM endless; END""",
    "postgresql": """
CREATE FUNCTION wait_endless() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN IF NEW.actor = 'endless' THEN PERFORM count(*) FROM endless; END IF; RETURN NEW; END $$;
CREATE TRIGGER endless BEFORE INSERT ON revisions
FOR EACH ROW EXECUTE FUNCTION wait_endless()""",
}


def endless_changes(engine: sa.Engine) -> None:
    with engine.begin() as connection:
        connection.execute(sa.text(f"CREATE VIEW endless AS {_ROWS[engine.dialect.name]}"))
        connection.exec_driver_sql(_CHANGES[engine.dialect.name])


@contextmanager
def endless_reads(engine: sa.Engine) -> Iterator[None]:
    """After `endless_changes`; nothing can be changed meanwhile."""
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE banks RENAME TO stored_banks"))
        connection.execute(
            sa.text(
                "CREATE VIEW banks AS SELECT * FROM stored_banks "
                f"WHERE id <> '{ENDLESS}' OR (SELECT count(*) FROM endless) > 0"
            )
        )
    yield
    with engine.begin() as connection:
        connection.execute(sa.text("DROP VIEW banks"))
        connection.execute(sa.text("ALTER TABLE stored_banks RENAME TO banks"))


@contextmanager
def write_lock(engine: sa.Engine) -> Iterator[None]:
    """Hold the writers' lock. Raises OperationalError at once if someone else does."""
    with engine.connect() as connection:
        if engine.dialect.name == "sqlite":
            driver = connection.connection.driver_connection
            assert driver is not None
            driver.execute("PRAGMA busy_timeout=0")
            driver.execute("BEGIN IMMEDIATE")
        else:
            connection.execute(sa.text("SELECT * FROM head FOR UPDATE NOWAIT"))
        try:
            yield
        finally:
            connection.invalidate()


def is_locked(engine: sa.Engine) -> bool:
    try:
        with write_lock(engine):
            return False
    except (sa.exc.OperationalError, engine.dialect.dbapi.OperationalError):  # type: ignore[union-attr]
        return True


_THREADS = ("bank-call", "bank-change", "bank-list", "bank-read")


def threads_in_statements() -> list[str]:
    """Names of the threads of calls that execute a statement now."""
    return _threads_in("sqlalchemy/engine/default.py", "sqlalchemy/engine/cursor.py")


def threads_in_store() -> list[str]:
    """Names of the threads that work for a call of the store now."""
    return _threads_in("featsvc/banks/interruption.py")


def _threads_in(*paths: str) -> list[str]:
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    found = []
    for ident, frame in sys._current_frames().items():
        files = (called.f_code.co_filename for called, _ in traceback.walk_stack(frame))
        name = names.get(ident, "")
        if name.startswith(_THREADS) and any(f.endswith(paths) for f in files):
            found.append(name)
    return found


def running_statements(engine: sa.Engine) -> int:
    """Statements that PostgreSQL runs for others in this database; 0 for SQLite."""
    if engine.dialect.name == "sqlite":
        return 0
    query = (
        "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() "
        "AND pid <> pg_backend_pid() AND state <> 'idle' AND backend_type = 'client backend'"
    )
    with engine.connect() as connection:
        return int(connection.scalar(sa.text(query)) or 0)
