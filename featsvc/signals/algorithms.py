"""The table of algorithms, from which the service, the command, `ListAlgorithms` and docs are fed.

imagehash's hashes come in sizes. The plain name has the library's default size (`phash` is 8x8, 64
bits). A hyphen and a number name another size (`phash-16` is 16x16, 256 bits; `colorhash-4` has 4
bits a share).

Vectors are named by model and version (`pdqf@1`); those of two versions do not compare. The
built-in models are in the table. Any other `<name>@<version>` is an algorithm too: the vectors of a
model that a server may serve, of a length that only the values show.

CONTRIBUTING.md says how to add a hash. Tests that go over the table fail until every step is done.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache, partial
from types import MappingProxyType

from featsvc.errors import UnknownAlgorithm, shown
from featsvc.signals.distance import (
    CONTAINMENT,
    COSINE,
    EQUALITY,
    HAMMING,
    OPAQUE,
    SEGMENTS,
    TLSH,
    Distance,
)


class Kind(Enum):
    """The input of an algorithm, and the part of featsvc that computes it."""

    PICTURE = "picture"
    """Decoded pixels, by `featsvc.hashing.perceptual`."""
    BYTES = "bytes"
    """Content as it was sent, both files and texts."""
    TEXT = "text"
    """A text or its normal forms, by `featsvc.signals.text`."""
    VECTOR = "vector"
    """Decoded pixels, by a model of `featsvc.embedding`."""
    STORED = "stored"
    """Not computed: lists carry such signals and banks store them."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """The sizes that an algorithm takes, and the number of bits of a hash of a size."""

    taken: range | tuple[int, ...]
    bits: Callable[[int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One row of the table: an algorithm that makes signals.

    - `bits`: the length of a hash (of one segment where there are several), otherwise 0.
    - `default_threshold`: the largest distance (inclusive) that matches unless a bank sets another.
    - `quality_floor`: the quality (0 to 100) below which a signal is LOW_QUALITY; None where the
      algorithm has no quality.
    - `zeros_are_plain`: whether a value of zeros is that of a picture without structure, which is
      LOW_QUALITY whatever its quality.
    - `matched`: whether banks are searched for it.
    - `compute`: the function that computes it, as `module:function`; empty where `hash_content` and
      `hash_text` do not compute it. `featsvc.signals.computing` describes the functions.
    - `luma_suffices`: whether the grey plane of a JPEG is enough to compute it.
    - `size`: imagehash's `hash_size` or `binbits`, 0 where there is none.
    - `base`: the name without size or version.
    - `dimensions`: the length of a vector; 0 for hashes and where only the values show it.
    """

    name: str
    kind: Kind
    distance: Distance
    description: str
    bits: int = 0
    default_threshold: float = 0
    quality_floor: int | None = None
    zeros_are_plain: bool = False
    version: int = 1
    matched: bool = True
    compute: str = ""
    luma_suffices: bool = False
    size: int = 0
    sizes: Sizes | None = None
    base: str = ""
    dimensions: int = 0

    def __post_init__(self) -> None:
        if not self.base:
            object.__setattr__(self, "base", self.name)

    @property
    def computed(self) -> bool:
        """Whether this build computes it from content."""
        return bool(self.compute)

    @property
    def of_files(self) -> bool:
        """Whether this build computes it from the bytes of a file."""
        return self.computed and self.kind is not Kind.TEXT

    @property
    def of_texts(self) -> bool:
        """Whether this build computes it from a text."""
        return self.computed and self.kind is not Kind.PICTURE

    @property
    def bytes(self) -> int:
        """The length of a value (of one segment) in bytes; 0 where values have several lengths."""
        return (self.bits + 7) // 8 or 4 * self.dimensions

    @property
    def hex_digits(self) -> int:
        """The length of the text form (of one segment); 0 as for `bytes`."""
        return (self.bits + 3) // 4 or 8 * self.dimensions

    @property
    def largest_distance(self) -> int:
        """The largest distance; distances divided by it compare across algorithms."""
        return self.distance.largest(self)


QUALITY_FLOOR = 50
"""Meta's advice for PDQ. Quality is the picture's, so the floor holds for all perceptual hashes."""

