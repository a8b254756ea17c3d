"""Conversions of content, signals and matches between the wire and the domain."""

from collections.abc import Iterable, Mapping
from datetime import datetime
from functools import lru_cache
from typing import TypeVar

import numpy as np
from featsvc_client.v1 import hashing_pb2, matching_pb2, types_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from numpy.typing import NDArray

from featsvc import errors
from featsvc.banks.records import MAX_QUALITY, BankMode
from featsvc.embedding import Embedding, Model, Score
from featsvc.matching.matches import (
    DEFAULT_OPTIONS,
    MAX_BATCH,
    Evidence,
    Match,
    MatchOptions,
    SignalBatch,
    Variants,
)
from featsvc.matching.scope import SearchScope
from featsvc.media import Alpha, DecodeOptions, Fidelity, Frames
from featsvc.signals.algorithms import Algorithm, Kind, get_algorithm
from featsvc.signals.distance import (
    CONTAINMENT,
    COSINE,
    EQUALITY,
    HAMMING,
    OPAQUE,
    SEGMENTS,
    TLSH,
)
from featsvc.signals.hashes import ContentOutcome, MediaInfo
from featsvc.signals.signal import Signal
from featsvc.signals.text_views import check_text
from featsvc.signals.variants import ORIGINAL

E = TypeVar("E", bound=int)
T = TypeVar("T")

MAX_ALGORITHMS = 32

_FIDELITY = {
    types_pb2.DecodeOptions.FIDELITY_UNSPECIFIED: Fidelity.EXACT,
    types_pb2.DecodeOptions.FIDELITY_EXACT: Fidelity.EXACT,
    types_pb2.DecodeOptions.FIDELITY_FAST: Fidelity.FAST,
}
_ALPHA = {
    types_pb2.DecodeOptions.ALPHA_UNSPECIFIED: Alpha.WHITE,
    types_pb2.DecodeOptions.ALPHA_WHITE: Alpha.WHITE,
    types_pb2.DecodeOptions.ALPHA_BLACK: Alpha.BLACK,
    types_pb2.DecodeOptions.ALPHA_IGNORE: Alpha.IGNORE,
}
_FRAMES = {
    types_pb2.DecodeOptions.FRAMES_UNSPECIFIED: Frames.FIRST,
    types_pb2.DecodeOptions.FRAMES_FIRST: Frames.FIRST,
    types_pb2.DecodeOptions.FRAMES_ALL: Frames.ALL,
}
_VARIANTS = {
    types_pb2.MatchOptions.VARIANTS_UNSPECIFIED: Variants.DEFAULT,
    types_pb2.MatchOptions.VARIANTS_NONE: Variants.NONE,
    types_pb2.MatchOptions.VARIANTS_DEFAULT: Variants.DEFAULT,
    types_pb2.MatchOptions.VARIANTS_ALL: Variants.ALL,
}
_FIDELITY_MESSAGE = {value: wire for wire, value in _FIDELITY.items()}
_ALPHA_MESSAGE = {value: wire for wire, value in _ALPHA.items()}
_OUTCOME = {
    ContentOutcome.OK: types_pb2.OUTCOME_OK,
    ContentOutcome.LOW_QUALITY: types_pb2.OUTCOME_LOW_QUALITY,
    ContentOutcome.UNSTABLE: types_pb2.OUTCOME_UNSTABLE,
    ContentOutcome.UNSUPPORTED_MEDIA: types_pb2.OUTCOME_UNSUPPORTED_MEDIA,
    ContentOutcome.CORRUPT_MEDIA: types_pb2.OUTCOME_CORRUPT_MEDIA,
    ContentOutcome.TOO_LARGE_MEDIA: types_pb2.OUTCOME_TOO_LARGE_MEDIA,
    ContentOutcome.NOT_SEARCHED: types_pb2.OUTCOME_NOT_SEARCHED,
    ContentOutcome.DEGRADED: types_pb2.OUTCOME_DEGRADED,
}
MODE = {
    BankMode.ENFORCE: types_pb2.BANK_MODE_ENFORCE,
    BankMode.SHADOW: types_pb2.BANK_MODE_SHADOW,
    BankMode.OFF: types_pb2.BANK_MODE_OFF,
}
_DISTANCE = {
    HAMMING: hashing_pb2.Algorithm.DISTANCE_HAMMING,
    EQUALITY: hashing_pb2.Algorithm.DISTANCE_EQUALITY,
    OPAQUE: hashing_pb2.Algorithm.DISTANCE_EQUALITY,
    SEGMENTS: hashing_pb2.Algorithm.DISTANCE_SEGMENTS,
    COSINE: hashing_pb2.Algorithm.DISTANCE_COSINE,
    CONTAINMENT: hashing_pb2.Algorithm.DISTANCE_CONTAINMENT,
    TLSH: hashing_pb2.Algorithm.DISTANCE_TLSH,
}
_INPUT = {
    Kind.PICTURE: hashing_pb2.Algorithm.INPUT_PICTURE,
    Kind.BYTES: hashing_pb2.Algorithm.INPUT_BYTES,
    Kind.TEXT: hashing_pb2.Algorithm.INPUT_TEXT,
    Kind.VECTOR: hashing_pb2.Algorithm.INPUT_PICTURE,
    Kind.STORED: hashing_pb2.Algorithm.INPUT_NONE,
}


