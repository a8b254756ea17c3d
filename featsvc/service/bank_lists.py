"""Lists through streams: what ImportEntries and ExportEntries of `BankServicer` do.

The store is synchronous. An import reads the request stream from its own thread, one message at a
time, which is all the flow control it needs; an export hands one piece at a time to the loop.
"""

import asyncio
import contextlib
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, TypeVar

from featsvc_client.v1 import banks_pb2

from featsvc import errors
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.results import ImportResult
from featsvc.banks.store import BankStore
from featsvc.matching.follower import Follower
from featsvc.service.conversions import bank_lists as convert
from featsvc.service.conversions import banks as convert_banks

T = TypeVar("T")

MAX_STREAMS = 8
PROGRESS_INTERVAL_S = 0.2
MAX_CHUNK_BYTES = 2**20
SERVE_TIMEOUT_S = 30.0
_BAD_ROWS_A_MESSAGE = 1000
_CANCEL_DELAY_S = 0.05


class ListStreams:
    """Imports and exports of one worker, on threads of their own."""

    def __init__(self, store: BankStore, follower: Follower) -> None:
        self._store = store
        self._follower = follower
        # Their own threads: a list that arrives slowly must not hold those of short calls.
        self._threads = ThreadPoolExecutor(MAX_STREAMS, thread_name_prefix="bank-list")
        self._streams = 0

    async def import_entries(
        self, requests: AsyncIterator[banks_pb2.ImportEntriesRequest]
    ) -> AsyncGenerator[banks_pb2.ImportEntriesResponse, None]:
        """Progress, then the result, and the result again once it is served."""
        opening = await anext(aiter(requests), None)
        if opening is None or opening.WhichOneof("message") != "options":
            raise errors.InvalidInput(
                "options: the first message of an import must carry them", field="options"
            )
        options = opening.options
        gone = threading.Event()
        file = ListFile(
            _chunks(requests),
            name=options.file_name,
            format=options.format,
            size_bytes=options.file_bytes,
            cut_off=gone.is_set,
            keep_rejected=True,
        )
        job = partial(
            self._store.import_entries,
            convert_banks.bank_id(options.parent, "options.parent"),
            file,
            convert.import_options(options),
            convert_banks.context(options.context),
        )
        importing = self._submit(job)
        try:
            async for answer in self._progress(file, importing):
                yield answer
        except (asyncio.CancelledError, GeneratorExit):
            gone.set()
            importing.add_done_callback(_forget)
            raise

    async def _progress(
        self, file: ListFile, importing: "asyncio.Future[ImportResult]"
    ) -> AsyncIterator[banks_pb2.ImportEntriesResponse]:
        """Messages until the import has ended, then its result, and again once it is served."""
        result = None
        while result is None:
            result = await _finished(importing)
            bad = _rejected(file)
            while len(bad) == _BAD_ROWS_A_MESSAGE:
                yield _message(file, None, bad)
                bad = _rejected(file)
            yield _message(file, result, bad)
        # A long list is committed well before it is served.
        last = _message(file, result, [])
        last.served = await serve(self._follower, result.revision)
        yield last

    async def export_entries(
        self, request: banks_pb2.ExportEntriesRequest
    ) -> AsyncGenerator[banks_pb2.ExportEntriesResponse, None]:
        """What is dropped, then the list in pieces."""
        bank_id = convert_banks.bank_id(request.parent, "parent")
        export = await asyncio.to_thread(
            self._store.export_entries, bank_id, request.format or "csv", request.revision
        )
        yield banks_pb2.ExportEntriesResponse(dropped_fields=export.dropped_fields)
        async for chunk in self._from_thread(export.chunks):
            yield banks_pb2.ExportEntriesResponse(chunk=chunk)

    def _submit(self, job: Callable[[], T]) -> "asyncio.Future[T]":
        """Raises Overloaded where every thread for lists is taken."""
        if self._streams >= MAX_STREAMS:
            raise errors.Overloaded(
                f"{MAX_STREAMS} imports and exports are running, which is all this worker takes",
                retry_after_ms=5000,
            )
        self._streams += 1
        running = asyncio.get_running_loop().run_in_executor(self._threads, job)
        running.add_done_callback(self._ended)
        return running

    def _ended(self, _: "asyncio.Future[Any]") -> None:
        self._streams -= 1

    async def _from_thread(self, chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
        """Pieces made by one thread from beginning to end: a database connection stays on it."""
        loop = asyncio.get_running_loop()
        queue: asyncio.Queue[bytes | None] = asyncio.Queue(maxsize=4)

        def produce() -> None:
            try:
                for chunk in chunks:
                    asyncio.run_coroutine_threadsafe(queue.put(chunk), loop).result()
            finally:
                asyncio.run_coroutine_threadsafe(queue.put(None), loop).result()

        producing = self._submit(produce)
        try:
            while (chunk := await queue.get()) is not None:
                yield chunk
            await producing
        finally:
            # A caller that went away: drain, so that the thread ends.
            while not producing.done():
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(queue.get(), 0.05)


async def _finished(importing: "asyncio.Future[ImportResult]") -> ImportResult | None:
    """The result, or None where it is not there after one interval of progress."""
    done, _ = await asyncio.wait({importing}, timeout=PROGRESS_INTERVAL_S)
    return importing.result() if done else None


def _rejected(file: ListFile) -> list[banks_pb2.BadRow]:
    return convert.bad_rows(file.take_rejected(_BAD_ROWS_A_MESSAGE))


def _forget(importing: "asyncio.Future[ImportResult]") -> None:
    """Nobody waits for it any more; what it raises is that its file broke off."""
    if not importing.cancelled():
        importing.exception()


def _message(
    file: ListFile, result: ImportResult | None, bad: list[banks_pb2.BadRow]
) -> banks_pb2.ImportEntriesResponse:
    message = convert.import_result(result) if result else banks_pb2.ImportEntriesResponse()
    message.bytes_read = file.bytes_read
    message.rows_read = file.rows_read
    message.bad.extend(bad)
    return message


def _chunks(requests: AsyncIterator[banks_pb2.ImportEntriesRequest]) -> Iterator[bytes]:
    """The file's pieces, fetched from the event loop by the thread that imports.

    To grpc the stream of a client that goes away ends like any other, and the call is cancelled a
    moment later: so `ListFile` is told how much to expect, and asks whether the client is gone.
    """
    loop = asyncio.get_running_loop()

    async def fetch() -> bytes | None:
        message = await anext(aiter(requests), None)
        if message is None:
            await asyncio.sleep(_CANCEL_DELAY_S)
            return None
        if message.WhichOneof("message") != "chunk":
            raise errors.InvalidInput("options: only the first message may carry them")
        if len(message.chunk) > MAX_CHUNK_BYTES:
            raise errors.InvalidInput(
                f"chunk: {len(message.chunk)} bytes, at most {MAX_CHUNK_BYTES}", field="chunk"
            )
        return message.chunk

    def pieces() -> Iterator[bytes]:
        # The next one is on its way while this one is parsed.
        coming = asyncio.run_coroutine_threadsafe(fetch(), loop)
        while (chunk := coming.result()) is not None:
            coming = asyncio.run_coroutine_threadsafe(fetch(), loop)
            yield chunk

    return pieces()


async def serve(follower: Follower, revision: int) -> bool:
    """Let this worker see what it has just committed, so that a curator can try it at once."""
    if revision:
        try:
            await asyncio.to_thread(follower.wait_for, revision, SERVE_TIMEOUT_S)
        except (errors.TimedOut, errors.Unavailable):
            return False
    return True
