"""The one table of algorithms: service, command, `ListAlgorithms` and docs are fed from it.

imagehash's hashes come in sizes. The plain name is the library's default (`phash` is 8x8, 64
bits); another size is written after a hyphen (`phash-16` is 16x16, 256 bits; `colorhash-4` has 4
bits a share).

Vectors are named by model and version (`pdqf@1`): those of two versions do not compare. The
built-in models are in the table; any other `<name>@<version>` is a kind of vector too, of a model
that some server serves, and its values tell its length.
"""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from functools import lru_cache
from types import MappingProxyType

from featsvc.errors import UnknownAlgorithm


class Distance(Enum):
    """How two values of an algorithm are compared; smaller is nearer."""

    HAMMING = "hamming"
    """Number of differing bits."""
    EQUALITY = "equality"
    """0 where equal; nothing else matches."""
    SEGMENTS = "segments"
    """Fewest differing bits between any segment of the one and any of the other."""
    COSINE = "cosine"
    """Of vectors: 1 - cosine, 0 to 2. A threshold is such a distance, not a cosine."""
    CONTAINMENT = "containment"
    """Of texts, whose values have any length: the share of the entry's 4-grams that the query
    lacks, 0 to 1."""
    TLSH = "tlsh"
    """TLSH's own, without the length: a weighted count of differing buckets, 0 to 937."""

    @property
    def fractional(self) -> bool:
        """Whether distances are floats; otherwise they are whole numbers."""
        return self in (Distance.COSINE, Distance.CONTAINMENT)


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One kind of signal.

    `bits` is the length of a hash (of one segment where there are several), 0 for all else;
    `dimensions` that of a vector, 0 for all else and where only its values tell;
    `default_threshold` the largest distance (inclusive) that counts as a match where a bank says
    nothing else; `quality_floor` (0 to 100) the quality below which a signal is LOW_QUALITY,
    None where the algorithm has no quality; `computed` and `matched` whether `hash_content` makes
    it and banks are searched for it (vectors are made by `featsvc.embedding`); `perceptual` whether
    it is a hash of pixels, `textual` whether it is one of text; byte hashes are neither. `base` is
    the name without its size or version, `size` imagehash's `hash_size` or `binbits`, 0 where there
    is none.
    """

    name: str
    bits: int
    distance: Distance
    default_threshold: float
    quality_floor: int | None
    version: int
    computed: bool
    matched: bool
    perceptual: bool
    description: str
    size: int = 0
    base: str = ""
    dimensions: int = 0
    textual: bool = False

    @property
    def bytes(self) -> int:
        """Length of a value (of one segment) in bytes; 0 where its values differ or tell it."""
        return (self.bits + 7) // 8 or 4 * self.dimensions

    @property
    def hex_digits(self) -> int:
        """Length of the text form (of one segment); 0 as for `bytes`."""
        return (self.bits + 3) // 4 or 8 * self.dimensions

    @property
    def opaque(self) -> bool:
        """Whether its values are kept as the text they came in, in any form, never compared."""
        return self.bits == 0 and self.distance is Distance.EQUALITY

    @property
    def vector(self) -> bool:
        """Whether its values are float32, little-endian, of Euclidean length 1."""
        return self.distance is Distance.COSINE

    @property
    def largest_distance(self) -> int:
        """Of any two values; a distance divided by it compares with those of other kinds."""
        if self.distance is Distance.EQUALITY:
            return 0
        return _LARGEST.get(self.distance, self.bits)


_LARGEST = {Distance.COSINE: 2, Distance.CONTAINMENT: 1, Distance.TLSH: 937}

QUALITY_FLOOR = 50
"""Meta's advice for PDQ. The measure is of the picture, so it holds for every perceptual hash."""

MAX_SIZE = 32
"""Largest `hash_size`: 1,024 bits."""
MAX_BINBITS = 8


def _opaque(name: str, description: str) -> Algorithm:
    return Algorithm(
        name, 0, Distance.EQUALITY, 0, None, 1, False, False, False, f"{description}: stored only",
        base=name,
    )  # fmt: skip


def _byte_hash(name: str, bits: int, description: str) -> Algorithm:
    return Algorithm(
        name, bits, Distance.EQUALITY, 0, None, 1, True, True, False, description, base=name
    )


def _textual(
    name: str, bits: int, distance: Distance, threshold: float, description: str
) -> Algorithm:
    return Algorithm(
        name, bits, distance, threshold, None, 1, True, True, False, description, base=name,
        textual=True,
    )  # fmt: skip


def _perceptual(
    name: str, bits: int, threshold: int, description: str, *, size: int = 0
) -> Algorithm:
    return Algorithm(
        name, bits, Distance.HAMMING, threshold, QUALITY_FLOOR, 1, True, True, True, description,
        size, name,
    )  # fmt: skip


def _vector(
    name: str, dimensions: int, threshold: float, description: str, *, floor: int | None = None
) -> Algorithm:
    base, _, version = name.partition("@")
    return Algorithm(
        name, 0, Distance.COSINE, threshold, floor, int(version), False, True, False, description,
        base=base, dimensions=dimensions,
    )  # fmt: skip


VECTOR_THRESHOLD = 0.05
"""Of a model that nobody measured here: near-copies only. Tell a bank its own, from evaluate."""