def timestamp(moment: datetime | None) -> Timestamp | None:
    """Convert a UTC datetime to a Timestamp; None stays None."""
    if moment is None:
        return None
    message = Timestamp()
    message.FromDatetime(moment)
    return message


def choose(table: Mapping[E, T], value: E, field: str) -> T:
    """Convert a value of a wire enum. Raises InvalidInput for a value that `table` has not."""
    try:
        return table[value]
    except KeyError:
        raise errors.InvalidInput(
            f"{field}: {value} is not an enum value of this version; send another, or update the "
            "service",
            field=field,
        ) from None


def content(message: types_pb2.Content, field: str = "content") -> bytes | str:
    """Return the bytes of a file, or a text.

    Raises InvalidInput where both are missing, MediaTooLarge for a text over 1 MiB.
    """
    if message.WhichOneof("kind") == "text":
        check_text(message.text, field=f"{field}.text")
        return message.text
    return content_bytes(message, field)


def content_bytes(message: types_pb2.Content, field: str = "content") -> bytes:
    """Return the bytes of a file. Raises InvalidInput where they are missing, or for a text."""
    if message.WhichOneof("kind") == "text":
        raise errors.InvalidInput(
            f"{field}.text: a text has no pixels; send a picture in {field}.data",
            field=f"{field}.text",
        )
    if not message.data:
        raise errors.InvalidInput(
            f"{field}.data: is empty; send the bytes of the file",
            reason="CONTENT_EMPTY",
            field=f"{field}.data",
        )
    return message.data


def decode_options(message: types_pb2.DecodeOptions) -> DecodeOptions:
    """Convert decode options. Raises InvalidInput."""
    return DecodeOptions(
        fidelity=choose(_FIDELITY, message.fidelity, "decode.fidelity"),
        alpha=choose(_ALPHA, message.alpha, "decode.alpha"),
        frames=choose(_FRAMES, message.frames, "decode.frames"),
        ignore_orientation=message.ignore_orientation,
    )


def algorithm_names(names: Iterable[str]) -> tuple[str, ...]:
    """Return names in lower case, each once. Raises InvalidInput for over MAX_ALGORITHMS."""
    unique = tuple(dict.fromkeys(name.strip().lower() for name in names))
    if len(unique) > MAX_ALGORITHMS:
        raise errors.InvalidInput(
            f"algorithms: at most {MAX_ALGORITHMS} names, not {len(unique)}", field="algorithms"
        )
    return unique


