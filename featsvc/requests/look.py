"""One look at a piece of content: hashes, vectors and scores from one decode.

Classical vectors are made where the picture is hashed; learned ones are queued there and waited for
later, so that rows of concurrent callers run in one batch.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from featsvc.embedding import GREY_SUFFICES, Embedder, Model, Score, Started
from featsvc.errors import InvalidInput
from featsvc.hashing.content import hash_content
from featsvc.hashing.variants import MakeVariants, make_original, making
from featsvc.matching.matches import MatchOptions
from featsvc.matching.snapshot import Snapshot
from featsvc.media import DecodeOptions, Image, Limits, Provenance
from featsvc.requests.contents import Content, default_algorithms, hash_any
from featsvc.signals.algorithms import find_algorithm, get_algorithm
from featsvc.signals.hashes import ContentHashes, ContentOutcome
from featsvc.signals.signal import Signal
from featsvc.signals.vectors import vector_value


@dataclass(frozen=True, slots=True)
class Wanted:
    """Algorithms to hash by, models whose vectors are wanted of every frame, and classifiers, whose
    scores are of the first. `missing`: vectors that the searched banks hold and nobody here makes.
    `variants` makes PDQ's variants beside the original.
    """

    hashes: tuple[str, ...]
    vectors: tuple[Model, ...] = ()
    classifiers: tuple[Model, ...] = ()
    missing: tuple[str, ...] = ()
    variants: MakeVariants = make_original

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(dict.fromkeys((*self.vectors, *self.classifiers)))

    @property
    def grey_suffices(self) -> bool:
        return all(model.name in GREY_SUFFICES for model in self.models)


def wanted_of_banks(
    snapshot: Snapshot,
    embedder: Embedder,
    options: MatchOptions,
    algorithms: Sequence[str],
    classifiers: Sequence[Model] = (),
) -> Wanted:
    """What `algorithms` name: hashes, and vectors by model and version.

    None means the default set and everything else that the banks hold and this build computes: a
    list of SHA-1 must not be missed because nobody named SHA-1. PDQ's query variants are made
    where a searched bank asks for them, or `options` do. Raises NotFound for a bank,
    UnknownAlgorithm.
    """
    variants = making(snapshot.query_variants(options))
    if algorithms:
        return replace(named(embedder, algorithms, classifiers), variants=variants)
    held = {name: _served(embedder, snapshot, name) for name in snapshot.vectors_held(options)}
    return Wanted(
        default_algorithms(b"", snapshot.algorithms),
        tuple(model for model in held.values() if model is not None),
        tuple(classifiers),
        tuple(name for name, model in held.items() if model is None),
        variants,
    )


def _served(embedder: Embedder, snapshot: Snapshot, name: str) -> Model | None:
    """The model whose vectors compare with those of the banks: of another length they are another
    model's, which somebody gave the same name."""
    model = embedder.served(name)
    fits = model is not None and snapshot.value_bytes(name) in (0, 4 * model.dimensions)
    return model if fits else None


def wanted_of_text(
    text: str, snapshot: Snapshot, algorithms: Sequence[str], classifiers: Sequence[Model]
) -> Wanted:
    """The same of a text, which has hashes only. Raises InvalidInput for classifiers."""
    if classifiers:
        raise InvalidInput("models: are of pictures; leave them out for a text", field="models")
    return Wanted(tuple(algorithms) or default_algorithms(text, snapshot.algorithms))


def named(
    embedder: Embedder, algorithms: Sequence[str], classifiers: Sequence[Model] = ()
) -> Wanted:
    """Hashes and vectors by name. Raises UnknownAlgorithm for a model that is not served here."""
    vectors = [name for name in algorithms if (k := find_algorithm(name)) is not None and k.vector]
    return Wanted(
        tuple(name for name in algorithms if name not in vectors),
        embedder.select(vectors) if vectors else (),
        tuple(classifiers),
    )


@dataclass(frozen=True, slots=True, eq=False)
class _Seen:
    frame: int
    provenance: Provenance
    started: Started


@dataclass(frozen=True, slots=True, eq=False)
class Sight:
    """What came of a look. `hashes` is there; the rest once `waiting` is over or `finish` has
    returned."""

    wanted: Wanted
    hashes: ContentHashes
    _seen: tuple[_Seen, ...]

    @property
    def waiting(self) -> bool:
        """Whether vectors are still being made."""
        learned = {model.name for model in self.wanted.vectors}
        return any(not learned.isdisjoint(seen.started.queued) for seen in self._seen)

    async def finish(self) -> None:
        """Wait for the learned models. Raises what they raise; nothing is left running."""
        try:
            for seen in self._seen:
                await seen.started.finish()
        finally:
            self.cancel()

    def cancel(self) -> None:
        """Take back what is still queued."""
        for seen in self._seen:
            seen.started.cancel()

    @property
    def signals(self) -> tuple[Signal, ...]:
        """Hashes, then vectors, both by frame."""
        vectors = tuple(s for seen in self._seen for s in _vectors(seen, self.wanted.vectors))
        return (*self.hashes.signals, *vectors)

    @property
    def scores(self) -> tuple[Score, ...]:
        """Of the first frame, by the classifiers that were asked."""
        asked = {model.id for model in self.wanted.classifiers}
        found = self._seen[0].started.result().scores if self._seen else ()
        return tuple(score for score in found if score.model in asked)

    def outcome(self) -> tuple[ContentOutcome, str]:
        """How signals and matches are to be read, and why."""
        hashes, missing = self.hashes, self.wanted.missing
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
        if not self.wanted.vectors:
            return ""
        vectors = self.wanted.vectors
        return next(filter(None, (s.started.result(vectors).reason for s in self._seen)), "")

    def check_vectors(self, field: str) -> None:
        """Raises InvalidInput where a vector that was asked for is not there."""
        made = {signal.algorithm for signal in self.signals}
        for model in self.wanted.vectors:
            if model.id not in made:
                reason = self.outcome()[1]
                raise InvalidInput(f"{field}: no vector of {model.id}: {reason}", field=field)


def look_at(
    content: Content, wanted: Wanted, options: DecodeOptions, limits: Limits, embedder: Embedder
) -> Sight:
    """Decode once, hash, make classical vectors, queue learned ones. Synchronous, thread-safe.

    Raises what `hash_any` raises, and Overloaded where a learned model would be late.
    """
    if isinstance(content, str):
        return Sight(wanted, hash_any(content, wanted.hashes, options, limits), ())
    seen: list[_Seen] = []

    def see(image: Image) -> None:
        if models := wanted.vectors if seen else wanted.models:
            started = embedder.start(image, models)
            seen.append(_Seen(image.frame, image.provenance, started))

    try:
        hashes = hash_content(
            content,
            wanted.hashes,
            options,
            limits,
            wanted.variants,
            see=see if wanted.models else None,
            grey_suffices=wanted.grey_suffices,
        )
    except BaseException:
        for one in seen:
            one.started.cancel()
        raise
    return Sight(wanted, hashes, tuple(seen))


def _vectors(seen: _Seen, models: Sequence[Model]) -> Sequence[Signal]:
    # Classifiers may still be at work.
    made = seen.started.result(models)
    values = {embedding.model: embedding.values for embedding in made.embeddings}
    signals = []
    for model in models:
        if model.id in values:
            kind = get_algorithm(model.id)
            quality = None if kind.quality_floor is None else seen.started.quality
            value = vector_value(kind, values[model.id])
            signals.append(
                Signal(kind.name, value, quality, frame=seen.frame, provenance=seen.provenance)
            )
    return signals
