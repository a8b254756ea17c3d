"""Schema changes of the bank store, applied by the store when it starts."""

import importlib

from sqlalchemy import Connection, inspect

from featsvc.banks.sql import schema
from featsvc.banks.sql.consistency import check_older_tables
from featsvc.banks.sql.failures import unavailable
from featsvc.errors import DataCorrupt

HEAD = "0010"
"""The newest revision in `versions`, as a test checks. Later revisions are greater as text."""
UNFINISHED_COPY = "unfinished copy"
"""The revision of a store that is being copied into a database by `banks/moving`; none serves it.

Builds before this one take it for a newer schema, which they refuse too.
"""
_VERSION = "alembic_version"
# As the driver takes it: every transaction asks, and compiling costs more than the query.
REVISION = f"SELECT version_num FROM {_VERSION}"


def stored(connection: Connection) -> str:
    """Return the schema's revision.

    Raises the driver's error where there is no table of it, Unavailable for an unfinished copy.
    """
    return checked(str(connection.exec_driver_sql(REVISION).scalar() or ""))


def checked(revision: str) -> str:
    """Return a stored revision. Raises Unavailable for that of an unfinished copy."""
    if revision == UNFINISHED_COPY:
        raise unavailable(
            "the database holds an unfinished copy of another store; run `featsvc bank copy-store` "
            "with the same arguments again, which finishes it"
        )
    return revision


def current(connection: Connection) -> str:
    """Return the schema's revision, "" for an empty database.

    Raises Unavailable for tables without a revision: they are being restored.
    """
    tables = set(inspect(connection).get_table_names())
    revision = stored(connection) if _VERSION in tables else ""
    if revision:
        return revision
    # Before Alembic the version was in this table, and its version 1 is revision 0001.
    if _VERSION not in tables and "schema_version" in tables:
        return "0001"
    if present := sorted(tables & {_VERSION, *schema.metadata.tables}):
        raise unavailable(
            f"half restored: it has a table {present[0]}, but no version of its tables; finish "
            "restoring, or empty the database"
        )
    return ""


def upgrade(connection: Connection) -> None:
    """Upgrade the schema to HEAD inside the caller's transaction.

    Raises DataCorrupt for the schema of a newer featsvc, Unavailable for a store that is half
    restored: rows that are loaded later would not be upgraded.
    """
    # Imported here: a start with a schema at HEAD saves 200 ms of imports.
    alembic = importlib.import_module("alembic.command")
    config = importlib.import_module("alembic.config").Config()
    errors = importlib.import_module("alembic.util.exc")
    config.set_main_option("script_location", "featsvc.banks.sql:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    revision = current(connection)
    if revision and revision <= HEAD:
        check_older_tables(connection)
    try:
        if revision == "0001":
            alembic.stamp(config, revision)
        alembic.upgrade(config, "head")
    except errors.CommandError as exc:
        raise DataCorrupt(
            f"bank store: its schema is revision {revision!r}, this featsvc knows revisions up to "
            f"{HEAD}; upgrade featsvc, or restore a backup that this version made"
        ) from exc
