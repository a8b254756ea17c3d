"""Cancelling what a thread does in the store, at any moment, whatever it waits for."""

import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from typing import TypeVar

import psutil
import pytest
import sqlalchemy as sa

from featsvc.banks.interruption import Interruption, check, is_cancelled, stopped_by
from featsvc.banks.sql.database import MAX_CONNECTIONS
from featsvc.banks.store import BankStore
from featsvc.errors import NotFound, TimedOut
from tests.banks import endless
from tests.banks.lists import hex_list, list_file
from tests.banks.test_migrations import engine_of
from tests.patience import PATIENCE_S, until

T = TypeVar("T")

MOMENTS = 25
"""How many times a change is cancelled at a random moment."""


def cancelled_when(condition: Callable[[], object], call: Callable[[], T]) -> T:
    """Run the call on a thread and cancel it once the condition holds. Raises its error."""
    interruption = Interruption()
    with ThreadPoolExecutor(thread_name_prefix="bank-call") as threads:
        running = threads.submit(interruption.run, call)
        until(lambda: condition() or running.done())
        interruption.cancel()
        return running.result(timeout=PATIENCE_S)


def test_without_an_interruption_nothing_is_cancelled() -> None:
    check()
    assert not is_cancelled()
    with stopped_by(pytest.fail):
        pass


def test_a_call_that_begins_after_the_cancellation_does_not_begin() -> None:
    interruption = Interruption()
    interruption.cancel()
    with pytest.raises(TimedOut):
        interruption.run(pytest.fail)
    check()


def test_a_wait_is_stopped_until_it_ends_and_never_after() -> None:
    stops: list[bool] = []
    waiting = threading.Event()

    def wait() -> None:
        with stopped_by(lambda: stops.append(waiting.is_set())):
            waiting.set()
            # As for a statement that begins just after it was stopped.
            until(lambda: len(stops) > 2)
            waiting.clear()
            raise NotFound("what a stopped wait ends with is replaced")
        pytest.fail("it goes on")

    with pytest.raises(TimedOut):
        cancelled_when(waiting.is_set, wait)
    assert stops
    assert all(stops)


def test_a_call_that_is_done_is_not_cancelled() -> None:
    interruption = Interruption()
    assert interruption.run(lambda: 5) == 5
    interruption.cancel()


def test_a_wait_for_a_connection_ends(store: BankStore) -> None:
    store.head()
    views: list[object] = []
    with ExitStack() as stack:

        def use_all() -> None:
            while True:
                views.append(stack.enter_context(store.view()))

        with pytest.raises(TimedOut):
            cancelled_when(lambda: len(views) == MAX_CONNECTIONS, use_all)
    store.head()


def _is_past(moment: float) -> bool:
    return time.monotonic() > moment


def test_a_change_cancelled_at_any_moment_is_made_or_not(bank: BankStore, store_url: str) -> None:
    """Its connection is used again, or a new one; none has temporary tables."""
    rng = random.Random(15)
    engine = engine_of(store_url)
    for number in range(MOMENTS):
        before = bank.head().revision, bank.get_bank("b").entry_count
        content = hex_list(range(number * 1000, number * 1000 + 1000))
        passed = partial(_is_past, time.monotonic() + rng.random() * 0.1)
        with suppress(TimedOut):
            cancelled_when(passed, partial(bank.import_entries, "b", list_file(content)))
        after = bank.head().revision, bank.get_bank("b").entry_count
        assert after in (before, (before[0] + 1, before[1] + 1000))
        assert not endless.is_locked(engine)
    assert bank.import_entries("b", list_file(hex_list([2**200]))).revision
    with engine.connect() as connection:
        if engine.dialect.name == "postgresql":
            query = "SELECT count(*) FROM pg_class WHERE relname LIKE 'import_%' AND relkind = 'r'"
            assert connection.scalar(sa.text(query)) == 0
    engine.dispose()


@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_server_that_does_not_answer_holds_no_thread(store: BankStore, store_url: str) -> None:
    """As behind a network that is gone: the server cannot be asked to cancel."""
    engine = engine_of(store_url)
    store.create_bank(endless.ENDLESS)
    endless.endless_changes(engine)
    with endless.endless_reads(engine):
        with engine.connect() as connection:
            find = (
                "SELECT pid FROM pg_stat_activity WHERE query LIKE '%banks.%' AND state = 'active'"
            )

            def frozen() -> bool:
                if not endless.threads_in_statements():
                    return False
                pids = connection.scalars(sa.text(find + " AND pid <> pg_backend_pid()")).all()
                connection.rollback()
                for pid in pids:
                    psutil.Process(pid).suspend()
                    stopped.append(psutil.Process(pid))
                return bool(pids)

            stopped: list[psutil.Process] = []
            try:
                with pytest.raises(TimedOut):
                    cancelled_when(frozen, lambda: store.get_bank(endless.ENDLESS))
            finally:
                for process in stopped:
                    process.resume()
        until(lambda: endless.running_statements(engine) == 0)
    store.head()
    engine.dispose()
