"""EvaluateBank of `BankServicer`: collects samples and evaluates a bank with them."""

from collections.abc import AsyncIterator

from featsvc_client.v1 import banks_pb2 as pb

from featsvc import errors
from featsvc.banks.lists.formats.rows import algorithm_of
from featsvc.banks.store import BankStore
from featsvc.banks.tuning.evaluation import MAX_SAMPLES, Evaluation, evaluate
from featsvc.requests import Runtime, describe
from featsvc.service.bank_lists import read_opening
from featsvc.service.conversions import bank_lists as convert
from featsvc.service.conversions.banks import bank_id
from featsvc.service.conversions.signals import content, query_signal
from featsvc.service.store_calls import StoreCalls
from featsvc.signals.signal import Signal

DEFAULT_FALSE_MATCH_RATE = 0.001


async def evaluate_bank(
    runtime: Runtime,
    store: BankStore,
    calls: StoreCalls,
    requests: AsyncIterator[pb.EvaluateBankRequest],
) -> pb.EvaluateBankResponse:
    """Read options, then samples. Raises InvalidInput for another order or too many samples."""
    options = (await read_opening(requests)).options
    bank = bank_id(options.name, "options.name")
    algorithm = algorithm_of(options.algorithm or "pdq", field="options.algorithm")
    samples: list[tuple[bytes, bool]] = []
    unreadable = low_quality = 0
    async for message in requests:
        if message.WhichOneof("message") != "sample":
            raise errors.InvalidInput("options: only the first message may be options")
        signal = await _sample_signal(runtime, message.sample, algorithm)
        if signal is None:
            unreadable += 1
        elif signal.low_quality:
            low_quality += 1
        elif len(samples) == MAX_SAMPLES:
            raise errors.InvalidInput.at("sample", f"send at most {MAX_SAMPLES}")
        else:
            samples.append((signal.value, message.sample.positive))
    rate = options.max_false_match_rate or DEFAULT_FALSE_MATCH_RATE

    def run() -> Evaluation:
        with store.view() as view:
            return evaluate(
                view, bank, algorithm, samples, rate, max_noisy=options.max_noisy_entries
            )

    return convert.evaluation_message(await calls.run(run), unreadable, low_quality)


async def _sample_signal(runtime: Runtime, sample: pb.Sample, algorithm: str) -> Signal | None:
    """Return None for content without a signal. Raises InvalidInput for a wrong signal."""
    if sample.WhichOneof("kind") == "signal":
        signal = query_signal(sample.signal)
        if signal.algorithm.name != algorithm:
            raise errors.InvalidInput.at(
                "sample.signal", f"must be {algorithm}, as in options, not {signal.algorithm.name}"
            )
        return signal
    try:
        signals = await describe(
            runtime, content(sample.content, "sample.content"), (algorithm,), field="sample"
        )
    except errors.UnknownAlgorithm:
        # Not the fault of the sample: this service does not compute the algorithm.
        raise
    except (errors.InvalidInput, errors.TimedOut):
        return None
    return signals[0] if signals else None
