"""Migrations: databases of older schemas are upgraded and keep their data."""

import gzip
import json
import sqlite3
import warnings
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from featsvc.banks.records import (
    SAME_SETTINGS,
    BankMode,
    EntryEdit,
    SettingChange,
    SettingsDifference,
)
from featsvc.banks.results import ImportOptions
from featsvc.banks.sql import migrations, schema
from featsvc.banks.store import BankStore
from featsvc.errors import DataCorrupt
from tests.banks.lists import HASH, SAMPLES, hex_list, list_file, live
from tests.banks.record_store import LIST, read, write


def config_of(connection: sa.Connection | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", "featsvc.banks.sql:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    return config


HELD = EntryEdit(withdrawn=True)
_COMPARED = {"compare_type": True, "compare_server_default": True}


def engine_of(url: str) -> sa.Engine:
    return sa.create_engine(url)


def test_head_is_the_newest_script() -> None:
    assert ScriptDirectory.from_config(config_of()).get_current_head() == migrations.HEAD


def test_migrated_tables_equal_the_schema(store_url: str) -> None:
    store = BankStore(store_url)
    store.head()
    store.close()
    engine = engine_of(store_url)
    with engine.connect() as connection, warnings.catch_warnings():
        # SQLite does not report the expression of an index.
        warnings.filterwarnings("ignore", message=".*expression-based index.*")
        context = MigrationContext.configure(connection, opts=_COMPARED)
        differences = compare_metadata(context, schema.metadata)
    engine.dispose()
    assert [d for d in differences if "entry_signals_value" not in repr(d)] == []


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
        assert [row.version for row in view.signals_added_since(2)] == [9]
        assert [row.version for row in view.signals_added_since(1)] == [7, 9]
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


def insert(connection: sa.Connection, table: str, *values: object) -> None:
    """Insert a row, given the values of all its columns."""
    parameters = {f"v{i}": value for i, value in enumerate(values)}
    marks = ", ".join(f":{name}" for name in parameters)
    connection.execute(sa.text(f"INSERT INTO {table} VALUES ({marks})"), parameters)


def insert_bank(connection: sa.Connection, bank_id: str, *rest: object) -> None:
    """Insert a bank with default settings; `rest` are its columns from `settings_revision` on."""
    insert(connection, "banks", 1, bank_id, "", "", "enforce", False, "{}", "[]", "auto", *rest)


def _make_stage_1(url: str) -> None:
    """Create the first revision's tables with one entry, and the version table of that time."""
    engine = engine_of(url)
    with engine.begin() as connection:
        command.upgrade(config_of(connection), "0001")
        for statement in (
            "DROP TABLE alembic_version",
            "CREATE TABLE schema_version (version INTEGER PRIMARY KEY)",
            "INSERT INTO schema_version VALUES (1)",
            "UPDATE head SET revision = 2, commit_time = 5, next_version = 8",
        ):
            connection.execute(sa.text(statement))
        insert_bank(connection, "old", 1, 2, 1, 1, 1, '{"pdq": 1}')
        insert(connection, "revisions", 1, 4, "old", "create", "", "", "", "", "", 0, 0, 0)
        insert(connection, "revisions", 2, 5, "old", "import", "", "", "", "", "", 1, 0, 0)
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT setval('banks_key_seq', 1)"))
        entry = (7, 7, 1, "xa", b"d", "a", "", "", "", "", None, False, 4, 2, None)
        insert(connection, "entries", *entry)
        insert(connection, "entry_signals", 7, 0, "pdq", b"\x01" * 32, "original", None)
    engine.dispose()


def test_a_store_of_schema_0003_answers_as_before(tmp_path: Path) -> None:
    recorded = SAMPLES / "store-0003.json"
    path = tmp_path / "banks.db"
    statements = gzip.decompress(recorded.with_suffix(".sql.gz").read_bytes()).decode()
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(statements)
    store = BankStore(f"sqlite:///{path}")
    assert read(store) == json.loads(recorded.read_text())
    again = store.import_entries("a", list_file(LIST), ImportOptions(dry_run=True)).summary
    assert (again.unchanged_entries, again.new_entries) == (5, 1), "one of six was withdrawn"
    # Another entry has the external id "us", U+001F, "feed" and no source.
    assert store.withdraw_entries("a", (), ["us"], source="feed").entries == 1
    assert store.rollback_bank("a", 9).restored_entries == 1
    assert store.rollback_bank("a", 6).withdrawn_entries == 1
    notes = {(e.external_id, e.source): e.note for e in live(store).values() if e.bank_id == "a"}
    assert notes == {
        ("2819", "partner"): "moved",
        ("two", ""): "n",
        ("", "partner"): "",
        ("us", "feed"): "",
        ("us\x1ffeed", ""): "",
        ("rs\x1e0", "feed"): "",
    }
    assert store.get_bank("a").entry_count == len(notes)
    store.rollback_bank("a", 9)
    before, after = json.loads(recorded.read_text())["matches"], read(store)["matches"]
    # Restored entries are newer: of matches with equal distances they are the last.
    assert {q: sorted(m) for q, m in after.items()} == {q: sorted(m) for q, m in before.items()}
    store.close()


def test_identities_are_rewritten_in_all_versions(store_url: str) -> None:
    """Ids hold the separator, or equal the identity of another; versions are live and withdrawn."""
    rows = [
        (1, "xa", "a", "feed", None),
        (2, "xa\x1ffeed", "a\x1ffeed", "", None),
        (3, "xb\x1e0", "b\x1e0", "s\x1f\x1e", 3),
        (4, "xc", "c", "", None),
        (5, "spdq:" + "05" * 32, "", "feed", None),
        (6, "xb\x1e0", "b\x1e0", "s\x1f\x1e", None),
    ]
    engine = engine_of(store_url)
    with engine.begin() as connection:
        command.upgrade(config_of(connection), "0003")
        head = "revision = 3, commit_time = 3, next_version = 7"
        connection.execute(sa.text(f"UPDATE head SET {head}"))
        insert_bank(connection, "b", 1, 3, 1, 1, 5, '{"pdq": 5}', None)
        for number in (1, 2, 3):
            first = 6 if number == 3 else 1
            log_line = ("b", "add", "", "", "", "", "", 0, 0, 0)
            insert(connection, "revisions", number, number, *log_line, first)
        for version, identity, external_id, source, removed in rows:
            value, added = bytes([version]), 3 if version == 6 else 2
            key = version, min(version, 5), 1, identity, value
            fields = external_id, "", source, "", "", None, False
            insert(connection, "entries", *key, *fields, 4, added, removed)
            insert(connection, "entry_signals", version, 0, "pdq", value * 32, "original", None)
    engine.dispose()
    store = BankStore(store_url)
    with store.view() as view:
        rewritten = view.connection.execute(sa.text("SELECT version, identity FROM entries"))
        identities = {row.version: row.identity for row in rewritten}
    assert identities == {
        1: "xa\x1ffeed",
        2: "xa\x1e1feed",
        3: "xb\x1e00\x1fs\x1f\x1e",
        4: "xc",
        5: "spdq:" + "05" * 32 + "\x1ffeed",
        6: "xb\x1e00\x1fs\x1f\x1e",
    }
    assert store.withdraw_entries("b", (), ["a"]).entries == 1
    assert store.withdraw_entries("b", (), ["b\x1e0"], source="s\x1f\x1e").entries == 1
    assert store.rollback_bank("b", 2).restored_entries == 2
    values = {e.external_id: e.signals[0].value[0] for e in live(store).values()}
    assert values == {"a": 1, "a\x1ffeed": 2, "b\x1e0": 3, "c": 4, "": 5}
    store.close()


def test_identities_are_ordered_by_bytes(store_url: str) -> None:
    """SQLite always orders by bytes, PostgreSQL with the collation C."""
    with closing(BankStore(store_url)) as store, store.view() as view:
        if view.connection.dialect.name == "sqlite":
            return
        columns = sa.inspect(view.connection).get_columns("entries")
        (stored,) = [c["type"].collation for c in columns if c["name"] == "identity"]  # type: ignore[attr-defined]
        declared = schema.entries.c.identity.type.dialect_impl(view.connection.dialect)
        assert stored == declared.collation == "C"  # type: ignore[attr-defined]


def test_quarantines_become_decisions_as_far_back_as_versions_go(store_url: str) -> None:
    """Version 2 is in quarantine from revision 3 on, version 1 at revision 2 only."""
    rows = [
        # version, id, external id, quarantined, added, removed
        (1, 1, "a", True, 2, 3),
        (2, 2, "b", False, 2, 3),
        (3, 1, "a", False, 3, None),
        (4, 2, "b", True, 3, None),
        (1_000_000, 5, "future", True, 1_000_003, None),
    ]
    engine = engine_of(store_url)
    with engine.begin() as connection:
        command.upgrade(config_of(connection), "0007")
        connection.execute(
            sa.text("UPDATE head SET revision = 3, change = 3, next_version = 5, commit_time = 3")
        )
        insert(connection, "pending_change", 1, 1_000_003, 1_000_000)
        insert_bank(connection, "b", 1, 3, 1, 1, 2, '{"pdq": 2}', None, "{}")
        for number in (1, 2, 3):
            log_line = ("b", "add", "", "", "", "", "", 0, 0, 0, max(1, 2 * number - 3), number)
            insert(connection, "revisions", number, number, *log_line)
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT setval('banks_key_seq', 1)"))
        for version, entry_id, name, quarantined, added, removed in rows:
            value = bytes([entry_id])
            fields = name, "", "", "", "", None, quarantined
            key = version, entry_id, 1, f"x{name}", value
            insert(connection, "entries", *key, *fields, 4, added, removed)
            insert(connection, "entry_signals", version, 0, "pdq", value * 32, "original", None, 1)
    engine.dispose()

    def decided() -> dict[str, tuple[str, ...]]:
        return {e.external_id: e.decided_fields for e in live(store).values()}

    store = BankStore(store_url)
    assert decided() == {"a": (), "b": ("quarantined",)}
    store.rollback_bank("b", 2)
    assert decided() == {"a": ("quarantined",), "b": ()}
    row = "algorithm,signal,external_id,withdrawn\npdq,{0},a,{1}\n"
    store.import_entries("b", list_file(row.format(HASH, "true")))
    store.import_entries("b", list_file(row.format(HASH, "")))
    assert decided() == {"a": ("quarantined",), "b": ()}
    store.close()


BANKS_OF_0004 = {
    # id: settings_revision, revisions of the log, mode, removed_revision
    "kept": (1, {1: "create", 4: "add"}, "shadow", None),
    "changed": (5, {2: "create", 5: "update"}, "off", None),
    "gone": (3, {3: "create", 6: "delete"}, "enforce", 6),
}


def test_settings_from_before_their_history_are_unknown(store_url: str) -> None:
    """Their last change is where the history begins; what came before is not made up."""
    _make_banks_of_0004(store_url)
    store = BankStore(store_url)
    kept, changed = store.get_bank("kept"), store.get_bank("changed")
    assert (kept.mode, changed.mode) == (BankMode.SHADOW, BankMode.OFF)
    log = {line.revision: line for line in store.list_revisions().revisions}
    assert {n for n, line in log.items() if line.settings.unknown} == {2, 5}
    shadow = SettingChange("mode", None, "shadow"), SettingChange("thresholds[pdq]", None, "20")
    assert {n: line.settings.changes for n, line in log.items() if line.settings} == {
        1: shadow,
        3: (SettingChange("mode", None, "enforce"), SettingChange("thresholds[pdq]", None, "20")),
    }
    assert store.diff_revisions("kept", 0, 1).settings == SettingsDifference(shadow)
    assert store.diff_revisions("kept", 1).settings == SAME_SETTINGS
    for first, second in ((2, 5), (5, 2), (4, 0)):
        assert store.diff_revisions("changed", first, second).settings.unknown
    assert store.diff_revisions("changed", 5).settings == SAME_SETTINGS
    assert store.diff_revisions("changed", 1, 5).settings.changes[0].new == "off"
    # What is not known stays, and the answer says so; known settings are restored.
    store.update_bank("changed", {"mode": BankMode.ENFORCE})
    stays = store.rollback_bank("changed", 2)
    assert (stays.revision, stays.settings) == (0, SettingsDifference(unknown=True))
    assert store.get_bank("changed").mode is BankMode.ENFORCE
    back = store.rollback_bank("changed", 5)
    assert back.settings == SettingsDifference((SettingChange("mode", "enforce", "off"),))
    assert store.get_bank("changed").mode is BankMode.OFF
    store.create_bank("gone")
    assert store.diff_revisions("gone", 3, 6).settings == SAME_SETTINGS
    store.close()


def _make_banks_of_0004(url: str) -> None:
    engine = engine_of(url)
    with engine.begin() as connection:
        command.upgrade(config_of(connection), "0004")
        head = "revision = 6, commit_time = 6, next_version = 1"
        connection.execute(sa.text(f"UPDATE head SET {head}"))
        for key, (bank_id, bank) in enumerate(BANKS_OF_0004.items(), 1):
            settings_revision, lines, mode, removed = bank
            settings = ("", "", mode, False, '{"pdq": 20}', "[]", "auto")
            times = max(lines), 1, 1
            insert(
                connection,
                "banks",
                key,
                bank_id,
                *settings,
                settings_revision,
                *times,
                0,
                "{}",
                removed,
            )
            for number, action in lines.items():
                log_line = (bank_id, action, "", "", "", "", "", 0, 0, 0)
                insert(connection, "revisions", number, number, *log_line, 1)
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("SELECT setval('banks_key_seq', 3)"))
    engine.dispose()


def test_what_banks_count_is_counted_again(store_url: str) -> None:
    """A store of revision 0008 whose banks count something else."""
    with closing(BankStore(store_url)) as store:
        write(store)
        store.edit_entries("a", [entry.id for entry in store.list_entries("a").entries][:1], HELD)
        banks = store.list_banks().banks
    engine = engine_of(store_url)
    with engine.begin() as connection:
        connection.execute(sa.text("ALTER TABLE head DROP COLUMN store_id"))
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '0008'"))
        connection.execute(
            sa.text("UPDATE banks SET entry_count = entry_count + 7, signal_counts = :wrong"),
            {"wrong": '{"pdq": 1}'},
        )
    engine.dispose()
    with closing(BankStore(store_url)) as again:
        assert again.list_banks().banks == banks
        assert again.head().store_id
