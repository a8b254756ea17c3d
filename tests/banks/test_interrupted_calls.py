"""A caller that leaves, or its deadline, ends its call of BankService: every method, for real.

The service runs in this process, on a real database whose statements have no end.
"""

import asyncio
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest
import sqlalchemy as sa
from featsvc_client.v1 import banks_pb2 as pb
from featsvc_client.v1 import banks_pb2_grpc, types_pb2

from featsvc.banks.store import BankStore
from featsvc.config import Config
from featsvc.config.keys import BanksConfig, ServerConfig
from featsvc.service.banks import MAX_CHANGES
from featsvc.worker import WorkerSpec, serving_worker
from tests.banks import endless
from tests.banks.databases import DATABASES
from tests.banks.endless import ENDLESS
from tests.banks.lists import hex_list, list_file
from tests.banks.test_migrations import engine_of
from tests.patience import PATIENCE_S, until

pytestmark = pytest.mark.slow

BANK = "banks/b"
EXPORTED_ENTRIES = 25_000
_DEADLINE_S = 0.5

Call = Callable[[Any, Any], Any]
"""Starts a call with a stub and a deadline, in seconds or None; returns a grpc.Future or stream."""


@dataclass
class Service:
    store: BankStore
    engine: sa.Engine
    banks: Any
    withdrawn: int
    """The id of an entry of the bank."""

    def changes(self, entry: int) -> "dict[str, Call]":
        """Calls that change the bank, by method; `entry` is the id of a live entry."""
        return changes(f"{BANK}/entries/{entry}", f"{BANK}/entries/{self.withdrawn}")

    def state(self) -> object:
        return self.store.head(), self.store.list_banks(), self.store.list_entries("b")

    def check_idle(self) -> None:
        """Assert that no thread, statement or lock is left."""
        until(lambda: endless.threads_in_store() == [], "a thread works on")
        until(lambda: endless.running_statements(self.engine) == 0, "a statement runs on")
        assert not endless.is_locked(self.engine)


def serve(config: Config, stopping: threading.Event, serving: "Callable[[str], None]") -> None:
    async def main() -> None:
        async with serving_worker(WorkerSpec(config, 0, "redis://127.0.0.1:1")) as address:
            serving(address)
            await asyncio.to_thread(stopping.wait)

    asyncio.run(main())


@pytest.fixture(scope="module", params=DATABASES)
def service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder: Path = tmp_path_factory.mktemp("interrupted")
    url = f"sqlite:///{folder / 'banks.db'}"
    if request.param == "postgresql":
        url = request.getfixturevalue("postgres").create_database()
    store, engine = BankStore(url), engine_of(url)
    store.create_bank(ENDLESS)
    store.create_bank("b")
    store.import_entries("b", list_file(hex_list([1])))
    store.import_entries("b", list_file(hex_list([1, 2])))
    withdrawn = store.list_entries("b").entries[-1].id
    store.withdraw_entries("b", [withdrawn])
    store.create_bank("big")
    lines = hex_list(range(EXPORTED_ENTRIES))
    store.import_entries("big", list_file(lines, chunk_bytes=2**20))
    endless.endless_changes(engine)
    config = Config(
        data_dir=str(folder),
        server=ServerConfig(listen="127.0.0.1:0", grace_period_s=PATIENCE_S),
        # The follower reads what a test makes endless only if it must.
        banks=BanksConfig(url=url, poll_interval_ms=3_600_000),
    )
    address: list[str] = []
    stopping = threading.Event()
    thread = threading.Thread(target=serve, args=(config, stopping, address.append))
    thread.start()
    until(lambda: address or not thread.is_alive())
    with grpc.insecure_channel(address[0]) as channel:
        yield Service(store, engine, banks_pb2_grpc.BankServiceStub(channel), withdrawn)
    stopping.set()
    thread.join()
    engine.dispose()
    store.close()


def context(actor: str = ENDLESS) -> pb.ChangeContext:
    return pb.ChangeContext(actor=actor)


def signal(number: int) -> types_pb2.Signal:
    return types_pb2.Signal(algorithm="pdq", value=f"{number:064x}")


def import_requests() -> Iterator[pb.ImportEntriesRequest]:
    options = pb.ImportOptions(parent=BANK, format="pdq-text", context=context())
    yield pb.ImportEntriesRequest(options=options)
    yield pb.ImportEntriesRequest(chunk=hex_list(range(100, 200)))


