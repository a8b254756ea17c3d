"""The commands of docs/backup.md for banks and for a service, under load and kills.

Those for account features are in test_backup_features.py.
"""

import multiprocessing
import random
import shutil
import sqlite3
import threading
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2, features_pb2, matching_pb2, types_pb2
from featsvc_kernels.compiling import find_cache

from featsvc.banks.moving.store_copy import CopyProgress, copy_store
from featsvc.banks.results import ImportOptions
from featsvc.banks.store import BankStore
from featsvc.matching.segments import published
from tests.banks.databases import PostgresServer, postgres_server
from tests.banks.lists import exported, hex_list, list_file, log_since
from tests.integration.backup_page import MARKS, PAGE, ROUNDS, block
from tests.integration.pages import blocks, kill, paste, shell
from tests.integration.running import failure, running, served_revision
from tests.patience import until


def test_every_block_is_pasted_by_a_test() -> None:
    assert sorted(blocks(PAGE)) == sorted(map(block, MARKS))
    assert blocks("upgrading.md") == []
    tests = (Path(__file__), Path(__file__).with_name("test_backup_features.py"))
    source = "".join(test.read_text() for test in tests)
    assert [name for name in MARKS if f'"{name}"' not in source] == []


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


def libpq(url: str) -> dict[str, str]:
    return {"DATABASE": url.replace("+psycopg", "")}


def write_forever(url: str, seed: int) -> None:
    """Import lists that replace each other, withdraw and roll back."""
    rng = random.Random(seed)
    store = BankStore(url)
    while True:
        numbers = rng.sample(range(1, 5000), rng.randrange(1, 800))
        options = ImportOptions(replace=rng.random() < 0.3, allow_withdrawn=10**9)
        store.import_entries("b", list_file(hex_list(numbers)), options)
        if rng.random() < 0.2:
            store.rollback_bank("b", rng.randint(1, store.head().revision))


@contextmanager
def writing(url: str, seed: int) -> Iterator[BaseProcess]:
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    process = context.Process(target=write_forever, args=(url, seed), daemon=True)
    process.start()
    try:
        yield process
    finally:
        process.kill()
        process.join()


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_backup_under_writes_and_kills_is_the_store_at_a_revision(
    database: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    (tmp_path / "data").mkdir()
    if database == "sqlite":
        url, file, environ = f"sqlite:///{tmp_path}/data/banks.db", "banks.db", {}
    else:
        url = request.getfixturevalue("postgres").create_database()
        file, environ = "banks.dump", libpq(url)
    rng = random.Random(5)
    store = BankStore(url)
    store.create_bank("b")
    paste(block("folder"), tmp_path)
    backup = tmp_path / "backup" / file
    revisions = []
    for number in range(ROUNDS):
        backup.unlink(missing_ok=True)
        before = store.head().revision
        with writing(url, number) as writer:
            until(lambda: store.head().revision > before)  # noqa: B023
            process = shell(block(f"save {database}"), tmp_path, environ)
            time.sleep(rng.uniform(0, 0.5))
            if number % 3 == 0:
                kill(process)
            elif number % 3 == 1:
                writer.kill()
            printed, _ = process.communicate()
        assert backup.exists() is (process.returncode == 0), printed
        if number % 3:
            assert process.returncode == 0, printed
        if backup.exists():
            folder = tmp_path / f"restored-{number}"
            restored_url = restored(database, backup, folder, request)
            with closing(BankStore(restored_url)) as copy:
                revision = copy.head().revision
                assert revision > before
                assert exported(copy, "b", "jsonl") == exported(store, "b", "jsonl", revision)
                ours = [line for line in log(store) if line[0] <= revision]
                assert log(copy) == ours
                # The next change is a change of the restored store.
                added = copy.import_entries(
                    "b", list_file(hex_list([5000]))
                )  # the writer never does
                assert added.revision > revision
            revisions.append(revision)
    assert revisions == sorted(set(revisions))
    assert len(revisions) >= ROUNDS // 3
    store.close()


def restored(database: str, backup: Path, folder: Path, request: pytest.FixtureRequest) -> str:
    """Restore over another store, as the page says; return the URL."""
    (folder / "data").mkdir(parents=True)
    (folder / "backup").mkdir()
    shutil.copy(backup, folder / "backup")
    if database == "sqlite":
        url, environ = f"sqlite:///{folder}/data/banks.db", {}
    else:
        url = request.getfixturevalue("postgres").create_database()
        environ = libpq(url)
    with closing(BankStore(url)) as other:
        other.create_bank("other")
    paste(block(f"restore {database}"), folder, environ)
    if database == "sqlite":
        with closing(sqlite3.connect(folder / "data" / "banks.db")) as raw:
            assert raw.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    return url


def log(store: BankStore) -> list[tuple[int, str, int, int, int]]:
    with store.view() as view:
        lines = log_since(view, 0)
    return sorted(
        (r.revision, r.action, r.added_entries, r.changed_entries, r.withdrawn_entries)
        for r in lines
    )


def load(client: Client, bank: str, numbers: range) -> int:
    def requests() -> Iterator[banks_pb2.ImportEntriesRequest]:
        options = banks_pb2.ImportOptions(parent=f"banks/{bank}")
        yield banks_pb2.ImportEntriesRequest(options=options)
        for first in range(0, len(numbers), 10_000):
            yield banks_pb2.ImportEntriesRequest(chunk=hex_list(numbers[first : first + 10_000]))

    *_, last = client.banks.ImportEntries(requests())
    return int(last.revision)


def is_found(client: Client, number: int) -> bool:
    query = types_pb2.Signal(algorithm="pdq", value=f"{number:064x}")
    options = types_pb2.MatchOptions(
        thresholds=[types_pb2.ThresholdOverride(algorithm="pdq", threshold=0)],
        match_low_quality=True,
    )
    request = matching_pb2.MatchRequest(signal=query, options=options)
    return bool(client.matching.Match(request).matches)


def uploads(client: Client, account: str, ids: range) -> float:
    """Send events, and return the uploads of the account."""
    events = []
    for number in ids:
        sent = features_pb2.Event(
            event_id=f"e{number}", type="upload", entities={"account": account}
        )
        sent.time.GetCurrentTime()
        events.append(sent)
    if events:
        client.features.IngestEvents(features_pb2.IngestEventsRequest(events=events))
    request = features_pb2.GetFeaturesRequest(
        entities=[types_pb2.EntityRef(entity="account", id=account)],
        selection=features_pb2.FeatureSelection(features=["uploads_1h"]),
    )
    return float(client.features.GetFeatures(request).features.columns[0].values[0])


@pytest.fixture
def home(tmp_path: Path) -> dict[str, str]:
    """A home of its own, with the kernels compiled, and a folder for temporary files."""
    kernels = find_cache()
    assert kernels is not None
    shutil.copytree(kernels[0], tmp_path / "home" / ".cache" / "featsvc")
    (tmp_path / "tmp").mkdir()
    return {
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "tmp"),
        "XDG_CACHE_HOME": "",
        "NUMBA_CACHE_DIR": "",
    }


