"""A database of stage 1 becomes what the code says, with its data."""

import warnings
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from featsvc.banks.sql import migrations, schema
from featsvc.banks.store import BankStore
from featsvc.errors import DataCorrupt
from tests.banks.lists import hex_list, list_file, live


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(url)


def test_head_is_the_newest_script() -> None:
    config = Config()
    config.set_main_option("script_location", "featsvc.banks.sql:migrations")
    config.set_main_option("path_separator", "os")
    assert ScriptDirectory.from_config(config).get_current_head() == migrations.HEAD


def test_migrated_tables_are_those_of_the_code(store_url: str) -> None:
    store = BankStore(store_url)
    store.head()
    store.close()
    engine = engine_of(store_url)
    with engine.connect() as connection, warnings.catch_warnings():
        # SQLite does not tell what an index by an expression is by.
        warnings.filterwarnings("ignore", message=".*expression-based index.*")
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        differences = compare_metadata(context, schema.metadata)
    engine.dispose()
    found = [d for d in differences if "entry_signals_value" not in repr(d)]
    assert found == []


def test_a_stage_1_database_keeps_its_data(store_url: str) -> None:
    _make_stage_1(store_url)
    store = BankStore(store_url)
    ((key, entry),) = live(store).items()
    assert key == ("old", 7)
    assert entry.signals[0].value == b"\x01" * 32
    assert [r.revision for r in store.list_revisions("old").revisions] == [2, 1]
    store.import_entries("old", list_file(hex_list([5])))
    assert store.head().revision == 3
    assert len(live(store)) == 2
    with store.view() as view:
        assert [e.added_revision for e in view.changes_since(2)] == [3]
        assert [e.added_revision for e in view.changes_since(1)] == [2, 3]
    store.delete_bank("old", force=True)
    store.create_bank("old")
    store.close()


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'banks.db'}"
    store = BankStore(url)
    store.head()
    store.close()
    engine = engine_of(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    newer = BankStore(url)
    with pytest.raises(DataCorrupt, match="9999"):
        newer.head()
    newer.close()


def _make_stage_1(url: str) -> None:
    """The first revision's tables, and the version as stage 1 kept it, with one entry."""
    config = Config()
    config.set_main_option("script_location", "featsvc.banks.sql:migrations")
    config.set_main_option("path_separator", "os")
    engine = engine_of(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (
            "DROP TABLE alembic_version",
            "CREATE TABLE schema_version (version INTEGER PRIMARY KEY)",
            "INSERT INTO schema_version VALUES (1)",
            "UPDATE head SET revision = 2, commit_time = 5, next_version = 8",
            "INSERT INTO banks VALUES (1, 'old', '', '', 'enforce', false, '{}', '[]', 'auto', "
            "1, 2, 1, 1, 1, '{\"pdq\": 1}')",
            "INSERT INTO revisions VALUES (1, 4, 'old', 'create', '', '', '', '', '', 0, 0, 0)",
            "INSERT INTO revisions VALUES (2, 5, 'old', 'import', '', '', '', '', '', 1, 0, 0)",
        ):
            connection.execute(sa.text(statement))
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT setval('banks_key_seq', 1)"))
        connection.execute(
            sa.text(
                "INSERT INTO entries VALUES (7, 7, 1, 'xa', :digest, 'a', '', '', '', '', NULL, "
                "false, 4, 2, NULL)"
            ),
            {"digest": b"d"},
        )
        connection.execute(
            sa.text("INSERT INTO entry_signals VALUES (7, 0, 'pdq', :value, 'original', NULL)"),
            {"value": b"\x01" * 32},
        )
    engine.dispose()
