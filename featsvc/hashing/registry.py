"""The one table of algorithms: service, command, `ListAlgorithms` and docs are fed from it.

imagehash's hashes come in sizes. The plain name is the library's default (`phash` is 8x8, 64
bits); another size is written after a hyphen (`phash-16` is 16x16, 256 bits; `colorhash-4` has 4
bits a share).
"""

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


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One kind of signal.

    `bits` is the length of a value (of one segment where there are several);
    `default_threshold` the largest distance (bits, inclusive) that counts as a match where a bank
    says nothing else; `quality_floor` (0 to 100) the quality below which a signal is LOW_QUALITY,
    None where the algorithm has no quality; `computed` and `matched` whether this build makes it
    from content and searches banks for it; `perceptual` whether it needs pixels. `base` is the
    name without its size, `size` imagehash's `hash_size` or `binbits`, 0 where there is none.
    An algorithm with `bits` 0 is opaque: lists carry it as text of any form, which is kept as it
    is and never compared.
    """

    name: str
    bits: int
    distance: Distance
    default_threshold: int
    quality_floor: int | None
    version: int
    computed: bool
    matched: bool
    perceptual: bool
    description: str
    size: int = 0
    base: str = ""

    @property
    def bytes(self) -> int:
        """Length of a value (of one segment) in bytes."""
        return (self.bits + 7) // 8

    @property
    def hex_digits(self) -> int:
        """Length of the text form (of one segment)."""
        return (self.bits + 3) // 4

    @property
    def opaque(self) -> bool:
        """Whether its values are kept as the text they came in."""
        return self.bits == 0


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


def _perceptual(
    name: str, bits: int, threshold: int, description: str, *, size: int = 0
) -> Algorithm:
    return Algorithm(
        name, bits, Distance.HAMMING, threshold, QUALITY_FLOOR, 1, True, True, True, description,
        size, name,
    )  # fmt: skip


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
            _opaque("pdna", "PhotoDNA"),
            _opaque("tmk", "TMK+PDQF of videos"),
            _opaque("vpdq", "PDQ of video frames"),
            _opaque("netclean", "NetClean"),
            _opaque("videntifier", "Videntifier"),
            _opaque("ssvh", "Scene-sensitive video hashes"),
        )
    }
)  # fmt: skip

DEFAULT_ALGORITHMS = ("pdq", "md5", "sha256")


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
    """Look up by name, with or without a size; None where there is no such algorithm."""
    return ALGORITHMS.get(name) or _sized(name)


def get_algorithm(name: str, *, field: str = "algorithm") -> Algorithm:
    """Look up by name, with or without a size. Raises UnknownAlgorithm, listing what is known."""
    if (known := find_algorithm(name)) is not None:
        return known
    shown = name if len(name) <= 64 else name[:61] + "..."
    raise UnknownAlgorithm(
        f"{field}: unknown algorithm {shown!r}; known are {', '.join(ALGORITHMS)}, "
        f"and sizes as in phash-16 (2 to {MAX_SIZE}; powers of two for whash; "
        f"1 to {MAX_BINBITS} for colorhash)",
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
