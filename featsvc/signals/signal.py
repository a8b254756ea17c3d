"""A signal: one hash of one piece of content, and its text form."""

from dataclasses import dataclass

from featsvc.errors import InvalidSignal
from featsvc.media import Provenance
from featsvc.signals.algorithms import Algorithm, get_algorithm


@dataclass(frozen=True, slots=True)
class Signal:
    """One hash or vector. `value` is the packed bits, most significant first, as the hex reads;
    where the bits fill no whole bytes, the first byte begins with zeros. Segments follow each
    other. Of a vector it is float32, little-endian, of length 1; of a text its grams' hashes.

    `quality` is 0 to 100, None where the algorithm has none; `variant` names the transform that
    was hashed; `frame` is the index in an animation; `provenance` is None where the signal was
    not made from pixels here.
    """

    algorithm: Algorithm
    value: bytes
    quality: int | None = None
    variant: str = "original"
    frame: int = 0
    provenance: Provenance | None = None

    @property
    def text(self) -> str:
        """Lower-case hex, or as the algorithm's users write it; segments are joined by commas."""
        return self.algorithm.distance.format(self.algorithm, self.value)

    @property
    def low_quality(self) -> bool:
        """Whether the quality is known and under the algorithm's floor."""
        if self.quality is None:
            return False
        floor = self.algorithm.quality_floor
        return floor is not None and self.quality < floor


def format_value(algorithm: str, value: bytes) -> str:
    """The text form of a value, as lists carry it. Raises UnknownAlgorithm."""
    kind = get_algorithm(algorithm)
    return kind.distance.format(kind, value)


def parse_signal(text: str, *, field: str = "signal") -> Signal:
    """`pdq:HEX` to a Signal. Raises UnknownAlgorithm or InvalidSignal."""
    algorithm, colon, value = text.strip().partition(":")
    if not colon:
        raise InvalidSignal(
            f"{field}: write a signal as ALGORITHM:HEX, for example pdq:f8f8f0...", field=field
        )
    kind = get_algorithm(algorithm.strip().lower(), field=field)
    return Signal(kind, kind.distance.parse(kind, value, field=field))
