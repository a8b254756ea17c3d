"""SIGTERM while calls of BankService run that would not end: the service ends, all is undone."""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import grpc
from featsvc_client.v1 import banks_pb2 as pb
from featsvc_client.v1 import banks_pb2_grpc

from featsvc.banks.store import BankStore
from tests.banks import endless
from tests.banks.conftest import postgres as postgres  # noqa: PLC0414 - a fixture
from tests.banks.conftest import store_url as store_url  # noqa: PLC0414
from tests.banks.lists import hex_list, list_file
from tests.banks.test_migrations import engine_of
from tests.integration.running import failure, own_connection, running
from tests.patience import PATIENCE_S, until

_CONTEXT = pb.ChangeContext(actor=endless.ENDLESS)


def test_sigterm_ends_calls_that_run(store_url: str, data_dir: Path) -> None:
    workers = 1 if store_url.startswith("sqlite") else 2
    store, engine = BankStore(store_url), engine_of(store_url)
    store.create_bank("b")
    store.import_entries("b", list_file(hex_list(range(9))))
    endless.endless_changes(engine)
    before = store.head(), store.list_entries("b"), store.list_banks()
    release = threading.Event()

    def paused() -> Iterator[pb.ImportEntriesRequest]:
        yield pb.ImportEntriesRequest(options=pb.ImportOptions(parent="banks/b"))
        yield pb.ImportEntriesRequest(chunk=hex_list(range(100)))
        release.wait(PATIENCE_S)

    environ = {"FEATSVC_BANKS_URL": store_url, "FEATSVC_SERVER_GRACE_PERIOD_S": "0.2"}
    with ExitStack() as stack:
        stack.callback(release.set)
        service = stack.enter_context(running(data_dir, "--workers", str(workers), environ=environ))
        calls: list[Callable[[], object]] = []
        for _ in range(2 * workers):
            channel = stack.enter_context(own_connection(service.address))
            banks = banks_pb2_grpc.BankServiceStub(channel)
            request = pb.DeleteBankRequest(name="banks/b", force=True, context=_CONTEXT)
            calls.append(banks.DeleteBank.future(request).result)
            importing = banks.ImportEntries(paused())
            next(importing)
            calls.append(partial(list, importing))
        until(lambda: endless.is_locked(engine), "no change runs")
        assert service.stop() == 0
        for call in calls:
            assert failure(call).code() is grpc.StatusCode.UNAVAILABLE
        log = service.log
    until(lambda: endless.running_statements(engine) == 0, "a statement runs on")
    assert not endless.is_locked(engine)
    assert (store.head(), store.list_entries("b"), store.list_banks()) == before
    assert "killing it" not in log
    assert "Traceback" not in log
    assert "incident" not in log
    engine.dispose()
    store.close()