MAX_DIMENSIONS = 4096

ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        a.name: a
        for a in (
            _perceptual("pdq", 256, 31, "Meta's PDQ: near-duplicate photographs"),
            _perceptual("phash", 64, 8, "imagehash phash: DCT, median", size=8),
            _perceptual("phash_simple", 64, 4, "imagehash phash_simple: DCT of rows, mean", size=8),
            _perceptual("ahash", 64, 2, "imagehash average_hash: brighter than the mean", size=8),
            _perceptual("dhash", 64, 5, "imagehash dhash: differences along rows", size=8),
            _perceptual("dhash_vertical", 64, 5, "imagehash dhash_vertical", size=8),
            _perceptual("whash", 64, 2, "imagehash whash, Haar wavelet", size=8),
            _perceptual("whash_db4", 196, 8, "imagehash whash, mode db4", size=8),
            # It tells palettes apart, not pictures: every grey picture has the same one.
            replace(
                _perceptual("colorhash", 42, 0, "imagehash colorhash: shares of colours", size=3),
                matched=False,
            ),
            replace(
                _perceptual(
                    "crop_resistant", 64, 5, "imagehash crop_resistant_hash: dhash of segments",
                    size=8,
                ),
                distance=Distance.SEGMENTS,
                matched=False,
            ),
            _byte_hash("md5", 128, "MD5 of the bytes, as exchanged in lists"),
            _byte_hash("sha1", 160, "SHA-1 of the bytes, as exchanged in lists"),
            _byte_hash("sha256", 256, "SHA-256 of the bytes"),
            _textual("text", 0, Distance.CONTAINMENT, 0.4, "4-grams of a text: edited copies"),
            _textual("text_sha256", 256, Distance.EQUALITY, 0, "SHA-256 of a text as it reads"),
            _textual("tlsh", 280, Distance.TLSH, 30, "TLSH of a text's UTF-8, as in lists"),
            _opaque("pdna", "PhotoDNA"),
            _opaque("tmk", "TMK+PDQF of videos"),
            _opaque("vpdq", "PDQ of video frames"),
            _opaque("netclean", "NetClean"),
            _opaque("videntifier", "Videntifier"),
            _opaque("ssvh", "Scene-sensitive video hashes"),
            # Thresholds: python -m bench.vector_thresholds; see docs/models.md.
            _vector("pdqf@1", 256, 0.135, "PDQ before its bits are cut", floor=QUALITY_FLOOR),
            _vector("gist@1", 512, 0.015, "GIST of 64x64 luma", floor=QUALITY_FLOOR),
            _vector("hog@1", 1764, 0.0225, "HOG of 64x64 luma", floor=QUALITY_FLOOR),
            # It tells palettes apart, not pictures: no distance but 0 keeps strangers out.
            _vector("colour_layout@1", 58, 0.0, "MPEG-7 colour layout", floor=QUALITY_FLOOR),
        )
    }
)  # fmt: skip

DEFAULT_ALGORITHMS = ("pdq", "md5", "sha256")
DEFAULT_TEXT_ALGORITHMS = ("text_sha256", "text", "md5", "sha256")


def _square(size: int) -> int:
    return size * size


# Base name -> (sizes it takes, bits of a size).
_SQUARE_SIZES = range(2, MAX_SIZE + 1)
_POWERS = (2, 4, 8, 16, 32)
_SIZES: Mapping[str, tuple[range | tuple[int, ...], Callable[[int], int]]] = {
    "phash": (_SQUARE_SIZES, _square),
    "phash_simple": (_SQUARE_SIZES, _square),
    "ahash": (_SQUARE_SIZES, _square),
    "dhash": (_SQUARE_SIZES, _square),
    "dhash_vertical": (_SQUARE_SIZES, _square),
    "whash": (_POWERS, _square),
    "whash_db4": (_POWERS, lambda size: (size + 6) ** 2),
    "colorhash": (range(1, MAX_BINBITS + 1), lambda binbits: 14 * binbits),
    "crop_resistant": (_SQUARE_SIZES, _square),
}


def find_algorithm(name: str) -> Algorithm | None:
    """Look up by name, with or without a size, or model and version; None where there is none."""
    return ALGORITHMS.get(name) or _sized(name) or _vector_of_model(name)


def get_algorithm(name: str, *, field: str = "algorithm") -> Algorithm:
    """As `find_algorithm`. Raises UnknownAlgorithm, listing what is known."""
    if (known := find_algorithm(name)) is not None:
        return known
    shown = name if len(name) <= 64 else name[:61] + "..."
    raise UnknownAlgorithm(
        f"{field}: unknown algorithm {shown!r}; known are {', '.join(ALGORITHMS)}, "
        f"sizes as in phash-16 (2 to {MAX_SIZE}; powers of two for whash; "
        f"1 to {MAX_BINBITS} for colorhash), and vectors of other models as in sscd@1",
        field=field,
    )


@lru_cache(maxsize=256)
def _sized(name: str) -> Algorithm | None:
    """`phash-16` from `phash`; None where it is no such name. Thresholds grow with the bits."""
    base, hyphen, digits = name.partition("-")
    canonical = digits.isascii() and digits.isdigit() and len(digits) <= 2 and digits[0] != "0"
    if not hyphen or base not in _SIZES or not canonical:
        return None
    sizes, bits_of = _SIZES[base]
    size, plain = int(digits), ALGORITHMS[base]
    # One name for each: the default size has none.
    if size not in sizes or size == plain.size:
        return None
    bits = bits_of(size)
    threshold = plain.default_threshold * bits // plain.bits
    return replace(plain, name=name, bits=bits, size=size, default_threshold=threshold)


# The names that a models file may give, and its versions: see `embedding.model_file`.
_MODEL_ID = re.compile(r"[a-z][a-z0-9_-]{0,62}@[1-9][0-9]{0,9}", re.ASCII)


@lru_cache(maxsize=256)
def _vector_of_model(name: str) -> Algorithm | None:
    """`sscd@1`; None where it is no such name."""
    base = name.partition("@")[0]
    if not _MODEL_ID.fullmatch(name) or int(name.partition("@")[2]) >= 2**31:
        return None
    return _vector(name, 0, VECTOR_THRESHOLD, f"vectors of the model {base}")
