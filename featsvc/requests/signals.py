"""Compute hashes, vectors and scores of one piece of content from one decode.

Classical vectors are computed with the hashes. Learned ones are queued then and awaited later, so
that rows of concurrent requests run in one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from featsvc.embedding import Embedder, Model, PendingEmbeddings, Score
from featsvc.errors import InvalidInput
from featsvc.hashing.content import Content, hash_any, hash_content
from featsvc.media import DecodeOptions, Image, Limits, Provenance
from featsvc.requests.plan import ContentPlan
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.hashes import ContentHashes, ContentOutcome
from featsvc.signals.signal import Signal
from featsvc.signals.vectors import vector_value


@dataclass(frozen=True, slots=True, eq=False)
class _PendingFrame:
    """One frame and its vectors and scores, possibly still queued."""

    frame: int
    provenance: Provenance
    embeddings: PendingEmbeddings


@dataclass(frozen=True, slots=True, eq=False)
class PendingSignals:
    """Hashes, vectors and scores of one piece of content.

    `hashes` are complete, vectors once `waiting` is false, all once `finish` has returned.
    """

    plan: ContentPlan
    hashes: ContentHashes
    _frames: tuple[_PendingFrame, ...]

    @property
    def waiting(self) -> bool:
        """Whether a vector is still queued."""
        learned = {model.name for model in self.plan.vectors}
        return any(not learned.isdisjoint(frame.embeddings.queued) for frame in self._frames)

    async def finish(self) -> None:
        """Wait for the learned models. Raises what they raise and cancels the others."""
        try:
            for frame in self._frames:
                await frame.embeddings.finish()
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Cancel what is still queued."""
        for frame in self._frames:
            frame.embeddings.cancel()

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Hashes, then vectors, each in the order of frames."""
        vectors = tuple(s for frame in self._frames for s in _vectors(frame, self.plan.vectors))
        return (*self.hashes.signals, *vectors)

    @property
    def scores(self) -> tuple[Score, ...]:
        """Scores of the first frame by the planned classifiers."""
        classifiers = {model.id for model in self.plan.classifiers}
        scores = self._frames[0].embeddings.result().scores if self._frames else ()
        return tuple(score for score in scores if score.model in classifiers)

    def outcome(self) -> tuple[ContentOutcome, str]:
        """Return how to read signals and matches, and why."""
        outcome, reason = self.hashes.outcome, self.hashes.reason
        if outcome.undecoded:
            return outcome, reason
        fair = outcome in {ContentOutcome.OK, ContentOutcome.UNSTABLE}
        if fair and (poor := self._low_quality_reason()):
            outcome, reason = ContentOutcome.LOW_QUALITY, "; ".join(filter(None, (poor, reason)))
        if self.plan.missing:
            outcome = ContentOutcome.DEGRADED
            degraded = (
                f"banks hold vectors of {', '.join(self.plan.missing)}, which this server does not "
                "serve or serves with another length; they were not searched"
            )
            reason = f"{degraded}; {reason}" if reason else degraded
        return outcome, reason

    def _low_quality_reason(self) -> str:
        """Return why a vector is missing or of low quality; empty where none is."""
        vectors = self.plan.vectors
        reasons = (f.embeddings.result(vectors).reason for f in self._frames if vectors)
        return next(filter(None, reasons), "")

    def check_vectors(self, field: str) -> None:
        """Raise InvalidInput where a planned vector is missing."""
        names = {signal.algorithm.name for signal in self.signals}
        for model in self.plan.vectors:
            if model.id not in names:
                reason = self.outcome()[1]
                raise InvalidInput(f"{field}: no vector of {model.id}: {reason}", field=field)


def start_signals(
    content: Content, plan: ContentPlan, options: DecodeOptions, limits: Limits, embedder: Embedder
) -> PendingSignals:
    """Decode once, hash, compute classical vectors, queue learned ones. Synchronous, thread-safe.

    Raises what `hash_any` raises, and Overloaded where a learned model would be late.
    """
    if isinstance(content, str):
        return PendingSignals(plan, hash_any(content, plan.hashes, options, limits), ())
    frames: list[_PendingFrame] = []

    def start_models(image: Image) -> None:
        if models := plan.vectors if frames else plan.models:
            embeddings = embedder.start(image, models)
            frames.append(_PendingFrame(image.frame, image.provenance, embeddings))

    try:
        hashes = hash_content(
            content,
            plan.hashes,
            options,
            limits,
            plan.variants,
            on_image=start_models if plan.models else None,
            grey_suffices=plan.grey_suffices,
            must_decode=plan.must_decode,
        )
    except BaseException:
        for frame in frames:
            frame.embeddings.cancel()
        raise
    return PendingSignals(plan, hashes, tuple(frames))


def _vectors(frame: _PendingFrame, models: Sequence[Model]) -> Sequence[Signal]:
    # Of these models only: classifiers may still run.
    embeddings = frame.embeddings.result(models).embeddings
    values = {embedding.model: embedding.values for embedding in embeddings}
    signals = []
    for model in models:
        if model.id in values:
            kind = get_algorithm(model.id)
            quality = None if kind.quality_floor is None else frame.embeddings.quality
            value = vector_value(kind, values[model.id])
            signals.append(
                Signal(kind, value, quality, frame=frame.frame, provenance=frame.provenance)
            )
    return signals
