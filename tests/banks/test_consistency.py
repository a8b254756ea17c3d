"""Writers, upgrades and first starts refuse a store of which only some tables are restored."""

from collections.abc import Iterator
from contextlib import closing, suppress
from itertools import pairwise

import pytest
import sqlalchemy as sa

from featsvc.banks.records import NO_CONTEXT
from featsvc.banks.sql import migrations, schema
from featsvc.banks.sql.changes import PendingRevision
from featsvc.banks.store import BankStore
from featsvc.errors import Unavailable
from tests.banks.lists import hex_list, list_file
from tests.banks.restoring import READ, TABLES, Loader, Rows, rows_of_store, subsets


@pytest.fixture
def whole(store: BankStore, store_url: str) -> Rows:
    store.create_bank("b")
    store.import_entries("b", list_file(hex_list([1, 2])))
    return rows_of_store(store_url)


@pytest.fixture
def loader(store: BankStore, store_url: str, whole: Rows) -> Iterator[Loader]:
    with closing(Loader(store_url)) as loader:
        yield loader


def test_subsets_are_all() -> None:
    all_of = subsets("abc")
    assert len(set(all_of)) == 8
    assert all_of[-1] == {*"abc"}
    assert all(len(one ^ other) == 1 for one, other in pairwise(all_of))


class _RolledBackError(Exception):
    pass


def begin(store: BankStore) -> None:
    """Do what every writer does first, under its lock; change nothing."""
    with suppress(_RolledBackError), store._database.write() as connection:
        PendingRevision.begin(connection, "b", "add", NO_CONTEXT)
        raise _RolledBackError


def test_a_writer_begins_only_with_all_tables(
    store: BankStore, store_url: str, loader: Loader, whole: Rows
) -> None:
    """At every subset of the tables; so does a first start, which creates nothing either."""
    loaded = frozenset(READ)
    for subset in subsets(READ):
        loader.load({}, loaded - subset)
        loader.load(whole, subset - loaded)
        loaded = subset
        before = rows_of_store(store_url)
        with closing(BankStore(store_url)) as first:
            if subset == {*READ}:
                begin(first)
                begin(store)
                continue
            for each in (first, store):
                with pytest.raises(Unavailable, match=r"half restored|older schema") as caught:
                    begin(each)
                assert caught.value.reason == "BANK_STORE_UNAVAILABLE"
                with pytest.raises(Unavailable):
                    each.head()
        assert rows_of_store(store_url) == before
    assert store.create_bank("c").id == "c"


DIFFERENCES = {
    "revision": "UPDATE head SET revision = revision + 1",
    "older": "UPDATE head SET revision = revision - 1",
    "time": "UPDATE head SET commit_time = commit_time + 1",
    "change": "UPDATE head SET change = change + 1",
    "versions": "UPDATE head SET next_version = 2",
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_a_head_of_another_state_is_refused(
    store: BankStore, store_url: str, loader: Loader, whole: Rows, difference: str
) -> None:
    engine = sa.create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(sa.text(DIFFERENCES[difference]))
    engine.dispose()
    with pytest.raises(Unavailable, match="half restored"):
        begin(store)
    loader.load(whole, ["head"])
    begin(store)


def test_what_a_large_change_has_written_so_far_is_consistent(
    store: BankStore, loader: Loader, whole: Rows
) -> None:
    """Its versions are later ones, and it says so in `pending_change`."""
    ahead = 1_000_000
    later = [{**row, "version": ahead, "added_change": ahead} for row in whole["entries"][:1]]
    pending = {"pending_change": [{"id": 1, "change": ahead, "first_version": ahead}]}
    loader.load({"entries": [*whole["entries"], *later]}, ["entries"])
    with pytest.raises(Unavailable, match="later versions"):
        begin(store)
    loader.load(pending, ["pending_change"])
    begin(store)


@pytest.mark.parametrize("created", ["none", "alembic_version", "head", "entries", "all"])
def test_a_first_start_creates_no_tables_beside_others(store_url: str, created: str) -> None:
    """Between `CREATE TABLE` and the rows of `alembic_version`, at any of them."""
    engine = sa.create_engine(store_url)
    version = sa.Table("alembic_version", sa.MetaData(), sa.Column("version_num", sa.String(32)))
    tables = {"alembic_version": version, **schema.metadata.tables}
    chosen = {"none": (), "all": TABLES}.get(created, (created,))
    with engine.begin() as connection:
        # Foreign keys come last in a restore; their tables do not matter here.
        for name in chosen:
            columns = ", ".join(f"{column.name} TEXT" for column in tables[name].columns)
            connection.execute(sa.text(f"CREATE TABLE {name} ({columns})"))
    before = sorted(sa.inspect(engine).get_table_names())
    with closing(BankStore(store_url)) as store:
        if created == "none":
            assert store.head().revision == 0
        else:
            for _ in range(2):
                with pytest.raises(Unavailable, match="half restored"):
                    store.head()
            assert sorted(sa.inspect(engine).get_table_names()) == before
    engine.dispose()


def test_a_table_of_another_program_is_no_store(store_url: str) -> None:
    engine = sa.create_engine(store_url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE invoices (id INTEGER)"))
    engine.dispose()
    with closing(BankStore(store_url)) as store:
        assert store.create_bank("b").id == "b"


def test_a_half_restored_older_schema_is_not_upgraded(
    store: BankStore, store_url: str, loader: Loader, whole: Rows
) -> None:
    """Rows that are loaded after the upgrade would not be upgraded."""
    older = [{"version_num": f"{int(migrations.HEAD) - 1:04}"}]
    loader.load({}, ["revisions"])
    loader.load({"alembic_version": older}, ["alembic_version"])
    for _ in range(3):
        with pytest.raises(Unavailable, match=r"half restored|older schema"):
            store.head()
    assert rows_of_store(store_url)["alembic_version"] == older
