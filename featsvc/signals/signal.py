"""A signal: one hash of one piece of content, and its text form."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from featsvc.media import Provenance
from featsvc.signals.algorithms import Algorithm, get_algorithm

UNSTABLE = (
    "noise decides half of the bits of the picture's pdq, as of pictures that are their own mirror "
    "image or have few shades: it finds exact copies, but no copy that was saved anew"
)
"""Why an answer about an unstable signal is not OK."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One hash or vector of one piece of content.

    `value` is the packed bits, most significant first, in the order of the hex; where the bits do
    not fill whole bytes, the first byte begins with zeros. Segments follow each other. The value of
    a vector is little-endian float32 of length 1, that of a text the hashes of its grams.

    `quality` is 0 to 100, None where the algorithm has none. `variant` names the transform that was
    hashed, `frame` is the index in an animation. `provenance` is None where the signal was not
    computed from pixels in this process.

    `unstable`: the picture is such that a copy that was saved anew has another value; exact copies
    have this one.
    """

    algorithm: Algorithm
    value: bytes
    quality: int | None = None
    variant: str = "original"
    frame: int = 0
    provenance: Provenance | None = None
    unstable: bool = False

    @property
    def text(self) -> str:
        """The text form: lower-case hex, unless the algorithm has a form of its own."""
        return self.algorithm.distance.format(self.algorithm, self.value)

    @property
    def low_quality(self) -> bool:
        """Whether the quality is known and below the algorithm's floor, or the value is plain."""
        kind = self.algorithm
        if kind.zeros_are_plain and not self.value.strip(b"\0"):
            return True
        if self.quality is None:
            return False
        return kind.quality_floor is not None and self.quality < kind.quality_floor


def low_quality(
    kind: Algorithm, values: NDArray[np.uint8], qualities: NDArray[np.uint8] | None
) -> NDArray[np.bool_]:
    """Return `Signal.low_quality` of each row of `values` uint8 (n, bytes).

    `qualities` (n,) are 0 to 100, None where they are unknown.
    """
    low = np.zeros(len(values), bool)
    if kind.zeros_are_plain:
        low |= ~values.any(axis=1)
    if qualities is not None and kind.quality_floor is not None:
        low |= qualities < kind.quality_floor
    return low


def format_value(algorithm: str, value: bytes) -> str:
    """Return the text form of a value, as lists carry it. Raises UnknownAlgorithm."""
    kind = get_algorithm(algorithm)
    return kind.distance.format(kind, value)
