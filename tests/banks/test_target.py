"""What a store is copied into: nothing is overwritten, and no service takes half a copy for one."""

from collections.abc import Callable
from contextlib import closing, suppress

import pytest
import sqlalchemy as sa
from click.testing import CliRunner

from featsvc.banks.moving import rows as moving_rows
from featsvc.banks.moving.store_copy import CopyProgress, copy_store
from featsvc.banks.sql import migrations
from featsvc.banks.store import BankStore
from featsvc.cli.main import cli
from featsvc.errors import (
    Conflict,
    DataCorrupt,
    FeatsvcError,
    NotFound,
    Unavailable,
)
from tests.banks.lists import hex_list, list_file
from tests.banks.moves import CROSSINGS, Ends, rows, tables

pytestmark = [
    pytest.mark.slow,
    pytest.mark.parametrize("ends", CROSSINGS, ids="-to-".join, indirect=True),
]


def fill(url: str) -> None:
    with closing(BankStore(url)) as store:
        store.create_bank("b")
        store.import_entries("b", list_file(hex_list(range(300))))


def execute(url: str, *statements: str) -> None:
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        for statement in statements:
            connection.execute(sa.text(statement))
    engine.dispose()


def everything(url: str) -> dict[str, list[tuple[object, ...]]]:
    """All rows of all tables, whosever they are."""
    engine = sa.create_engine(url)
    found = {}
    with engine.connect() as connection:
        for name in sa.inspect(connection).get_table_names():
            quoted = engine.dialect.identifier_preparer.quote(name)
            selected = connection.execute(sa.text(f"SELECT * FROM {quoted}"))
            found[name] = sorted(map(tuple, selected), key=repr)
    engine.dispose()
    return found


class Stopped(Exception):
    """The copy ends here, as if it had been killed."""


def stop_at(phase: str, number: int = 1) -> Callable[[CopyProgress], None]:
    """Stop a copy in the middle of a phase."""
    left = number

    def stop(progress: CopyProgress) -> None:
        nonlocal left
        left -= progress.phase == phase
        if not left:
            raise Stopped

    return stop


@pytest.fixture
def urls(ends: Ends, monkeypatch: pytest.MonkeyPatch) -> tuple[str, str]:
    """A store, and an empty database; rows are copied in small pieces."""
    monkeypatch.setattr(moving_rows, "CHUNK_ROWS", 10)
    monkeypatch.setattr("featsvc.banks.moving.target.PIECE_CHUNKS", 2)
    source = ends.source()
    fill(source)
    return source, ends.target()


def unfinished(urls: tuple[str, str], phase: str = "copying", number: int = 12) -> None:
    with pytest.raises(Stopped):
        copy_store(*urls, on_progress=stop_at(phase, number))


@pytest.mark.parametrize(
    ("phase", "number"), [("copying", 1), ("copying", 12), ("copying", 45), ("indexing", 3)]
)
def test_an_unfinished_copy_is_no_store_until_it_is_finished(
    urls: tuple[str, str], phase: str, number: int
) -> None:
    unfinished(urls, phase, number)
    store = BankStore(urls[1])
    with closing(store):
        for call in (store.head, store.list_banks, lambda: store.create_bank("x")):
            with pytest.raises(Unavailable, match=r"unfinished copy.* copy-store"):
                call()
        with pytest.raises(Unavailable, match="unfinished copy"):
            copy_store(urls[1], urls[0])
        done = copy_store(*urls)
        assert done.resumed
        assert done.differences == []
        # The same store object: a service that waits goes on by itself.
        assert store.get_bank("b").entry_count == 300
    assert rows(urls[1]) == rows(urls[0])


