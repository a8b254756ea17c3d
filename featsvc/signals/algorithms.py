"""The one table of algorithms: service, command, `ListAlgorithms` and docs are fed from it.

imagehash's hashes come in sizes. The plain name is the library's default (`phash` is 8x8, 64
bits); another size is written after a hyphen (`phash-16` is 16x16, 256 bits; `colorhash-4` has 4
bits a share).

Vectors are named by model and version (`pdqf@1`): those of two versions do not compare. The
built-in models are in the table; any other `<name>@<version>` is a kind of vector too, of a model
that some server serves, and its values tell its length.

To add a hash: write the function, name it in a row here, give it an oracle in
`tests/hashing/oracles.py` and a row in docs/hashing.md. Tests that go over the table ask for each.
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
    """What a signal is made of, and by whom."""

    PICTURE = "picture"
    """Decoded pixels, by `featsvc.hashing.perceptual`."""
    BYTES = "bytes"
    """Content as it was sent, files and texts alike."""
    TEXT = "text"
    """A text as it reads or as it was sent, by `featsvc.signals.text`."""
    VECTOR = "vector"
    """Decoded pixels, by a model of `featsvc.embedding`."""
    STORED = "stored"
    """Nothing here: lists bring it, banks keep it."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Which sizes an algorithm takes besides its own, and how many bits one of a size has."""

    taken: range | tuple[int, ...]
    bits: Callable[[int], int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Algorithm:
    """One kind of signal.

    `bits` is the length of a hash (of one segment where there are several), 0 for all else;
    `dimensions` that of a vector, 0 for all else and where only its values tell;
    `default_threshold` the largest distance (inclusive) that counts as a match where a bank says
    nothing else; `quality_floor` (0 to 100) the quality below which a signal is LOW_QUALITY,
    None where the algorithm has no quality; `matched` whether banks are searched for it. `base` is
    the name without its size or version, `size` imagehash's `hash_size` or `binbits`, 0 where there
    is none.

    `compute` names the function that makes it as `module:function`, empty where `hash_content` and
    `hash_text` do not; `featsvc.signals.computing` says what such a function is given.
    `luma_suffices` whether a JPEG's own grey plane will do for it.
    """

    name: str
    kind: Kind
    distance: Distance
    description: str
    bits: int = 0
    default_threshold: float = 0
    quality_floor: int | None = None
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
        """Whether this build makes it of content."""
        return bool(self.compute)

    @property
    def of_files(self) -> bool:
        """Whether this build makes it of the bytes of a file."""
        return self.computed and self.kind is not Kind.TEXT

    @property
    def of_texts(self) -> bool:
        """Whether this build makes it of a text."""
        return self.computed and self.kind is not Kind.PICTURE

    @property
    def bytes(self) -> int:
        """Length of a value (of one segment) in bytes; 0 where its values differ or tell it."""
        return (self.bits + 7) // 8 or 4 * self.dimensions

    @property
    def hex_digits(self) -> int:
        """Length of the text form (of one segment); 0 as for `bytes`."""
        return (self.bits + 3) // 4 or 8 * self.dimensions

    @property
    def largest_distance(self) -> int:
        """Of any two values; a distance divided by it compares with those of other kinds."""
        return self.distance.largest(self)


QUALITY_FLOOR = 50
"""Meta's advice for PDQ. The measure is of the picture, so it holds for every perceptual hash."""

MAX_SIZE = 32
"""Largest `hash_size`: 1,024 bits."""
_SIZE_DIGITS = len(str(MAX_SIZE))
MAX_BINBITS = 8

VECTOR_THRESHOLD = 0.05
"""Of a model that nobody measured here: near-copies only. Tell a bank its own, from evaluate."""


def _square(side: int) -> int:
    return side * side


_SQUARES = Sizes(range(2, MAX_SIZE + 1), _square)
_POWERS = (2, 4, 8, 16, 32)

_picture = partial(Algorithm, kind=Kind.PICTURE, distance=HAMMING, quality_floor=QUALITY_FLOOR)
_bytes = partial(Algorithm, kind=Kind.BYTES, distance=EQUALITY)
_text = partial(Algorithm, kind=Kind.TEXT)
_stored = partial(Algorithm, kind=Kind.STORED, distance=OPAQUE, matched=False)
_vector = partial(Algorithm, kind=Kind.VECTOR, distance=COSINE)

_TABLE = (
    _picture(
        name="pdq",
        description="Meta's PDQ: near-duplicate photographs",
        bits=256,
        default_threshold=31,
        compute="featsvc.hashing.perceptual:pdq",
        luma_suffices=True,
    ),
    _picture(
        name="phash",
        description="imagehash phash: DCT, median",
        bits=64,
        default_threshold=8,
        compute="featsvc.hashing.imagehashes:phash",
        size=8,
        sizes=_SQUARES,
    ),
    _picture(
        name="phash_simple",
        description="imagehash phash_simple: DCT of rows, mean",
        bits=64,
        default_threshold=4,
        compute="featsvc.hashing.imagehashes:phash_simple",
        size=8,
        sizes=_SQUARES,
    ),
    _picture(
        name="ahash",
        description="imagehash average_hash: brighter than the mean",
        bits=64,
        default_threshold=2,
        compute="featsvc.hashing.imagehashes:average_hash",
        size=8,
        sizes=_SQUARES,
    ),
    _picture(
        name="dhash",
        description="imagehash dhash: differences along rows",
        bits=64,
        default_threshold=5,
        compute="featsvc.hashing.imagehashes:dhash",
        size=8,
        sizes=_SQUARES,
    ),
    _picture(
        name="dhash_vertical",
        description="imagehash dhash_vertical",
        bits=64,
        default_threshold=5,
        compute="featsvc.hashing.imagehashes:dhash_vertical",
        size=8,
        sizes=_SQUARES,
    ),
    _picture(
        name="whash",
        description="imagehash whash, Haar wavelet",
        bits=64,
        default_threshold=2,
        compute="featsvc.hashing.imagehashes:whash",
        size=8,
        sizes=Sizes(_POWERS, _square),
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
    # It tells palettes apart, not pictures: every grey picture has the same one.
    _picture(
        name="colorhash",
        description="imagehash colorhash: shares of colours",
        bits=42,
        matched=False,
        compute="featsvc.hashing.imagehashes:colorhash",
        size=3,
        sizes=Sizes(range(1, MAX_BINBITS + 1), lambda binbits: 14 * binbits),
    ),
    _picture(
        name="crop_resistant",
        description="imagehash crop_resistant_hash: dhash of segments",
        distance=SEGMENTS,
        bits=64,
        default_threshold=5,
        matched=False,
        compute="featsvc.hashing.imagehashes:crop_resistant_hash",
        size=8,
        sizes=_SQUARES,
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
    _vector(
        name="pdqf@1",
        base="pdqf",
        description="PDQ before its bits are cut",
        dimensions=256,
        default_threshold=0.135,
        quality_floor=QUALITY_FLOOR,
    ),
    _vector(
        name="gist@1",
        base="gist",
        description="GIST of 64x64 luma",
        dimensions=512,
        default_threshold=0.015,
        quality_floor=QUALITY_FLOOR,
    ),
    _vector(
        name="hog@1",
        base="hog",
        description="HOG of 64x64 luma",
        dimensions=1764,
        default_threshold=0.0225,
        quality_floor=QUALITY_FLOOR,
    ),
    # It tells palettes apart, not pictures: no distance but 0 keeps strangers out.
    _vector(
        name="colour_layout@1",
        base="colour_layout",
        description="MPEG-7 colour layout",
        dimensions=58,
        default_threshold=0.0,
        quality_floor=QUALITY_FLOOR,
    ),
)

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType({a.name: a for a in _TABLE})

DEFAULT_ALGORITHMS = ("pdq", "md5", "sha256")
DEFAULT_TEXT_ALGORITHMS = ("text_sha256", "text", "md5", "sha256")


def find_algorithm(name: str) -> Algorithm | None:
    """Look up by name, with or without a size, or model and version; None where there is none."""
    return ALGORITHMS.get(name) or _sized(name) or _vector_of_model(name)


def get_algorithm(name: str, *, field: str = "algorithm") -> Algorithm:
    """As `find_algorithm`. Raises UnknownAlgorithm, listing what is known."""
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
    """`phash-16` from `phash`; None where it is no such name. Thresholds grow with the bits."""
    base, hyphen, digits = name.partition("-")
    canonical = (
        digits.isascii() and digits.isdigit() and len(digits) <= _SIZE_DIGITS and digits[0] != "0"
    )
    plain = ALGORITHMS.get(base)
    if not hyphen or not canonical or plain is None or plain.sizes is None:
        return None
    size = int(digits)
    # One name for each: the default size has none.
    if size not in plain.sizes.taken or size == plain.size:
        return None
    bits = plain.sizes.bits(size)
    threshold = plain.default_threshold * bits // plain.bits
    return replace(plain, name=name, bits=bits, size=size, default_threshold=threshold)


# The names that a models file may give, and its versions: see `embedding.model_file`.
_MODEL_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}@[1-9][0-9]{0,9}", re.ASCII)


@lru_cache(maxsize=256)
def _vector_of_model(name: str) -> Algorithm | None:
    """`sscd@1`; None where it is no such name."""
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