def test_a_service_is_backed_up_restored_and_uninstalled(
    tmp_path: Path, home: dict[str, str]
) -> None:
    data, segments = tmp_path / "data", tmp_path / "data" / "segments"
    with running(data, environ=home) as service, service.client() as client:
        client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id="b"))
        load(client, "b", range(1, 12_000))
        until(lambda: published(segments), "no segment")
        assert uploads(client, "a1", range(5)) == 5
        for name in ("folder", "save sqlite", "save valkey"):
            paste(block(name), tmp_path)
        saved = served_revision(client)
        lost = load(client, "b", range(20_000, 40_000))
        until(lambda: is_found(client, 20_001))
        until(lambda: any(f"{lost:020d}" in path.name for path in published(segments)))
        assert uploads(client, "a1", range(5, 9)) == 9
    for name in ("restore sqlite", "restore valkey"):
        paste(block(name), tmp_path)
    with running(data, environ=home) as service, service.client() as client:
        assert served_revision(client) == saved
        assert (is_found(client, 1), is_found(client, 20_001)) == (True, False)
        assert uploads(client, "a1", range(0)) == 5
        assert uploads(client, "a1", range(3, 9)) == 9, "two of them are known"
        looked = paste(block("look"), tmp_path, {"SERVER": service.address})
        assert "SERVING" in looked
        assert str(saved) in looked
        until(lambda: all(f"{lost:020d}" not in path.name for path in published(segments)))
        # A revision with the number of a lost one.
        assert load(client, "b", range(50_000, 50_010)) == saved + 1
        until(lambda: is_found(client, 50_001))
        assert not is_found(client, 20_001)
    paste(block("no segments"), tmp_path)
    with running(data, environ=home) as service, service.client() as client:
        assert (is_found(client, 1), is_found(client, 20_001)) == (True, False)
        until(lambda: published(segments), "no segment")
    paste(block("uninstall"), tmp_path, home)
    kept = {"backup", "before-restore", "home", "tmp"}
    assert {path.name for path in tmp_path.iterdir()} == kept
    assert [*(tmp_path / "home").rglob("*")] == [tmp_path / "home" / ".cache"]
    assert [*(tmp_path / "tmp").rglob("*")] == []


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
def test_a_service_moves_to_another_database(
    tmp_path: Path, postgres: PostgresServer, database: str
) -> None:
    old, new = f"sqlite:///{tmp_path}/old.db", postgres.create_database()
    if database == "sqlite":
        old, new = new, f"sqlite:///{tmp_path}/new.db"
    with (
        running(tmp_path / "old", environ={"FEATSVC_BANKS_URL": old}) as service,
        service.client() as client,
    ):
        client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id="b"))
        load(client, "b", range(1, 12_000))
        saved = load(client, "b", range(20_000, 20_010))
        until(lambda: is_found(client, 20_001))
    printed = paste(block("copy store"), tmp_path, {"FROM": old, "TO": new})
    assert max(map(len, printed.splitlines())) <= 80, printed
    assert f"revision {saved}: " in printed
    assert "all equal" in printed
    assert "all banks count right" in paste(block("count again"), tmp_path, {"STORE": new})
    # The folder of the old service, whose segment is that of another store now.
    with (
        running(tmp_path / "old", environ={"FEATSVC_BANKS_URL": new}) as service,
        service.client() as client,
    ):
        assert served_revision(client) == saved
        assert is_found(client, 1)
        assert load(client, "b", range(50_000, 50_010)) == saved + 1
        until(lambda: is_found(client, 50_001))


