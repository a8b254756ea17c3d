"""Schema changes of the bank store, applied by the store when it starts."""

import importlib

from sqlalchemy import Connection, inspect, text

from featsvc.errors import DataCorrupt

HEAD = "0004"
"""The newest revision in `versions`; a test holds it to that."""


def current(connection: Connection) -> str:
    """The schema's revision; empty where the database is."""
    tables = set(inspect(connection).get_table_names())
    if "alembic_version" in tables:
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
        return str(found or "")
    # Stage 1 kept its version in a table of its own; its version 1 is revision 0001.
    return "0001" if "schema_version" in tables else ""


def upgrade(connection: Connection) -> None:
    """Bring the schema to HEAD inside the caller's transaction.

    Raises DataCorrupt where a newer featsvc wrote it.
    """
    # Here, not above: a start that finds the schema at HEAD does without 200 ms of imports.
    alembic = importlib.import_module("alembic.command")
    config = importlib.import_module("alembic.config").Config()
    errors = importlib.import_module("alembic.util.exc")
    config.set_main_option("script_location", "featsvc.banks.sql:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    found = current(connection)
    try:
        if found == "0001":
            alembic.stamp(config, found)
        alembic.upgrade(config, "head")
    except errors.CommandError as exc:
        raise DataCorrupt(
            f"bank store: its schema is revision {found!r}, this featsvc knows up to {HEAD}; "
            "run the featsvc that wrote it, or upgrade"
        ) from exc