MAX_SIZE = 32
"""Largest `hash_size`: 1,024 bits."""
_SIZE_DIGITS = len(str(MAX_SIZE))
MAX_BINBITS = 8

VECTOR_THRESHOLD = 0.05
"""The default for a model that was not measured here: near copies only. `featsvc bank evaluate`
finds a better one for a bank."""


def _squared(side: int) -> int:
    return side * side


_SQUARES = Sizes(range(2, MAX_SIZE + 1), _squared)
_POWERS = (2, 4, 8, 16, 32)

_picture = partial(Algorithm, kind=Kind.PICTURE, distance=HAMMING, quality_floor=QUALITY_FLOOR)
_square = partial(_picture, bits=64, size=8, sizes=_SQUARES)
_bytes = partial(Algorithm, kind=Kind.BYTES, distance=EQUALITY)
_text = partial(Algorithm, kind=Kind.TEXT)
_stored = partial(Algorithm, kind=Kind.STORED, distance=OPAQUE, matched=False)
_vector = partial(Algorithm, kind=Kind.VECTOR, distance=COSINE)
_built_in = partial(_vector, quality_floor=QUALITY_FLOOR)

_TABLE = (
    _picture(
        name="pdq",
        description="Meta's PDQ: near-duplicate photographs",
        bits=256,
        default_threshold=31,
        zeros_are_plain=True,
        compute="featsvc.hashing.perceptual:pdq",
        luma_suffices=True,
    ),
    _square(
        name="phash",
        description="imagehash phash: DCT, median",
        default_threshold=8,
        compute="featsvc.hashing.imagehashes:phash",
    ),
    _square(
        name="phash_simple",
        description="imagehash phash_simple: DCT of rows, mean",
        default_threshold=4,
        compute="featsvc.hashing.imagehashes:phash_simple",
    ),
    _square(
        name="ahash",
        description="imagehash average_hash: brighter than the mean",
        default_threshold=2,
        compute="featsvc.hashing.imagehashes:average_hash",
    ),
    _square(
        name="dhash",
        description="imagehash dhash: differences along rows",
        default_threshold=5,
        compute="featsvc.hashing.imagehashes:dhash",
    ),
    _square(
        name="dhash_vertical",
        description="imagehash dhash_vertical",
        default_threshold=5,
        compute="featsvc.hashing.imagehashes:dhash_vertical",
    ),
    _square(
        name="whash",
        description="imagehash whash, Haar wavelet",
        default_threshold=2,
        compute="featsvc.hashing.imagehashes:whash",
        sizes=Sizes(_POWERS, _squared),
    ),
    _picture(
        name="whash_db4",
        description="imagehash whash, mode db4",
        bits=196,
        default_threshold=8,
        compute="featsvc.hashing.imagehashes:whash_db4",
        size=8,
        sizes=Sizes(_POWERS, lambda size: (size + 6) ** 2),
    ),
    # It distinguishes palettes, not pictures: every grey picture has the same one.
    _picture(
        name="colorhash",
        description="imagehash colorhash: shares of colours",
        bits=42,
        matched=False,
        compute="featsvc.hashing.imagehashes:colorhash",
        size=3,
        sizes=Sizes(range(1, MAX_BINBITS + 1), lambda binbits: 14 * binbits),
    ),
    _square(
        name="crop_resistant",
        description="imagehash crop_resistant_hash: dhash of segments",
        distance=SEGMENTS,
        default_threshold=5,
        matched=False,
        compute="featsvc.hashing.imagehashes:crop_resistant_hash",
    ),
    _bytes(
        name="md5",
        description="MD5 of the bytes, as exchanged in lists",
        bits=128,
        compute="featsvc.signals.digests:md5",
    ),
    _bytes(
        name="sha1",
        description="SHA-1 of the bytes, as exchanged in lists",
        bits=160,
        compute="featsvc.signals.digests:sha1",
    ),
    _bytes(
        name="sha256",
        description="SHA-256 of the bytes",
        bits=256,
        compute="featsvc.signals.digests:sha256",
    ),
    _text(
        name="text",
        description="4-grams of a text: edited copies",
        distance=CONTAINMENT,
        default_threshold=0.4,
        compute="featsvc.signals.text:grams",
    ),
    _text(
        name="text_sha256",
        description="SHA-256 of a text as it reads",
        distance=EQUALITY,
        bits=256,
        compute="featsvc.signals.text:plain_digest",
    ),
    _text(
        name="tlsh",
        description="TLSH of a text's UTF-8, as in lists",
        distance=TLSH,
        bits=280,
        default_threshold=30,
        compute="featsvc.signals.text:tlsh",
    ),
    _stored(name="pdna", description="PhotoDNA: stored only"),
    _stored(name="tmk", description="TMK+PDQF of videos: stored only"),
    _stored(name="vpdq", description="PDQ of video frames: stored only"),
    _stored(name="netclean", description="NetClean: stored only"),
    _stored(name="videntifier", description="Videntifier: stored only"),
    _stored(name="ssvh", description="Scene-sensitive video hashes: stored only"),
    # Thresholds: python -m bench.vector_thresholds; see docs/models.md.
    _built_in(
        name="pdqf@1",
        base="pdqf",
        description="PDQ before its bits are cut",
        dimensions=256,
        default_threshold=0.135,
    ),
    _built_in(
        name="gist@1",
        base="gist",
        description="GIST of 64x64 luma",
        dimensions=512,
        default_threshold=0.015,
    ),
    _built_in(
        name="hog@1",
        base="hog",
        description="HOG of 64x64 luma",
        dimensions=1764,
        default_threshold=0.0225,
    ),
    # It distinguishes palettes, not pictures: any threshold above 0 matches unrelated pictures.
    _built_in(
        name="colour_layout@1",
        base="colour_layout",
        description="MPEG-7 colour layout",
        dimensions=58,
        default_threshold=0.0,
    ),
)

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType({a.name: a for a in _TABLE})

