"""Two services over one PostgreSQL: concurrent imports, and a database that goes away."""

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import psycopg
import pytest
from featsvc_client import Client, ServiceError, explain
from featsvc_client.v1 import banks_pb2, matching_pb2, types_pb2

from featsvc.banks.sql.stored import SignalRow
from featsvc.banks.store import BankStore
from featsvc.service.banks import MAX_CHANGES
from tests.banks.databases import PostgresServer, postgres_server
from tests.banks.lists import follow, log_since
from tests.integration.running import Running, running
from tests.patience import PATIENCE_S, until

LISTS, ROWS = 6, 300


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


@pytest.fixture(scope="module")
def url(postgres: PostgresServer) -> str:
    return postgres.create_database()


@pytest.fixture(scope="module")
def services(url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[Running]]:
    environ = {"FEATSVC_BANKS_URL": url}
    with (
        running(tmp_path_factory.mktemp("first"), environ=environ) as first,
        running(tmp_path_factory.mktemp("second"), environ=environ) as second,
    ):
        yield [first, second]


def import_rows(client: Client, bank: str, numbers: range) -> banks_pb2.ImportEntriesResponse:
    options = banks_pb2.ImportOptions(parent=f"banks/{bank}", file_name="list.txt")
    requests = [banks_pb2.ImportEntriesRequest(options=options)]
    lines = b"".join(b"%064x,\n" % number for number in numbers)
    requests.append(banks_pb2.ImportEntriesRequest(chunk=lines))
    *_, last = client.banks.ImportEntries(iter(requests), timeout=PATIENCE_S)
    assert isinstance(last, banks_pb2.ImportEntriesResponse)
    return last


def create(client: Client, bank: str) -> None:
    client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id=bank), timeout=PATIENCE_S)


def test_two_curators_import_at_once_and_a_follower_misses_nothing(
    services: list[Running], url: str
) -> None:
    with services[0].client() as client:
        create(client, "shared")
    revisions: list[int] = []
    failures: list[BaseException] = []

    def curate(service: Running, offset: int) -> None:
        try:
            with service.client() as client:
                for i in range(LISTS):
                    first = offset + i * ROWS
                    answer = import_rows(client, "shared", range(first, first + ROWS))
                    revisions.append(answer.revision)
        except BaseException as exc:
            failures.append(exc)

    threads = [
        threading.Thread(target=curate, args=(service, number * 1_000_000))
        for number, service in enumerate(services)
    ]
    store = BankStore(url)
    seen = store.head().revision
    last = seen + 2 * LISTS
    followed: dict[int, SignalRow] = {}
    for thread in threads:
        thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while seen < last and not failures and time.monotonic() < deadline:
        with store.view() as view:
            log = log_since(view, seen)
            assert [line.revision for line in log] == list(range(seen + 1, view.head.revision + 1))
            follow(view, followed, seen)
            seen = view.head.revision
    for thread in threads:
        thread.join()
    assert failures == []
    assert sorted(revisions) == list(range(last - 2 * LISTS + 1, last + 1))
    assert list(followed) == sorted(followed)
    assert len(followed) == 2 * LISTS * ROWS == store.get_bank("shared").entry_count
    store.close()


def matches(client: Client, number: int) -> list[str]:
    signal = types_pb2.Signal(algorithm="pdq", value=f"{number:064x}")
    answer = client.matching.Match(matching_pb2.MatchRequest(signal=signal), timeout=PATIENCE_S)
    return [match.bank for match in answer.matches]


def staleness_ms(client: Client) -> int:
    status = client.matching.GetIndexStatus(
        matching_pb2.GetIndexStatusRequest(), timeout=PATIENCE_S
    )
    return int(status.staleness.ToMilliseconds())


def test_a_session_that_holds_the_head_stops_no_read(services: list[Running], url: str) -> None:
    """More writers than threads wait for it. They fail clearly, or go on once it lets go."""
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid)"
        " WHERE NOT granted AND datname = current_database()"
    )
    driver_url = url.replace("+psycopg", "", 1)

    def change(client: Client, number: int) -> str:
        try:
            create(client, f"held-{number}")
        except ServiceError as exc:
            return f"{exc.code().name} {exc}"
        return "OK"

    writers = 3 * MAX_CHANGES
    with (
        services[0].client() as client,
        psycopg.connect(driver_url) as psql,
        psycopg.connect(driver_url, autocommit=True) as looking,
        ThreadPoolExecutor(writers) as threads,
    ):
        create(client, "held")
        import_rows(client, "held", range(5, 6))
        psql.execute("SELECT * FROM head FOR UPDATE")
        changes = [threads.submit(change, client, number) for number in range(writers)]
        until(lambda: looking.execute(waiting).fetchone() == (MAX_CHANGES,), "no writer waits")
        for _ in range(20):
            listed = client.banks.ListEntries(banks_pb2.ListEntriesRequest(parent="banks/held"))
            assert len(listed.entries) == 1
            assert client.banks.GetBank(banks_pb2.GetBankRequest(name="banks/held")).entry_count
            assert "banks/held" in matches(client, 5)
        psql.rollback()
        outcomes = [future.result() for future in changes]
        held = [text for text in outcomes if text != "OK"]
        assert all("UNAVAILABLE" in text and "holds a lock" in text for text in held)
        created = client.banks.ListBanks(banks_pb2.ListBanksRequest(page_size=1000)).banks
        assert sum(bank.name.startswith("banks/held-") for bank in created) == outcomes.count("OK")


def test_a_database_that_goes_away_and_comes_back(
    services: list[Running], postgres: PostgresServer
) -> None:
    with services[0].client() as client, services[1].client() as other:
        create(client, "away")
        number = 2**255 - 2**100
        import_rows(client, "away", range(number, number + 1))
        postgres.stop()
        try:
            until(lambda: staleness_ms(client) >= 500)
            assert matches(client, number) == ["banks/away"]
            with pytest.raises(grpc.RpcError) as caught:
                create(client, "other")
            error = explain(caught.value)
            assert (error.code(), error.reason) == (
                grpc.StatusCode.UNAVAILABLE,
                "BANK_STORE_UNAVAILABLE",
            )
            with pytest.raises(grpc.RpcError) as caught:
                import_rows(client, "away", range(5))
            assert explain(caught.value).code() is grpc.StatusCode.UNAVAILABLE
            assert matches(client, number) == ["banks/away"]
        finally:
            postgres.start()

        def is_imported() -> bool:
            try:
                import_rows(client, "away", range(number + 1, number + 2))
            except grpc.RpcError:
                return False
            return True

        until(is_imported)
        until(lambda: matches(other, number + 1) == ["banks/away", "banks/away"])
        until(lambda: staleness_ms(client) == 0)
