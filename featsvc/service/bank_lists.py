"""ImportEntries and ExportEntries of `BankServicer`: lists as streams.

The store is synchronous. The thread of an import reads the request stream one message at a time,
which is its flow control; the thread of an export passes one piece at a time to the event loop.
"""

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator
from concurrent.futures import Future
from contextlib import aclosing, closing
from functools import partial
from typing import Any, TypeVar

from featsvc_client.v1 import banks_pb2 as pb

from featsvc import errors
from featsvc.banks.interruption import is_cancelled, stopped_by
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.results import ImportResult
from featsvc.banks.store import BankStore
from featsvc.matching.follower import Follower
from featsvc.service.conversions import bank_lists as convert
from featsvc.service.conversions import banks as convert_banks
from featsvc.service.store_calls import StoreCall, StoreCalls

T = TypeVar("T")
Opening = TypeVar("Opening", pb.ImportEntriesRequest, pb.EvaluateBankRequest)

MAX_STREAMS = 8
PROGRESS_INTERVAL_S = 0.2
MAX_CHUNK_BYTES = 2**20
SERVE_TIMEOUT_S = 30.0
_SERVE_SLICE_S = 0.2
_CHUNKS_WAITING = 4
_BAD_ROWS_A_MESSAGE = 1000
_CANCEL_DELAY_S = 0.05


class ListStreams:
    """Imports and exports of one worker, on separate threads."""

    def __init__(self, store: BankStore, follower: Follower, calls: StoreCalls) -> None:
        self._store = store
        self._follower = follower
        self._calls = calls
        # A list that arrives slowly must not hold the threads of short calls.
        self._lists = StoreCalls(MAX_STREAMS, "bank-list")
        self._streams = 0

    async def import_entries(
        self, requests: AsyncIterator[pb.ImportEntriesRequest]
    ) -> AsyncGenerator[pb.ImportEntriesResponse, None]:
        """Yield progress, the plan, the result, and the result again once it is served."""
        options = (await read_opening(requests)).options
        file = ListFile(
            _chunks(requests),
            name=options.file_name,
            format=options.format,
            size_bytes=options.file_bytes,
            sender_gone=is_cancelled,
            keep_rejected=True,
        )
        plan = _Plan()
        job = partial(
            self._store.import_entries,
            convert_banks.bank_id(options.parent, "options.parent"),
            file,
            convert.import_options(options),
            convert_banks.context(options.context),
            on_planned=plan.announce,
        )
        importing = self._submit(job)
        try:
            async for answer in self._progress(file, importing.result, plan):
                yield answer
        finally:
            await importing.end()

    async def _progress(
        self, file: ListFile, importing: "asyncio.Future[ImportResult]", plan: "_Plan"
    ) -> AsyncIterator[pb.ImportEntriesResponse]:
        """Yield progress until the import ends, its result, and the result again once served."""
        result = None
        while result is None:
            result = await _wait_for_result(importing, plan)
            bad = _take_bad_rows(file)
            while len(bad) == _BAD_ROWS_A_MESSAGE:
                yield _message(file, None, bad)
                bad = _take_bad_rows(file)
            yield _message(file, result, bad)
            if plan.is_due:
                yield plan.message(file)
                plan.sent.set_result(None)
        # A long list is committed long before it is served.
        last = _message(file, result, [])
        last.served = await serve(self._follower, result.revision)
        yield last

    async def export_entries(
        self, request: pb.ExportEntriesRequest
    ) -> AsyncGenerator[pb.ExportEntriesResponse, None]:
        """Yield the dropped fields, then the list in pieces."""
        bank_id = convert_banks.bank_id(request.parent, "parent")
        export = await self._calls.run(
            self._store.export_entries, bank_id, request.format or "csv", request.revision
        )
        yield pb.ExportEntriesResponse(dropped_fields=export.dropped_fields)
        async with aclosing(self._from_thread(export.chunks)) as chunks:
            async for chunk in chunks:
                yield pb.ExportEntriesResponse(chunk=chunk)

    def _submit(self, job: Callable[[], T]) -> StoreCall[T]:
        """Run a job on a thread. Raises Overloaded if all threads for lists are in use."""
        if self._streams >= MAX_STREAMS:
            raise errors.Overloaded(
                f"this worker runs {MAX_STREAMS} imports and exports at a time; try again later",
                retry_after_ms=5000,
            )
        self._streams += 1
        running = self._lists.start(job)
        running.result.add_done_callback(self._ended)
        return running

    def _ended(self, _: "asyncio.Future[Any]") -> None:
        self._streams -= 1

    async def _from_thread(
        self, chunks: Generator[bytes, None, None]
    ) -> AsyncGenerator[bytes, None]:
        """Yield pieces that one thread produces: a database connection must stay on its thread."""
        loop = asyncio.get_running_loop()
        produced: asyncio.Queue[bytes | None] = asyncio.Queue()
        room = asyncio.Semaphore(_CHUNKS_WAITING)

        def produce() -> None:
            with closing(chunks):
                for chunk in chunks:
                    _wait_for(asyncio.run_coroutine_threadsafe(room.acquire(), loop))
                    loop.call_soon_threadsafe(produced.put_nowait, chunk)

        producing = self._submit(produce)
        producing.result.add_done_callback(lambda _: produced.put_nowait(None))
        try:
            while (chunk := await produced.get()) is not None:
                room.release()
                yield chunk
            await producing.result
        finally:
            await producing.end()