DEFAULT_ALGORITHMS = ("pdq", "md5", "sha256")
DEFAULT_TEXT_ALGORITHMS = ("text_sha256", "text", "md5", "sha256")


def find_algorithm(name: str) -> Algorithm | None:
    """Look up an algorithm by name and size or by model and version; None if there is none."""
    return ALGORITHMS.get(name) or _sized(name) or _vector_of_model(name)


def get_algorithm(name: str, *, field: str = "algorithm") -> Algorithm:
    """Look up an algorithm. Raises UnknownAlgorithm, which lists the known names."""
    if (known := find_algorithm(name)) is not None:
        return known
    raise UnknownAlgorithm(
        f"{field}: unknown algorithm {shown(name)!r}; known are {', '.join(ALGORITHMS)}, "
        f"sizes as in phash-16 (2 to {MAX_SIZE}; powers of two for whash; "
        f"1 to {MAX_BINBITS} for colorhash), and vectors of other models as in sscd@1",
        field=field,
    )


@lru_cache(maxsize=256)
def _sized(name: str) -> Algorithm | None:
    """Derive `phash-16` from `phash`; None for other names. Thresholds grow with the bits."""
    base, hyphen, digits = name.partition("-")
    canonical = (
        digits.isascii() and digits.isdigit() and len(digits) <= _SIZE_DIGITS and digits[0] != "0"
    )
    plain = ALGORITHMS.get(base)
    if not hyphen or not canonical or plain is None or plain.sizes is None:
        return None
    size = int(digits)
    # Every algorithm has one name: the default size is not written.
    if size not in plain.sizes.taken or size == plain.size:
        return None
    bits = plain.sizes.bits(size)
    threshold = plain.default_threshold * bits // plain.bits
    return replace(plain, name=name, bits=bits, size=size, default_threshold=threshold)


# The names and versions that a models file may use: see `embedding.model_file`.
_MODEL_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}@[1-9][0-9]{0,9}", re.ASCII)


@lru_cache(maxsize=256)
def _vector_of_model(name: str) -> Algorithm | None:
    """Make the algorithm of a name like `sscd@1`; None for other names."""
    base, _, version = name.partition("@")
    if not _MODEL_ID.fullmatch(name) or int(version) >= 2**31:
        return None
    return _vector(
        name=name,
        base=base,
        description=f"vectors of the model {base}",
        version=int(version),
        default_threshold=VECTOR_THRESHOLD,
    )