def evaluation(bank: str) -> Iterator[pb.EvaluateBankRequest]:
    yield pb.EvaluateBankRequest(options=pb.EvaluateOptions(name=bank))
    yield pb.EvaluateBankRequest(sample=pb.Sample(signal=signal(1), positive=True))


def whole(answers: Any) -> Any:
    """Read a stream on a thread, as a client does, without waiting for it here."""
    threading.Thread(target=_read, args=(answers,), name="reader").start()
    return answers


def _read(answers: Any) -> None:
    try:
        for _ in answers:
            pass
    except grpc.RpcError:
        pass


def unary(method: str, request: Any) -> Call:
    return lambda stub, timeout: getattr(stub, method).future(request, timeout=timeout)


slow = f"banks/{ENDLESS}"


def changes(entry: str, withdrawn: str) -> dict[str, Call]:
    """By method; `entry` is live."""
    return {
        "CreateBank": unary("CreateBank", pb.CreateBankRequest(bank_id="n", context=context())),
        "UpdateBank": unary(
            "UpdateBank",
            pb.UpdateBankRequest(
                bank=pb.Bank(name=BANK, display_name="n"),
                update_mask={"paths": ["display_name"]},
                context=context(),
            ),
        ),
        "DeleteBank": unary(
            "DeleteBank", pb.DeleteBankRequest(name="banks/b", force=True, context=context())
        ),
        "AddEntries": unary(
            "AddEntries",
            pb.AddEntriesRequest(
                parent=BANK,
                entries=[pb.Entry(signals=[{"algorithm": "pdq", "value": f"{9:064x}"}])],
                context=context(),
            ),
        ),
        "WithdrawEntries": unary(
            "WithdrawEntries",
            pb.WithdrawEntriesRequest(parent=BANK, names=[entry], context=context()),
        ),
        "QuarantineEntries": unary(
            "QuarantineEntries",
            pb.QuarantineEntriesRequest(parent=BANK, names=[entry], context=context()),
        ),
        "ReleaseEntries": unary(
            "ReleaseEntries",
            pb.ReleaseEntriesRequest(parent=BANK, names=[entry], context=context()),
        ),
        "EditEntries": unary(
            "EditEntries",
            pb.EditEntriesRequest(parent=BANK, names=[entry], note="n", context=context()),
        ),
        "RestoreEntries": unary(
            "RestoreEntries",
            pb.RestoreEntriesRequest(parent=BANK, names=[withdrawn], context=context()),
        ),
        "RollbackBank": unary(
            "RollbackBank", pb.RollbackBankRequest(name=BANK, revision=3, context=context())
        ),
        "ImportEntries": lambda stub, timeout: whole(
            stub.ImportEntries(import_requests(), timeout=timeout)
        ),
    }


READS: dict[str, Call] = {
    "GetBank": unary("GetBank", pb.GetBankRequest(name=slow)),
    "ListBanks": unary("ListBanks", pb.ListBanksRequest()),
    "GetEntry": unary("GetEntry", pb.GetEntryRequest(name=f"{slow}/entries/1")),
    "ListEntries": unary("ListEntries", pb.ListEntriesRequest(parent=slow)),
    # Without a line in the log, it looks for the bank.
    "ListRevisions": unary(
        "ListRevisions",
        pb.ListRevisionsRequest(parent=slow, page_token="MQ"),  # noqa: S106
    ),
    "DiffRevisions": unary(
        "DiffRevisions", pb.DiffRevisionsRequest(parent=slow, from_revision=1, to_revision=3)
    ),
    "CompareBanks": unary("CompareBanks", pb.CompareBanksRequest(name=BANK, other=slow)),
    "ListMatchCounts": unary("ListMatchCounts", pb.ListMatchCountsRequest(parent=slow)),
    "ExportEntries": lambda stub, timeout: whole(
        stub.ExportEntries(pb.ExportEntriesRequest(parent=slow), timeout=timeout)
    ),
    "EvaluateBank": lambda stub, timeout: stub.EvaluateBank.future(
        evaluation(slow), timeout=timeout
    ),
}


def leave(call: Any) -> None:
    """Cancel the call as soon as a statement runs."""
    until(lambda: endless.threads_in_statements() or call.done(), "no statement runs")
    assert not call.done(), (call.details(), call.result())
    call.cancel()
    assert call.code() is grpc.StatusCode.CANCELLED