async def read_opening(requests: AsyncIterator[Opening]) -> Opening:
    """Read the first message of a stream. Raises InvalidInput if it is not options."""
    opening = await anext(aiter(requests), None)
    if opening is None or opening.WhichOneof("message") != "options":
        raise errors.InvalidInput.at("options", "the first message of the stream must be options")
    return opening


class _Plan:
    """What an import is about to do, on its way from the thread of the import to the caller.

    The thread waits until it is sent: it changes nothing before.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.made: asyncio.Future[ImportResult] = self._loop.create_future()
        self.sent: Future[None] = Future()

    def announce(self, plan: ImportResult) -> None:
        """Wait, on the thread of the import, until the plan is sent. Raises TimedOut."""
        self._loop.call_soon_threadsafe(self.made.set_result, plan)
        _wait_for(self.sent)

    @property
    def is_due(self) -> bool:
        return self.made.done() and not self.sent.done()

    def message(self, file: ListFile) -> pb.ImportEntriesResponse:
        message = convert.planned_import(self.made.result())
        message.bytes_read = file.bytes_read
        message.rows_read = file.rows_read
        return message


async def _wait_for_result(
    importing: "asyncio.Future[ImportResult]", plan: _Plan
) -> ImportResult | None:
    """Return the result, or None if there is none after one interval of progress, or a plan."""
    awaited = {importing} if plan.sent.done() else {importing, plan.made}
    await asyncio.wait(awaited, timeout=PROGRESS_INTERVAL_S, return_when=asyncio.FIRST_COMPLETED)
    return importing.result() if importing.done() else None


def _take_bad_rows(file: ListFile) -> list[pb.BadRow]:
    return convert.bad_rows(file.take_rejected(_BAD_ROWS_A_MESSAGE))


def _message(
    file: ListFile, result: ImportResult | None, bad: list[pb.BadRow]
) -> pb.ImportEntriesResponse:
    message = convert.import_result(result) if result else pb.ImportEntriesResponse()
    message.bytes_read = file.bytes_read
    message.rows_read = file.rows_read
    message.bad.extend(bad)
    return message


def _wait_for(fetching: "Future[T]") -> T:
    """Wait on the thread of a store's call for the event loop. Raises TimedOut."""
    with stopped_by(fetching.cancel):
        return fetching.result()


def _chunks(requests: AsyncIterator[pb.ImportEntriesRequest]) -> Iterator[bytes]:
    """Yield the file's pieces, which the importing thread fetches from the event loop.

    When a client goes away its stream ends normally, and gRPC cancels the call a moment later. So
    `ListFile` gets the announced size, and checks whether the client is gone.
    """
    loop = asyncio.get_running_loop()

    async def fetch() -> bytes | None:
        message = await anext(aiter(requests), None)
        if message is None:
            await asyncio.sleep(_CANCEL_DELAY_S)
            return None
        if message.WhichOneof("message") != "chunk":
            raise errors.InvalidInput("options: only the first message may be options")
        if len(message.chunk) > MAX_CHUNK_BYTES:
            raise errors.InvalidInput.at(
                "chunk", f"must be at most {MAX_CHUNK_BYTES} bytes, not {len(message.chunk)}"
            )
        return message.chunk

    def pieces() -> Iterator[bytes]:
        # Fetch the next piece while this one is parsed.
        fetching = asyncio.run_coroutine_threadsafe(fetch(), loop)
        while (chunk := _wait_for(fetching)) is not None:
            fetching = asyncio.run_coroutine_threadsafe(fetch(), loop)
            yield chunk

    return pieces()


async def serve(follower: Follower, revision: int) -> bool:
    """Wait until this worker serves a revision; return whether it does. 0 is served at once."""
    deadline = time.monotonic() + SERVE_TIMEOUT_S
    while revision:
        try:
            # In slices, since a thread cannot be taken away from a caller that leaves.
            await asyncio.to_thread(follower.wait_for, revision, _SERVE_SLICE_S)
        except errors.TimedOut:
            if time.monotonic() > deadline:
                return False
        except errors.Unavailable:
            return False
        else:
            break
    return True