def test_a_service_that_finds_an_unfinished_copy_waits_for_its_end(tmp_path: Path) -> None:
    old, new = (f"sqlite:///{tmp_path}/{name}.db" for name in ("old", "new"))
    with closing(BankStore(old)) as store:
        store.create_bank("b")
        store.import_entries("b", list_file(hex_list(range(1, 5000))))
    with pytest.raises(InterruptedError):
        copy_store(old, new, on_progress=interrupt)
    refused = paste("! featsvc doctor", tmp_path, {"FEATSVC_BANKS_URL": new})
    assert "unfinished copy of another store" in refused

    def finish() -> None:
        time.sleep(1)
        assert copy_store(old, new).resumed

    finisher = threading.Thread(target=finish)
    finisher.start()
    with (
        running(tmp_path / "data", environ={"FEATSVC_BANKS_URL": new}) as service,
        service.client() as client,
    ):
        finisher.join()
        assert is_found(client, 1)


def interrupt(progress: CopyProgress) -> None:
    if progress.done > 3000:
        raise InterruptedError


def status(client: Client) -> matching_pb2.GetIndexStatusResponse:
    answer: matching_pb2.GetIndexStatusResponse = client.matching.GetIndexStatus(
        matching_pb2.GetIndexStatusRequest()
    )
    return answer


def test_a_service_goes_on_while_its_postgresql_is_restored_and_upgraded(
    tmp_path: Path, postgres: PostgresServer
) -> None:
    url = postgres.create_database()
    environ = libpq(url)
    with (
        running(tmp_path / "data", environ={"FEATSVC_BANKS_URL": url}) as service,
        service.client() as client,
    ):
        client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id="b"))
        load(client, "b", range(1, 50))
        for name in ("folder", "save postgresql"):
            paste(block(name), tmp_path, environ)
        saved = served_revision(client)
        load(client, "b", range(100, 150))
        until(lambda: is_found(client, 101))

        paste(block("empty postgresql"), tmp_path, environ)
        until(lambda: "tables are gone" in status(client).failure)
        assert is_found(client, 101), "the last snapshot"
        assert failure(lambda: load(client, "b", range(3))).reason == "BANK_STORE_UNAVAILABLE"

        paste(block("restore postgresql"), tmp_path, environ)
        until(lambda: status(client).served_revision == saved)
        assert (is_found(client, 1), is_found(client, 101)) == (True, False)
        assert load(client, "b", range(200, 210)) == saved + 1
        until(lambda: is_found(client, 201))

        # Once more, without emptying it: in one transaction.
        paste(block("restore postgresql"), tmp_path, environ)
        until(lambda: status(client).served_revision == saved)
        assert (is_found(client, 1), is_found(client, 201)) == (True, False)

        upgraded = 'psql "$DATABASE" -c "UPDATE alembic_version SET version_num = \'9999\'"'
        paste(upgraded, tmp_path, environ)
        until(lambda: "a newer featsvc upgraded its schema" in status(client).failure)
        assert is_found(client, 1)
        refused = failure(lambda: load(client, "b", range(300, 310)))
        assert refused.reason == "BANK_STORE_UNAVAILABLE"
        assert service.process.poll() is None
        assert "incident" not in service.log
    paste(block("uninstall postgresql"), tmp_path, environ)
    left = paste(r'psql -A -t "$DATABASE" -c "\d"', tmp_path, environ)
    assert left.strip() in ("", "Did not find any relations.")
