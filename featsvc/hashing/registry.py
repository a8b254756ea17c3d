"""The one table of algorithms: service, command, `ListAlgorithms` and docs are fed from it."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType

from featsvc.errors import UnknownAlgorithm


class Distance(Enum):
    """How two values of an algorithm are compared; smaller is nearer."""

    HAMMING = "hamming"
    """Number of differing bits."""
    EQUALITY = "equality"
    """0 where equal; nothing else matches."""


@dataclass(frozen=True, slots=True)
class Algorithm:
    """One kind of signal.

    `bits` is the length of a value; `default_threshold` the largest distance (bits, inclusive)
    that counts as a match where a bank says nothing else; `quality_floor` (0 to 100) the quality
    below which a signal is LOW_QUALITY, None where the algorithm has no quality; `computed` and
    `matched` whether this build makes it from content and searches banks for it; `perceptual`
    whether it needs pixels. An algorithm with `bits` 0 is opaque: lists carry it as text of any
    form, which is kept as it is and never compared.
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

    @property
    def bytes(self) -> int:
        """Length of a value in bytes."""
        return (self.bits + 7) // 8

    @property
    def opaque(self) -> bool:
        """Whether its values are kept as the text they came in."""
        return self.bits == 0


def _opaque(name: str, description: str) -> Algorithm:
    return Algorithm(
        name, 0, Distance.EQUALITY, 0, None, 1, False, False, True, f"{description}: stored only"
    )


def _byte_hash(name: str, bits: int, description: str) -> Algorithm:
    return Algorithm(name, bits, Distance.EQUALITY, 0, None, 1, True, True, False, description)


ALGORITHMS: Mapping[str, Algorithm] = MappingProxyType(
    {
        a.name: a
        for a in (
            Algorithm(
                "pdq", 256, Distance.HAMMING, 31, 50, 1, True, True, True,
                "Meta's PDQ: near-duplicate photographs",
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


def get_algorithm(name: str, *, field: str = "algorithm") -> Algorithm:
    """Look up by name. Raises UnknownAlgorithm, listing the known names."""
    try:
        return ALGORITHMS[name]
    except KeyError:
        known = ", ".join(ALGORITHMS)
        shown = name if len(name) <= 64 else name[:61] + "..."
        raise UnknownAlgorithm(
            f"{field}: unknown algorithm {shown!r}; known are {known}", field=field
        ) from None