def let_expire(banks: Any, starts: Iterable[Call]) -> None:
    """Make calls at the same time; wait for their deadline."""
    calls = [start(banks, _DEADLINE_S) for start in starts]
    for call in calls:
        until(call.done)
        assert call.code() is grpc.StatusCode.DEADLINE_EXCEEDED, call.details()


def test_every_method_is_in_the_matrix() -> None:
    (methods,) = pb.DESCRIPTOR.services_by_name.values()
    assert {method.name for method in methods.methods} == changes("", "").keys() | READS.keys()


def test_a_change_whose_caller_leaves_is_undone(service: Service) -> None:
    entry, *_ = service.store.list_entries("b").entries
    for method, start in service.changes(entry.id).items():
        if method == "ReleaseEntries":
            service.store.quarantine_entries("b", [entry.id])
        before = service.state()
        leave(start(service.banks, PATIENCE_S))
        service.check_idle()
        assert service.state() == before, method
        # The next change of the same worker is made.
        update = pb.UpdateBankRequest(
            bank=pb.Bank(name=BANK, description=method),
            update_mask={"paths": ["description"]},
            context=context("next"),
        )
        assert service.banks.UpdateBank(update, timeout=PATIENCE_S).description == method


def test_a_change_whose_deadline_passes_is_undone(service: Service) -> None:
    entry, *_ = service.store.list_entries("b").entries
    service.store.quarantine_entries("b", [entry.id])
    before = service.state()
    let_expire(service.banks, service.changes(entry.id).values())
    service.check_idle()
    assert service.state() == before
    service.banks.GetBank(pb.GetBankRequest(name=BANK), timeout=PATIENCE_S)


def test_a_read_whose_caller_leaves_ends(service: Service) -> None:
    with endless.endless_reads(service.engine):
        for start in READS.values():
            leave(start(service.banks, PATIENCE_S))
            service.check_idle()
            service.banks.GetBank(pb.GetBankRequest(name=BANK), timeout=PATIENCE_S)


def test_a_read_whose_deadline_passes_ends(service: Service) -> None:
    with endless.endless_reads(service.engine):
        let_expire(service.banks, READS.values())
        service.check_idle()
        service.banks.GetBank(pb.GetBankRequest(name=BANK), timeout=PATIENCE_S)


def _work_in_store(threads: int) -> bool:
    return len(endless.threads_in_store()) == threads


def test_a_change_that_waits_for_others_ends(service: Service) -> None:
    """It does not wait until the other change ends, nor is it made then."""
    before = service.store.head()
    with endless.write_lock(service.engine):
        starts = list(service.changes(1).values())
        # As many at once as there are threads.
        for first in range(0, len(starts), MAX_CHANGES):
            some = starts[first : first + MAX_CHANGES]
            calls = [start(service.banks, PATIENCE_S) for start in some]
            until(partial(_work_in_store, len(calls)))
            for call in calls:
                call.cancel()
            until(lambda: endless.threads_in_store() == [], "a thread waits on")
    service.check_idle()
    assert service.store.head() == before


def test_an_import_whose_sender_pauses_ends(service: Service) -> None:
    before = service.store.head()
    release = threading.Event()

    def requests() -> Iterator[pb.ImportEntriesRequest]:
        yield from import_requests()
        release.wait(PATIENCE_S)

    answers = whole(service.banks.ImportEntries(requests()))
    until(endless.threads_in_store)
    answers.cancel()
    service.check_idle()
    release.set()
    assert service.store.head() == before


def test_an_export_that_nobody_reads_ends(service: Service) -> None:
    answers = service.banks.ExportEntries(pb.ExportEntriesRequest(parent="banks/big"))
    for _ in range(2):
        next(answers)
    until(endless.threads_in_store)
    answers.cancel()
    service.check_idle()


def test_as_many_calls_as_there_are_threads_leave_them_all(service: Service) -> None:
    """More than twice the threads and connections of a worker: none is lost."""
    with endless.endless_reads(service.engine), ExitStack() as stack:
        for _ in range(3):
            calls = [READS["GetBank"](service.banks, PATIENCE_S) for _ in range(20)]
            for call in calls:
                stack.callback(call.cancel)
            until(lambda: len(endless.threads_in_statements()) > 5)
            for call in calls:
                call.cancel()
            service.check_idle()
        service.banks.GetBank(pb.GetBankRequest(name=BANK), timeout=PATIENCE_S)
