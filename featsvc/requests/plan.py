"""What is to be made of one piece of content: hashes, vectors and scores, by name."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from featsvc.embedding import GREY_SUFFICES, Embedder, Model
from featsvc.errors import InvalidInput
from featsvc.hashing.variants import MakeVariants, make_original, making
from featsvc.matching.matches import MatchOptions
from featsvc.matching.snapshot import Snapshot
from featsvc.requests.content import default_algorithms
from featsvc.signals.algorithms import Kind, find_algorithm


@dataclass(frozen=True, slots=True)
class ContentPlan:
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


def plan_for_banks(
    snapshot: Snapshot,
    embedder: Embedder,
    options: MatchOptions,
    algorithms: Sequence[str],
    classifiers: Sequence[Model] = (),
) -> ContentPlan:
    """What `algorithms` name: hashes, and vectors by model and version.

    None means the default set and everything else that the banks hold and this build computes: a
    list of SHA-1 must not be missed because nobody named SHA-1. PDQ's query variants are made
    where a searched bank asks for them, or `options` do. Raises NotFound for a bank,
    UnknownAlgorithm.
    """
    variants = making(snapshot.query_variants(options))
    if algorithms:
        return replace(plan_named(embedder, algorithms, classifiers), variants=variants)
    held = {name: _served(embedder, snapshot, name) for name in snapshot.vectors_held(options)}
    return ContentPlan(
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


def plan_for_text(
    text: str, snapshot: Snapshot, algorithms: Sequence[str], classifiers: Sequence[Model]
) -> ContentPlan:
    """The same of a text, which has hashes only. Raises InvalidInput for classifiers."""
    if classifiers:
        raise InvalidInput("models: are of pictures; leave them out for a text", field="models")
    return ContentPlan(tuple(algorithms) or default_algorithms(text, snapshot.algorithms))


def plan_named(
    embedder: Embedder, algorithms: Sequence[str], classifiers: Sequence[Model] = ()
) -> ContentPlan:
    """Hashes and vectors by name. Raises UnknownAlgorithm for a model that is not served here."""
    kinds = {name: find_algorithm(name) for name in algorithms}
    vectors = [name for name, k in kinds.items() if k is not None and k.kind is Kind.VECTOR]
    return ContentPlan(
        tuple(name for name in algorithms if name not in vectors),
        embedder.select(vectors) if vectors else (),
        tuple(classifiers),
    )
