"""The part of BankService that tells whether a list is any good: evaluate, compare, count."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from featsvc_client.v1 import banks_pb2
from grpc import aio

from featsvc import errors
from featsvc.banks.lists.formats.rows import algorithm_of
from featsvc.banks.store import BankStore
from featsvc.banks.tuning.evaluation import MAX_SAMPLES, Evaluation, evaluate
from featsvc.requests import Screener
from featsvc.service.conversions import bank_lists as convert
from featsvc.service.conversions.banks import bank_id
from featsvc.service.conversions.signals import content, query_signal
from featsvc.signals.signal import Signal

Context = aio.ServicerContext[Any, Any]

DEFAULT_DAYS = 7
DEFAULT_ROWS = 100
MAX_ROWS = 1000
DEFAULT_FALSE_MATCH_RATE = 0.001


class BankTuning:
    """EvaluateBank, CompareBanks and ListMatchCounts."""

    def __init__(self, store: BankStore, screener: Screener) -> None:
        self._store = store
        self._screener = screener

    async def EvaluateBank(  # noqa: N802
        self, request_iterator: AsyncIterator[banks_pb2.EvaluateBankRequest], context: Context
    ) -> banks_pb2.EvaluateBankResponse:
        opening = await anext(aiter(request_iterator), None)
        if opening is None or opening.WhichOneof("message") != "options":
            raise errors.InvalidInput(
                "options: the first message of an evaluation must carry them", field="options"
            )
        options = opening.options
        bank = bank_id(options.name, "options.name")
        algorithm = algorithm_of(options.algorithm or "pdq", field="options.algorithm")
        samples: list[tuple[bytes, bool]] = []
        unreadable = low_quality = 0
        async for message in request_iterator:
            if message.WhichOneof("message") != "sample":
                raise errors.InvalidInput("options: only the first message may carry them")
            signal = await self._sample_signal(message.sample, algorithm)
            if signal is None:
                unreadable += 1
            elif signal.low_quality:
                low_quality += 1
            elif len(samples) == MAX_SAMPLES:
                raise errors.InvalidInput(f"sample: more than {MAX_SAMPLES}", field="sample")
            else:
                samples.append((signal.value, message.sample.positive))
        rate = options.max_false_match_rate or DEFAULT_FALSE_MATCH_RATE

        def work() -> Evaluation:
            with self._store.view() as view:
                return evaluate(view, bank, algorithm, samples, rate)

        return convert.evaluation_message(await asyncio.to_thread(work), unreadable, low_quality)

    async def _sample_signal(self, sample: banks_pb2.Sample, algorithm: str) -> Signal | None:
        """None where the content gives none. Raises InvalidInput for a wrong signal."""
        if sample.WhichOneof("kind") == "signal":
            signal = query_signal(sample.signal)
            if signal.algorithm != algorithm:
                raise errors.InvalidInput(
                    f"sample.signal: is {signal.algorithm}, the evaluation is of {algorithm}",
                    field="sample.signal",
                )
            return signal
        try:
            signals = await self._screener.describe(
                content(sample.content, "sample.content"), (algorithm,), field="sample"
            )
        except errors.UnknownAlgorithm:
            # Not the sample's fault: nobody here computes it.
            raise
        except errors.InvalidInput:
            return None
        return signals[0] if signals else None

    async def CompareBanks(  # noqa: N802
        self, request: banks_pb2.CompareBanksRequest, context: Context
    ) -> banks_pb2.CompareBanksResponse:
        overlap = await asyncio.to_thread(
            self._store.overlap,
            bank_id(request.name),
            bank_id(request.other, "other"),
            max_pairs=_rows(request.max_pairs, "max_pairs"),
        )
        return convert.overlap_message(overlap)

    async def ListMatchCounts(  # noqa: N802
        self, request: banks_pb2.ListMatchCountsRequest, context: Context
    ) -> banks_pb2.ListMatchCountsResponse:
        found = await asyncio.to_thread(
            self._store.match_counts,
            bank_id(request.parent, "parent"),
            days=request.days or DEFAULT_DAYS,
            limit=_rows(request.max_entries, "max_entries"),
        )
        return convert.match_counts_message(found)


def _rows(asked: int, field: str) -> int:
    if asked > MAX_ROWS:
        raise errors.InvalidInput(f"{field}: {asked}, at most {MAX_ROWS}", field=field)
    return asked or DEFAULT_ROWS
