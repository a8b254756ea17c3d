"""BankService: curated lists.

The store is synchronous, so each call runs on a thread. A worker serves a change before it answers
the call, so that a curator can try the change at once.
"""

from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from typing import Any, ParamSpec, Protocol, TypeVar

from featsvc_client.v1 import banks_pb2 as pb
from featsvc_client.v1 import banks_pb2_grpc
from grpc import aio

from featsvc import errors
from featsvc.banks.results import EditResult
from featsvc.banks.store import BankStore
from featsvc.hashing.variants import make_entry, make_original
from featsvc.requests import Runtime, describe_entry
from featsvc.service.bank_evaluation import evaluate_bank
from featsvc.service.bank_lists import ListStreams, serve
from featsvc.service.conversions import bank_lists as convert_lists
from featsvc.service.conversions import banks as convert
from featsvc.service.conversions.signals import content as convert_content
from featsvc.service.conversions.signals import vector_models
from featsvc.service.store_calls import StoreCalls
from featsvc.signals.signal import Signal
from featsvc.signals.variants import ORIGINAL

Context = aio.ServicerContext[Any, Any]

DEFAULT_DAYS = 7
MAX_READS = 6
MAX_CHANGES = 6
"""Calls of a worker's store at a time, besides imports and exports. Reads never wait for writers,
who may all wait for the lock of one."""


class _Revised(Protocol):
    """The result of a change."""

    @property
    def revision(self) -> int: ...


P = ParamSpec("P")
R = TypeVar("R", bound=_Revised)


