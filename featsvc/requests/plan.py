"""Plans: which hashes, vectors and scores to compute of one piece of content."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

from featsvc.embedding import GREY_SUFFICES, Embedder, Model
from featsvc.errors import InvalidInput
from featsvc.hashing.content import Content
from featsvc.hashing.variants import VariantMaker, make_original, query_maker
from featsvc.matching.matches import MatchOptions
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import (
    DEFAULT_ALGORITHMS,
    DEFAULT_TEXT_ALGORITHMS,
    Kind,
    find_algorithm,
    get_algorithm,
)


@dataclass(frozen=True, slots=True)
class ContentPlan:
    """Hash algorithms, models of vectors of every frame, and classifiers of the first frame.

    `missing` names vectors that the searched banks hold but this server cannot compute. `variants`
    yields PDQ of the original and its variants. `must_decode` as for `hash_content`.
    """

    hashes: tuple[str, ...]
    vectors: tuple[Model, ...] = ()
    classifiers: tuple[Model, ...] = ()
    missing: tuple[str, ...] = ()
    variants: VariantMaker = make_original
    must_decode: bool = False

    @property
    def models(self) -> tuple[Model, ...]:
        return tuple(dict.fromkeys((*self.vectors, *self.classifiers)))

    @property
    def grey_suffices(self) -> bool:
        return all(model.name in GREY_SUFFICES for model in self.models)


def default_algorithms(content: Content, held: Iterable[str] = ()) -> tuple[str, ...]:
    """Return the default set, and those of `held` that are computed of such content."""
    return _default_names(isinstance(content, str), tuple(held))


@lru_cache(maxsize=64)
def _default_names(text: bool, held: tuple[str, ...]) -> tuple[str, ...]:
    names = DEFAULT_TEXT_ALGORITHMS if text else DEFAULT_ALGORITHMS
    others = (get_algorithm(name) for name in held if name not in names)
    return (*names, *(k.name for k in others if (k.of_texts if text else k.of_files)))


def plan_for_banks(
    snapshot: Snapshot,
    embedder: Embedder,
    options: MatchOptions,
    algorithms: Sequence[str],
    classifiers: Sequence[Model] = (),
) -> ContentPlan:
    """Plan the named hashes, and vectors by model and version.

    Without `algorithms`, plan the default set and everything else that the banks hold and this
    server computes, so that a list of SHA-1 is searched although no request names SHA-1. The query
    variants of PDQ are those of the searched banks or of `options`. Raises NotFound (a bank),
    UnknownAlgorithm.
    """
    variants = query_maker(snapshot.query_variants(options))
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
    """Return the served model whose vectors compare with those of the banks.

    Vectors of another length belong to a different model of the same name.
    """
    model = embedder.served(name)
    fits = model is not None and snapshot.value_bytes(name) in (0, 4 * model.dimensions)
    return model if fits else None


def plan_for_text(
    text: str, snapshot: Snapshot, algorithms: Sequence[str], classifiers: Sequence[Model]
) -> ContentPlan:
    """Plan the hashes of a text. Raises InvalidInput for classifiers."""
    if classifiers:
        raise InvalidInput(
            "models: classifiers are for pictures; leave them out for a text", field="models"
        )
    return ContentPlan(tuple(algorithms) or default_algorithms(text, snapshot.algorithms))


def plan_named(
    embedder: Embedder, algorithms: Sequence[str], classifiers: Sequence[Model] = ()
) -> ContentPlan:
    """Plan hashes and vectors by name. Raises UnknownAlgorithm for a model that is not served."""
    kinds = {name: find_algorithm(name) for name in algorithms}
    vectors = [name for name, k in kinds.items() if k is not None and k.kind is Kind.VECTOR]
    return ContentPlan(
        tuple(name for name in algorithms if name not in vectors),
        embedder.select(vectors) if vectors else (),
        tuple(classifiers),
    )