def vector_models(names: Iterable[str]) -> tuple[str, ...]:
    """Return names of models, each once. Raises InvalidInput for another kind of algorithm."""
    models = algorithm_names(names)
    for name in models:
        if get_algorithm(name, field="vector_models").kind is not Kind.VECTOR:
            raise errors.InvalidInput(
                f"vector_models: {name} is not a model; write model and version as in pdqf@1",
                field="vector_models",
            )
    return models


def match_options(message: types_pb2.MatchOptions) -> MatchOptions:
    """Convert match options. Raises InvalidInput or UnknownAlgorithm."""
    if not message.ByteSize():
        return DEFAULT_OPTIONS
    return MatchOptions(
        banks=tuple(bank.removeprefix("banks/") for bank in message.banks),
        labels=tuple(message.labels),
        thresholds={t.algorithm.strip().lower(): t.threshold for t in message.thresholds},
        max_results=message.max_results,
        match_low_quality=message.match_low_quality,
        variants=choose(_VARIANTS, message.variants, "options.variants"),
        top_k=message.top_k,
        ignore_safe_lists=message.ignore_safe_lists,
    )


def query_signal(message: types_pb2.Signal, field: str = "signal") -> Signal:
    """Convert a signal. Raises UnknownAlgorithm or InvalidSignal."""
    kind = get_algorithm(message.algorithm.strip().lower(), field=f"{field}.value")
    value = kind.distance.parse(kind, message.value, field=f"{field}.value")
    check_version(kind, message.algorithm_version, field)
    quality = message.quality if message.HasField("quality") else None
    return Signal(kind, value, quality, unstable=message.outcome == types_pb2.OUTCOME_UNSTABLE)


def check_version(kind: Algorithm, version: int, field: str) -> None:
    """Raise InvalidSignal for a version that is not this server's; 0 means this server's."""
    if version not in (0, kind.version):
        raise errors.InvalidSignal(
            f"{field}.algorithm_version: {version}, this server computes version {kind.version} of "
            f"{kind.name}; values of different versions do not compare, so hash the content again",
            field=f"{field}.algorithm_version",
        )


def signal_batch(message: matching_pb2.MatchBatchRequest) -> SignalBatch:
    """Return the packed signals; vectors are normalised.

    Raises UnknownAlgorithm, InvalidInput for more than MAX_BATCH signals, wrong qualities or marks,
    and InvalidSignal for a length that is not a multiple of a signal's or not `count` signals, and
    for a vector without a direction.
    """
    kind, values = _packed_signals(message.algorithm, message.signals, message.dimensions)
    if message.HasField("count") and message.count != len(values):
        raise errors.InvalidSignal(
            f"count: {message.count}, but signals has {len(message.signals)} bytes, which are "
            f"{len(values)} {kind.name} signals; send the bytes of the signals, not their hex",
            field="count",
        )
    unstable = tuple(message.unstable_queries)
    if unstable and max(unstable) >= len(values):
        raise errors.InvalidInput(
            f"unstable_queries: {max(unstable)} is not the index of one of {len(values)} signals; "
            "the first one is 0",
            field="unstable_queries",
        )
    if not message.qualities:
        return SignalBatch(kind, kind.distance.packed(kind, values), unstable=unstable)
    qualities = np.array(message.qualities, np.uint32)
    if len(qualities) != len(values):
        raise errors.InvalidInput(
            f"qualities: {len(qualities)} for {len(values)} signals; send one for each, or none",
            field="qualities",
        )
    if (worst := int(qualities.max())) > MAX_QUALITY:
        raise errors.InvalidInput(
            f"qualities: {worst} is not within 0 to {MAX_QUALITY}", field="qualities"
        )
    packed = kind.distance.packed(kind, values)
    return SignalBatch(kind, packed, qualities.astype(np.uint8), unstable)