def test_builds_that_know_no_copies_refuse_one(
    urls: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    unfinished(urls)
    before = everything(urls[1])
    monkeypatch.setattr(migrations, "UNFINISHED_COPY", "")
    with closing(BankStore(urls[1])) as store, pytest.raises(DataCorrupt, match="its schema is"):
        store.head()
    assert everything(urls[1]) == before


def test_a_service_that_runs_on_an_unused_store_follows_the_copy(urls: tuple[str, str]) -> None:
    with closing(BankStore(urls[1])) as store:
        store.head()
        unfinished(urls)
        for call in (store.head, lambda: store.create_bank("x")):
            with pytest.raises(Unavailable, match="unfinished copy"):
                call()
        assert copy_store(*urls).differences == []
        assert store.get_bank("b").entry_count == 300
        store.create_bank("c")


def test_a_copy_goes_on_only_with_the_store_that_it_began_with(
    urls: tuple[str, str], ends: Ends
) -> None:
    unfinished(urls)
    other = ends.source()
    fill(other)
    before = everything(urls[1])
    with pytest.raises(Conflict, match=r"copy of another store.*--restart"):
        copy_store(other, urls[1])
    with closing(BankStore(urls[0])) as store:
        store.import_entries("b", list_file(hex_list([9000])))
    with pytest.raises(
        Conflict, match=r"copy of revision 2, .* changed since, to revision 3.*--rest"
    ):
        copy_store(*urls)
    assert everything(urls[1]) == before
    done = copy_store(*urls, restart=True)
    assert (done.resumed, done.differences, done.revision) == (False, [], 3)
    assert rows(urls[1]) == rows(urls[0])


def test_what_changes_without_a_revision_is_copied_anew(urls: tuple[str, str]) -> None:
    unfinished(urls, "indexing", 2)
    execute(
        urls[0],
        "INSERT INTO requests VALUES ('r', 'm', 't', 'a', 1)",
        "INSERT INTO match_counts VALUES (1, 1, 'shadow', 20000, 3)",
        'UPDATE banks SET import_map = \'{"a": "b"}\'',
    )
    assert copy_store(*urls).differences == []
    assert rows(urls[1]) == rows(urls[0])


def make_used(url: str) -> None:
    with closing(BankStore(url)) as store:
        store.create_bank("theirs")


def make_older(url: str) -> None:
    make_used(url)
    execute(url, "UPDATE alembic_version SET version_num = '0008'")


def make_newer(url: str) -> None:
    with closing(BankStore(url)) as store:
        store.head()
    execute(url, "UPDATE alembic_version SET version_num = '9999'")


def make_odd(url: str) -> None:
    """Rows without a revision: nobody knows what they are."""
    with closing(BankStore(url)) as store:
        store.head()
    execute(url, "INSERT INTO requests VALUES ('r', 'm', 't', 'a', 1)")


def make_foreign(url: str) -> None:
    execute(url, "CREATE TABLE theirs (n INTEGER)", "INSERT INTO theirs VALUES (1)")


def make_foreign_head(url: str) -> None:
    execute(url, "CREATE TABLE head (n INTEGER)", "INSERT INTO head VALUES (1)")


@pytest.mark.parametrize("restart", [False, True])
@pytest.mark.parametrize(
    "make", [make_used, make_older, make_newer, make_odd, make_foreign, make_foreign_head]
)
def test_nothing_is_overwritten(
    urls: tuple[str, str], make: Callable[[str], None], restart: bool
) -> None:
    make(urls[1])
    before = everything(urls[1])
    with pytest.raises(Conflict, match=r"^--to: the database holds .* nothing is overwritten"):
        copy_store(*urls, restart=restart)
    assert everything(urls[1]) == before


def test_a_finished_copy_is_not_copied_into_again(urls: tuple[str, str]) -> None:
    copy_store(*urls)
    before = everything(urls[1])
    for restart in (False, True):
        with pytest.raises(Conflict, match="a bank store at revision 2"):
            copy_store(*urls, restart=restart)
    assert everything(urls[1]) == before


def test_a_store_is_not_copied_into_itself(ends: Ends) -> None:
    for url in (ends.source(), ends.source()):
        with closing(BankStore(url)) as store:
            store.head()
        before = everything(url)
        with pytest.raises(Conflict, match="same database"):
            copy_store(url, url)
        assert everything(url) == before


def test_a_source_that_is_no_store_of_this_schema_is_refused_unchanged(
    urls: tuple[str, str], ends: Ends
) -> None:
    empty = ends.source()
    with pytest.raises(NotFound, match=r"^--from: "):
        copy_store(empty, urls[1])
    if empty.startswith("postgresql"):
        assert everything(empty) == {}
    for version, said in (("0008", "schema 0008.* upgrade it first"), ("9999", "a newer featsvc")):
        execute(urls[0], f"UPDATE alembic_version SET version_num = '{version}'")
        before = everything(urls[0])
        with pytest.raises(Conflict, match=f"^--from: .*{said}"):
            copy_store(*urls)
        assert everything(urls[0]) == before
    with suppress(FeatsvcError):
        assert tables(urls[1]) == set()


def test_a_source_that_is_half_restored_is_refused(urls: tuple[str, str]) -> None:
    execute(urls[0], "DELETE FROM entry_signals")
    with pytest.raises(Unavailable, match=r"^--from: .*half restored"):
        copy_store(*urls)
    assert everything(urls[1]) == {}


def test_the_source_is_not_written_to(urls: tuple[str, str]) -> None:
    before = everything(urls[0])
    copy_store(*urls)
    assert everything(urls[0]) == before


DAMAGES = (
    "UPDATE entries SET note = 'x' WHERE version = 17",
    "UPDATE entries SET removed_change = 2 WHERE version = 17",
    "UPDATE entry_signals SET quality = 7 WHERE version = 17",
    "DELETE FROM entry_signals WHERE version = 300",
    "INSERT INTO entry_signals SELECT version, 9, algorithm, value, variant, quality, 1 "
    "FROM entry_signals WHERE version = 17",
    "UPDATE banks SET entry_count = 5",
    "DELETE FROM revisions WHERE revision = 1",
    "INSERT INTO match_counts VALUES (1, 1, 'shadow', 20000, 3)",
    "INSERT INTO entries SELECT 4000000, 4000000, bank_key, 'i', digest, external_id, labels, "
    "source, opinion, note, expire_time, quarantined, create_time, 9000, removed_change, withheld, "
    "listed FROM entries WHERE version = 17",
)


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_row_that_differs_is_found(urls: tuple[str, str], damage: str) -> None:
    done_to: list[str] = []

    def spoil(progress: CopyProgress) -> None:
        if progress.phase == "indexing" and not done_to:
            execute(urls[1], damage)
            done_to.append(damage)

    done = copy_store(*urls, on_progress=spoil)
    (difference,) = done.differences
    table = next(name for name in tables(urls[0]) if f" {name} " in f"{damage} ")
    assert difference.startswith(f"{table}, ")
    assert [check.table for check in done.tables if check.difference] == [table]
    with closing(BankStore(urls[1])) as store, pytest.raises(Unavailable, match="unfinished"):
        store.head()
    arguments = ["bank", "copy-store", "--from", urls[0], "--to", urls[1]]
    again = CliRunner().invoke(cli, arguments)
    assert again.exit_code == (1 if table in ("entries", "entry_signals", "revisions") else 0)
    if again.exit_code:
        assert "--restart" in again.output
        assert "differs" in again.output
        assert CliRunner().invoke(cli, [*arguments, "--restart"]).exit_code == 0
    assert rows(urls[1]) == rows(urls[0])


@pytest.mark.parametrize("finishes", [True, False])
def test_of_two_copies_into_one_database_the_first_ends(
    urls: tuple[str, str], finishes: bool
) -> None:
    taken: list[CopyProgress] = []

    def take_over(progress: CopyProgress) -> None:
        if progress.phase == "indexing" and not taken:
            taken.append(progress)
            stop = stop_at("verifying", 10_000 if finishes else 3)
            with suppress(Stopped):
                copy_store(*urls, on_progress=stop)

    with pytest.raises(Conflict, match="another `featsvc bank copy-store`"):
        copy_store(*urls, on_progress=take_over)
    if not finishes:
        assert copy_store(*urls).differences == []
    assert rows(urls[1]) == rows(urls[0])
