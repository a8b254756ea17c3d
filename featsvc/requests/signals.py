"""Signals of one piece of content: hashes, vectors and scores from one decode.

Classical vectors are made where the picture is hashed; learned ones are queued there and waited for
later, so that rows of concurrent callers run in one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from featsvc.embedding import Embedder, Model, PendingEmbeddings, Score
from featsvc.errors import InvalidInput
from featsvc.hashing.content import hash_content
from featsvc.media import DecodeOptions, Image, Limits, Provenance
from featsvc.requests.content import Content, hash_any
from featsvc.requests.plan import ContentPlan
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.hashes import ContentHashes, ContentOutcome
from featsvc.signals.signal import Signal
from featsvc.signals.vectors import vector_value


@dataclass(frozen=True, slots=True, eq=False)
class _PendingFrame:
    """One frame, its vectors and scores made or on their way."""

    frame: int
    provenance: Provenance
    started: PendingEmbeddings


@dataclass(frozen=True, slots=True, eq=False)
class ContentSignals:
    """What one decode gave. `hashes` is there; the rest once `waiting` is over or `finish` has
    returned."""

    plan: ContentPlan
    hashes: ContentHashes
    _frames: tuple[_PendingFrame, ...]

    @property
    def waiting(self) -> bool:
        """Whether vectors are still being made."""
        learned = {model.name for model in self.plan.vectors}
        return any(not learned.isdisjoint(frame.started.queued) for frame in self._frames)

    async def finish(self) -> None:
        """Wait for the learned models. Raises what they raise; nothing is left running."""
        try:
            for frame in self._frames:
                await frame.started.finish()
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Take back what is still queued."""
        for frame in self._frames:
            frame.started.cancel()

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Hashes, then vectors, both by frame."""
        vectors = tuple(s for frame in self._frames for s in _vectors(frame, self.plan.vectors))
        return (*self.hashes.signals, *vectors)

    @property
    def scores(self) -> tuple[Score, ...]:
        """Of the first frame, by the classifiers that were asked."""
        asked = {model.id for model in self.plan.classifiers}
        found = self._frames[0].started.result().scores if self._frames else ()
        return tuple(score for score in found if score.model in asked)

    def outcome(self) -> tuple[ContentOutcome, str]:
        """How signals and matches are to be read, and why."""
        hashes, missing = self.hashes, self.plan.missing
        if hashes.outcome is ContentOutcome.UNSUPPORTED_MEDIA:
            return hashes.outcome, hashes.reason
        outcome, reason = hashes.outcome, hashes.reason
        if outcome is ContentOutcome.OK and (reason := self._fault()):
            outcome = ContentOutcome.LOW_QUALITY
        if missing:
            outcome = ContentOutcome.DEGRADED
            reason = "; ".join(filter(None, (
                f"banks hold vectors of {', '.join(missing)}, which this server does not serve, or "
                "of another length: they were not searched",
                reason,
            )))  # fmt: skip
        return outcome, reason

    def _fault(self) -> str:
        """Why vectors are missing or of low quality; empty where all is well."""
        if not self.plan.vectors:
            return ""
        vectors = self.plan.vectors
        return next(filter(None, (f.started.result(vectors).reason for f in self._frames)), "")

    def check_vectors(self, field: str) -> None:
        """Raises InvalidInput where a vector that was asked for is not there."""
        made = {signal.algorithm.name for signal in self.signals}
        for model in self.plan.vectors:
            if model.id not in made:
                reason = self.outcome()[1]
                raise InvalidInput(f"{field}: no vector of {model.id}: {reason}", field=field)


def make_signals(
    content: Content, plan: ContentPlan, options: DecodeOptions, limits: Limits, embedder: Embedder
) -> ContentSignals:
    """Decode once, hash, make classical vectors, queue learned ones. Synchronous, thread-safe.

    Raises what `hash_any` raises, and Overloaded where a learned model would be late.
    """
    if isinstance(content, str):
        return ContentSignals(plan, hash_any(content, plan.hashes, options, limits), ())
    seen: list[_PendingFrame] = []

    def see(image: Image) -> None:
        if models := plan.vectors if seen else plan.models:
            started = embedder.start(image, models)
            seen.append(_PendingFrame(image.frame, image.provenance, started))

    try:
        hashes = hash_content(
            content,
            plan.hashes,
            options,
            limits,
            plan.variants,
            see=see if plan.models else None,
            grey_suffices=plan.grey_suffices,
        )
    except BaseException:
        for one in seen:
            one.started.cancel()
        raise
    return ContentSignals(plan, hashes, tuple(seen))


def _vectors(frame: _PendingFrame, models: Sequence[Model]) -> Sequence[Signal]:
    # Classifiers may still be at work.
    made = frame.started.result(models)
    values = {embedding.model: embedding.values for embedding in made.embeddings}
    signals = []
    for model in models:
        if model.id in values:
            kind = get_algorithm(model.id)
            quality = None if kind.quality_floor is None else frame.started.quality
            value = vector_value(kind, values[model.id])
            signals.append(
                Signal(kind, value, quality, frame=frame.frame, provenance=frame.provenance)
            )
    return signals