def _packed_signals(
    algorithm: str, signals: bytes, dimensions: int
) -> tuple[Algorithm, NDArray[np.uint8]]:
    """Return the algorithm, and the signals as values uint8 (n, bytes), as they were sent.

    `dimensions` is used where the algorithm has no fixed length.
    """
    kind = get_algorithm(algorithm.strip().lower(), field="algorithm")
    width = kind.distance.row_bytes(kind, dimensions)
    if not width:
        raise errors.InvalidInput(
            f"dimensions: this server does not know the length of {kind.name} signals; set the "
            "number of dimensions of a vector, or send them one by one",
            field="dimensions",
        )
    if len(signals) % width:
        raise errors.InvalidSignal(
            f"signals: {len(signals)} bytes are not a whole number of {kind.name} signals of "
            f"{width} bytes each",
            field="signals",
        )
    values = np.frombuffer(signals, np.uint8).reshape(-1, width)
    if len(values) > MAX_BATCH:
        raise errors.InvalidInput(
            f"signals: at most {MAX_BATCH}, not {len(values)}; send several batches",
            field="signals",
        )
    return kind, values


def compare_side(side: hashing_pb2.CompareRequest.Side, field: str) -> bytes | str | Signal:
    """Return content or a signal. Raises InvalidInput where both are missing, and as each does."""
    match side.WhichOneof("kind"):
        case "content":
            return content(side.content, f"{field}.content")
        case "signal":
            return query_signal(side.signal, f"{field}.signal")
        case _:
            raise errors.InvalidInput(f"{field}: neither content nor signal is set", field=field)


def outcome(value: ContentOutcome) -> types_pb2.Outcome:
    """Convert an outcome."""
    return _OUTCOME[value]


def media_info(media: MediaInfo | None) -> types_pb2.MediaInfo | None:
    """Convert facts about a file; None stays None."""
    if media is None:
        return None
    return types_pb2.MediaInfo(
        media_type=media.media_type, width=media.width, height=media.height, frames=media.frames
    )


def shown_value(kind: Algorithm, value: bytes) -> str:
    """Return the text form; empty for vectors and grams of texts, which would bloat an answer."""
    return kind.distance.format(kind, value) if kind.distance.shown else ""


def signal_message(signal: Signal) -> types_pb2.Signal:
    """Convert a signal, with its value."""
    return _signal_message(signal, signal.text)


def _signal_message(signal: Signal, value: str) -> types_pb2.Signal:
    message = types_pb2.Signal(
        algorithm=signal.algorithm.name,
        value=value,
        quality=signal.quality,
        outcome=_signal_outcome(signal),
        variant=signal.variant,
        algorithm_version=signal.algorithm.version,
        frame=signal.frame,
    )
    if (provenance := signal.provenance) is not None:
        message.provenance.CopyFrom(
            types_pb2.Provenance(
                orientation=provenance.orientation,
                orientation_applied=provenance.orientation_applied,
                fidelity=_FIDELITY_MESSAGE[provenance.fidelity],
                alpha=_ALPHA_MESSAGE[provenance.alpha],
                luma_plane=provenance.luma_plane,
                scale_denominator=provenance.scale_denominator,
            )
        )
    return message


def _signal_outcome(signal: Signal) -> types_pb2.Outcome:
    if signal.low_quality:
        return types_pb2.OUTCOME_LOW_QUALITY
    return types_pb2.OUTCOME_UNSTABLE if signal.unstable else types_pb2.OUTCOME_OK


def original_messages(signals: Iterable[Signal]) -> list[types_pb2.Signal]:
    """Convert signals as `matched_signal` does, without variants: a match shows its variant."""
    return [matched_signal(s) for s in signals if s.variant == ORIGINAL]


def matched_signal(signal: Signal) -> types_pb2.Signal:
    """Convert a query signal, without the grams of a text: those of a book are megabytes."""
    return _signal_message(signal, signal.text if signal.algorithm.distance.rows else "")


