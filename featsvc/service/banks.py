"""BankService: curated lists.

The store is synchronous, so each call makes one hop to a thread; imports read the request
stream from theirs, one message at a time, which is all the flow control they need.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import Any

from grpc import aio

from featsvc import errors
from featsvc.banks.list_file import ListFile
from featsvc.banks.results import ImportResult
from featsvc.banks.store import BankStore
from featsvc.matching.follower import Follower
from featsvc.service.conversions import banks as convert
from featsvc.v1 import banks_pb2, banks_pb2_grpc

Context = aio.ServicerContext[Any, Any]

PROGRESS_INTERVAL_S = 0.2
MAX_CHUNK_BYTES = 2**20
SERVE_TIMEOUT_S = 1.0


class BankServicer(banks_pb2_grpc.BankServiceServicer):
    def __init__(self, store: BankStore, follower: Follower) -> None:
        self._store = store
        self._follower = follower

    async def CreateBank(  # noqa: N802
        self, request: banks_pb2.CreateBankRequest, context: Context
    ) -> banks_pb2.Bank:
        bank = await asyncio.to_thread(
            self._store.create_bank,
            request.bank_id,
            convert.settings(request.bank),
            convert.context(request.context),
        )
        await self._serve(bank.revision)
        return convert.bank_message(bank)

    async def GetBank(  # noqa: N802
        self, request: banks_pb2.GetBankRequest, context: Context
    ) -> banks_pb2.Bank:
        bank = await asyncio.to_thread(self._store.get_bank, convert.bank_id(request.name))
        return convert.bank_message(bank)

    async def ListBanks(  # noqa: N802
        self, request: banks_pb2.ListBanksRequest, context: Context
    ) -> banks_pb2.ListBanksResponse:
        page = await asyncio.to_thread(
            self._store.list_banks, page_size=request.page_size, page_token=request.page_token
        )
        return banks_pb2.ListBanksResponse(
            banks=[convert.bank_message(b) for b in page.banks],
            next_page_token=page.next_page_token,
        )

    async def GetEntry(  # noqa: N802
        self, request: banks_pb2.GetEntryRequest, context: Context
    ) -> banks_pb2.Entry:
        entry = await asyncio.to_thread(self._store.get_entry, *convert.entry_id(request.name))
        return convert.entry_message(entry)

    async def ListEntries(  # noqa: N802
        self, request: banks_pb2.ListEntriesRequest, context: Context
    ) -> banks_pb2.ListEntriesResponse:
        paging = {"parent", "page_size", "page_token"}
        filters = [field.name for field, _ in request.ListFields() if field.name not in paging]
        if filters:
            # Ignoring a filter would answer a question that nobody asked.
            raise errors.NotBuilt(f"{filters[0]}: this filter has no body in this version")
        page = await asyncio.to_thread(
            self._store.list_entries,
            convert.bank_id(request.parent, "parent"),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return banks_pb2.ListEntriesResponse(
            entries=[convert.entry_message(e) for e in page.entries],
            next_page_token=page.next_page_token,
            total_entries=page.total_entries,
        )

    async def ImportEntries(  # noqa: N802
        self, request_iterator: AsyncIterator[banks_pb2.ImportEntriesRequest], context: Context
    ) -> AsyncIterator[banks_pb2.ImportEntriesResponse]:
        opening = await anext(aiter(request_iterator), None)
        if opening is None or opening.WhichOneof("message") != "options":
            raise errors.InvalidInput(
                "options: the first message of an import must carry them", field="options"
            )
        options = opening.options
        file = ListFile(_chunks(request_iterator), name=options.file_name, format=options.format)
        importing = asyncio.ensure_future(
            asyncio.to_thread(
                self._store.import_entries,
                convert.bank_id(options.parent, "options.parent"),
                file,
                convert.import_options(options),
                convert.context(options.context),
            )
        )
        result = None
        while result is None:
            result = await _finished(importing)
            if result:
                await self._serve(result.revision)
            yield _progress(file, result)

    async def _serve(self, revision: int) -> None:
        """Let this worker see what it has just committed, so that a curator can try it at once."""
        with contextlib.suppress(errors.TimedOut, errors.Unavailable):
            await asyncio.to_thread(self._follower.wait_for, revision, SERVE_TIMEOUT_S)


async def _finished(importing: "asyncio.Future[ImportResult]") -> ImportResult | None:
    """The result, or None where it is not there after one interval of progress."""
    done, _ = await asyncio.wait({importing}, timeout=PROGRESS_INTERVAL_S)
    return importing.result() if done else None


def _progress(file: ListFile, result: ImportResult | None) -> banks_pb2.ImportEntriesResponse:
    message = convert.import_result(result) if result else banks_pb2.ImportEntriesResponse()
    message.bytes_read = file.bytes_read
    message.rows_read = file.rows_read
    return message


def _chunks(requests: AsyncIterator[banks_pb2.ImportEntriesRequest]) -> Iterator[bytes]:
    """The file's pieces, fetched from the event loop by the thread that imports.

    A client that goes away makes the fetch raise, and so the import leave nothing behind.
    """
    loop = asyncio.get_running_loop()

    async def fetch() -> bytes | None:
        message = await anext(aiter(requests), None)
        if message is None:
            return None
        if message.WhichOneof("message") != "chunk":
            raise errors.InvalidInput("options: only the first message may carry them")
        if len(message.chunk) > MAX_CHUNK_BYTES:
            raise errors.InvalidInput(
                f"chunk: {len(message.chunk)} bytes, at most {MAX_CHUNK_BYTES}", field="chunk"
            )
        return message.chunk

    def pieces() -> Iterator[bytes]:
        while (chunk := asyncio.run_coroutine_threadsafe(fetch(), loop).result()) is not None:
            yield chunk

    return pieces()