class BankServicer(banks_pb2_grpc.BankServiceServicer):
    """Every method of BankService; streams and evaluations are in other modules."""

    def __init__(self, runtime: Runtime, store: BankStore) -> None:
        self._runtime = runtime
        self._store = store
        self._reads = StoreCalls(MAX_READS, "bank-read")
        self._changes = StoreCalls(MAX_CHANGES, "bank-change")
        self._lists = ListStreams(store, runtime.follower, self._reads)

    async def _change(self, change: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
        """Make a change of the store, and wait until this worker serves its revision."""
        result = await self._changes.run(change, *args, **kwargs)
        await serve(self._runtime.follower, result.revision)
        return result

    async def CreateBank(self, request: pb.CreateBankRequest, context: Context) -> pb.Bank:
        bank = await self._change(
            self._store.create_bank,
            request.bank_id,
            convert.new_settings(request.bank),
            convert.context(request.context),
        )
        return convert.bank_message(bank)

    async def GetBank(self, request: pb.GetBankRequest, context: Context) -> pb.Bank:
        bank = await self._reads.run(self._store.get_bank, convert.bank_id(request.name))
        return convert.bank_message(bank)

    async def ListBanks(
        self, request: pb.ListBanksRequest, context: Context
    ) -> pb.ListBanksResponse:
        page = await self._reads.run(
            self._store.list_banks, page_size=request.page_size, page_token=request.page_token
        )
        return pb.ListBanksResponse(
            banks=[convert.bank_message(b) for b in page.banks],
            next_page_token=page.next_page_token,
        )

    async def UpdateBank(self, request: pb.UpdateBankRequest, context: Context) -> pb.Bank:
        bank = await self._change(
            self._store.update_bank,
            convert.bank_id(request.bank.name, "bank.name"),
            convert.setting_changes(request),
            convert.context(request.context),
            etag=request.bank.etag,
        )
        return convert.bank_message(bank)

    async def DeleteBank(
        self, request: pb.DeleteBankRequest, context: Context
    ) -> pb.DeleteBankResponse:
        result = await self._change(
            self._store.delete_bank,
            convert.bank_id(request.name),
            convert.context(request.context),
            etag=request.etag,
            force=request.force,
        )
        return pb.DeleteBankResponse(revision=result.revision, withdrawn_entries=result.entries)

    async def AddEntries(
        self, request: pb.AddEntriesRequest, context: Context
    ) -> pb.AddEntriesResponse:
        bank_id = convert.bank_id(request.parent, "parent")
        if len(request.contents) > len(request.entries):
            raise errors.InvalidInput.at(
                "contents",
                f"{len(request.contents)} contents for {len(request.entries)} entries; "
                "send at most one for each entry",
            )
        models = vector_models(request.vector_models)
        variants = make_entry if request.entry_variants else make_original
        hashed: list[Sequence[Signal]] = [()] * len(request.entries)
        for index, content in enumerate(request.contents):
            if content.WhichOneof("kind"):
                hashed[index] = await describe_entry(
                    self._runtime,
                    convert_content(content, f"contents[{index}]"),
                    models,
                    variants,
                    field=f"contents[{index}]",
                )
        rows = [
            convert.new_entry(index, entry, hashed[index])
            for index, entry in enumerate(request.entries)
        ]
        added = await self._change(
            self._store.add_entries,
            bank_id,
            rows,
            convert.context(request.context),
            allow_replaced=request.allow_replaced,
        )
        return pb.AddEntriesResponse(
            entries=[convert.entry_message(e) for e in added.entries],
            revision=added.revision,
            unstable_contents=[
                index
                for index, signals in enumerate(hashed)
                if any(s.unstable and s.variant == ORIGINAL for s in signals)
            ],
        )

    async def WithdrawEntries(
        self, request: pb.WithdrawEntriesRequest, context: Context
    ) -> pb.WithdrawEntriesResponse:
        bank_id = convert.bank_id(request.parent, "parent")
        result = await self._change(
            self._store.withdraw_entries,
            bank_id,
            convert.entry_ids(bank_id, request.names),
            list(request.external_ids),
            convert.context(request.context),
            signals=[
                convert.listed_signal(signal, f"signals[{index}]")
                for index, signal in enumerate(request.signals)
            ],
            dry_run=request.dry_run,
            source=request.source if request.HasField("source") else None,
            until_listed=request.until_listed,
        )
        return pb.WithdrawEntriesResponse(
            withdrawn_entries=result.entries,
            withdrawn_signals=result.signals,
            revision=result.revision,
            withdrawn=convert_lists.withdrawn_messages(result.withdrawn),
        )

    async def QuarantineEntries(
        self, request: pb.QuarantineEntriesRequest, context: Context
    ) -> pb.QuarantineEntriesResponse:
        result = await self._quarantine(request, release=False)
        return pb.QuarantineEntriesResponse(
            changed_entries=result.entries, revision=result.revision
        )

    async def ReleaseEntries(
        self, request: pb.ReleaseEntriesRequest, context: Context
    ) -> pb.ReleaseEntriesResponse:
        result = await self._quarantine(request, release=True)
        return pb.ReleaseEntriesResponse(changed_entries=result.entries, revision=result.revision)

    async def _quarantine(
        self,
        request: pb.QuarantineEntriesRequest | pb.ReleaseEntriesRequest,
        *,
        release: bool,
    ) -> EditResult:
        bank_id = convert.bank_id(request.parent, "parent")
        return await self._change(
            self._store.quarantine_entries,
            bank_id,
            convert.entry_ids(bank_id, request.names),
            convert.context(request.context),
            release=release,
        )

    async def RestoreEntries(
        self, request: pb.RestoreEntriesRequest, context: Context
    ) -> pb.RestoreEntriesResponse:
        bank_id = convert.bank_id(request.parent, "parent")
        result = await self._change(
            self._store.restore_entries,
            bank_id,
            convert.entry_ids(bank_id, request.names),
            convert.context(request.context),
        )
        return pb.RestoreEntriesResponse(
            restored_entries=result.entries,
            unlisted_entries=result.unlisted,
            revision=result.revision,
        )

    async def EditEntries(
        self, request: pb.EditEntriesRequest, context: Context
    ) -> pb.EditEntriesResponse:
        bank_id = convert.bank_id(request.parent, "parent")
        result = await self._change(
            self._store.edit_entries,
            bank_id,
            convert.entry_ids(bank_id, request.names),
            convert.entry_edit(request),
            convert.context(request.context),
        )
        return pb.EditEntriesResponse(edited_entries=result.entries, revision=result.revision)

    async def GetEntry(self, request: pb.GetEntryRequest, context: Context) -> pb.Entry:
        entry = await self._reads.run(self._store.get_entry, *convert.entry_id(request.name))
        return convert.entry_message(entry, whole=True)

    async def ListEntries(
        self, request: pb.ListEntriesRequest, context: Context
    ) -> pb.ListEntriesResponse:
        page = await self._reads.run(
            self._store.list_entries,
            convert.bank_id(request.parent, "parent"),
            convert.entry_filter(request),
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListEntriesResponse(
            entries=[convert.entry_message(e) for e in page.entries],
            distances=page.distances,
            next_page_token=page.next_page_token,
            total_entries=page.total_entries,
        )

    async def ListRevisions(
        self, request: pb.ListRevisionsRequest, context: Context
    ) -> pb.ListRevisionsResponse:
        bank_id = convert.bank_id(request.parent, "parent")
        page = await self._reads.run(
            self._store.list_revisions,
            "" if bank_id == "-" else bank_id,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.ListRevisionsResponse(
            revisions=[convert.revision_message(r) for r in page.revisions],
            next_page_token=page.next_page_token,
        )

    async def DiffRevisions(
        self, request: pb.DiffRevisionsRequest, context: Context
    ) -> pb.DiffRevisionsResponse:
        page = await self._reads.run(
            self._store.diff_revisions,
            convert.bank_id(request.parent, "parent"),
            request.from_revision,
            request.to_revision,
            page_size=request.page_size,
            page_token=request.page_token,
        )
        return pb.DiffRevisionsResponse(
            changes=[convert.change_message(c) for c in page.changes],
            next_page_token=page.next_page_token,
            total_changes=page.total_changes,
            setting_changes=convert.setting_change_messages(page.settings),
            settings_unknown=page.settings.unknown,
        )

    async def RollbackBank(
        self, request: pb.RollbackBankRequest, context: Context
    ) -> pb.RollbackBankResponse:
        result = await self._change(
            self._store.rollback_bank,
            convert.bank_id(request.name),
            request.revision,
            convert.context(request.context),
            etag=request.etag,
            dry_run=request.dry_run,
        )
        return pb.RollbackBankResponse(
            revision=result.revision,
            restored_entries=result.restored_entries,
            withdrawn_entries=result.withdrawn_entries,
            setting_changes=convert.setting_change_messages(result.settings),
            settings_unknown=result.settings.unknown,
        )

    async def ImportEntries(
        self, request_iterator: AsyncIterator[pb.ImportEntriesRequest], context: Context
    ) -> AsyncIterator[pb.ImportEntriesResponse]:
        async with aclosing(self._lists.import_entries(request_iterator)) as answers:
            async for answer in answers:
                yield answer

    async def ExportEntries(
        self, request: pb.ExportEntriesRequest, context: Context
    ) -> AsyncIterator[pb.ExportEntriesResponse]:
        async with aclosing(self._lists.export_entries(request)) as answers:
            async for answer in answers:
                yield answer

    async def EvaluateBank(
        self, request_iterator: AsyncIterator[pb.EvaluateBankRequest], context: Context
    ) -> pb.EvaluateBankResponse:
        return await evaluate_bank(self._runtime, self._store, self._reads, request_iterator)

    async def CompareBanks(
        self, request: pb.CompareBanksRequest, context: Context
    ) -> pb.CompareBanksResponse:
        overlap = await self._reads.run(
            self._store.overlap,
            convert.bank_id(request.name),
            convert.bank_id(request.other, "other"),
            max_pairs=request.max_pairs,
            page_token=request.page_token,
        )
        return convert_lists.overlap_message(overlap)

    async def ListMatchCounts(
        self, request: pb.ListMatchCountsRequest, context: Context
    ) -> pb.ListMatchCountsResponse:
        bank, days = convert.bank_id(request.parent, "parent"), request.days or DEFAULT_DAYS
        if request.page_size or request.page_token:
            counts = await self._reads.run(
                self._store.match_count_page,
                bank,
                days=days,
                page_size=request.page_size,
                page_token=request.page_token,
            )
        else:
            counts = await self._reads.run(
                self._store.match_counts, bank, days=days, max_entries=request.max_entries
            )
        return convert_lists.match_counts_message(counts)