@lru_cache(maxsize=4)
def watermark(revision: int, commit_time: datetime | None) -> types_pb2.Watermark:
    """Return the watermark of a snapshot. All its answers share the message; never change it."""
    return types_pb2.Watermark(revision=revision, commit_time=timestamp(commit_time))


@lru_cache(maxsize=64)
def searched(scope: SearchScope) -> types_pb2.Searched:
    """Convert what was searched. All answers of a scope share the message; never change it."""
    return types_pb2.Searched(
        algorithms=[
            types_pb2.SearchedAlgorithm(
                algorithm=of.algorithm,
                banks=[f"banks/{bank}" for bank in of.banks],
                bank_count=of.bank_count,
                entries=of.entries,
                signals=of.signals,
                query_variants=of.variants,
                set_aside_signals=of.set_aside,
            )
            for of in scope.algorithms
        ],
        safe_lists=[f"banks/{bank}" for bank in scope.safe_lists],
        safe_list_count=scope.safe_list_count,
    )


def match_message(match: Match) -> types_pb2.Match:
    """Convert a match."""
    return types_pb2.Match(
        bank=f"banks/{match.bank}",
        entry=f"banks/{match.bank}/entries/{match.entry_id}",
        external_id=match.external_id,
        algorithm=match.algorithm.name,
        distance=match.distance,
        threshold=match.threshold,
        threshold_overridden=match.threshold_overridden,
        query_variant=match.query_variant,
        entry_variant=match.entry_variant,
        mode=MODE[match.mode],
        labels=match.labels,
        source=match.source,
        entry_signal=shown_value(match.algorithm, match.entry_signal),
        query_signal=shown_value(match.algorithm, match.query_signal),
        frame=match.frame,
        safe=match.safe,
        suppressed=match.suppressed,
        evidence=[evidence_message(e) for e in match.evidence] if match.evidence else None,
    )


def evidence_message(evidence: Evidence) -> types_pb2.Evidence:
    """Convert a further signal of a match."""
    return types_pb2.Evidence(
        algorithm=evidence.algorithm.name,
        distance=evidence.distance,
        threshold=evidence.threshold,
        query_variant=evidence.query_variant,
        entry_variant=evidence.entry_variant,
        entry_signal=shown_value(evidence.algorithm, evidence.entry_signal),
    )


def algorithm_message(algorithm: Algorithm) -> hashing_pb2.Algorithm:
    """Convert a row of the table of algorithms."""
    return hashing_pb2.Algorithm(
        name=algorithm.name,
        bits=algorithm.bits,
        distance=_DISTANCE[algorithm.distance],
        default_threshold=algorithm.default_threshold,
        quality_floor=algorithm.quality_floor,
        version=algorithm.version,
        computed=algorithm.computed,
        matched=algorithm.matched,
        dimensions=algorithm.dimensions,
        description=algorithm.description,
        input=_INPUT[algorithm.kind],
    )


def model_message(model: Model) -> hashing_pb2.Algorithm:
    """Convert a model that this server serves."""
    return hashing_pb2.Algorithm(
        name=model.id,
        distance=hashing_pb2.Algorithm.DISTANCE_COSINE,
        version=model.version,
        computed=True,
        matched=model.dimensions > 0,
        default_threshold=get_algorithm(model.id).default_threshold,
        quality_floor=get_algorithm(model.id).quality_floor,
        dimensions=model.dimensions,
        description=model.description,
        input=hashing_pb2.Algorithm.INPUT_PICTURE,
    )


def embedding_message(embedding: Embedding) -> hashing_pb2.Embedding:
    """Convert an embedding."""
    return hashing_pb2.Embedding(model=embedding.model, values=embedding.values.tolist())


def score_message(score: Score) -> types_pb2.Score:
    """Convert a score."""
    return types_pb2.Score(model=score.model, label=score.label, score=score.score)
