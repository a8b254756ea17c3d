"""A signal: one hash of one piece of content, and its text form."""

import contextlib
import re
from dataclasses import dataclass

from featsvc.errors import InvalidSignal
from featsvc.media import Provenance
from featsvc.signals.algorithms import Algorithm, Distance, get_algorithm
from featsvc.signals.text_grams import parse_grams
from featsvc.signals.tlsh import format_tlsh, parse_tlsh
from featsvc.signals.vectors import parse_vector

_NOT_HEX = re.compile(r"[^0-9a-f]")

MAX_SEGMENTS = 180
"""As many regions of more than 500 pixels fit into 300 x 300."""


@dataclass(frozen=True, slots=True)
class Signal:
    """One hash or vector. `value` is the packed bits, most significant first, as the hex reads;
    where the bits fill no whole bytes, the first byte begins with zeros. Segments follow each
    other. Of a vector it is float32, little-endian, of length 1; of a text its grams' hashes.

    `quality` is 0 to 100, None where the algorithm has none; `variant` names the transform that
    was hashed; `frame` is the index in an animation; `provenance` is None where the signal was
    not made from pixels here.
    """

    algorithm: str
    value: bytes
    quality: int | None = None
    variant: str = "original"
    frame: int = 0
    provenance: Provenance | None = None

    @property
    def text(self) -> str:
        """Lower-case hex, or as the algorithm's users write it; segments are joined by commas."""
        return format_value(self.algorithm, self.value)

    @property
    def low_quality(self) -> bool:
        """Whether the quality is known and under the algorithm's floor."""
        if self.quality is None:
            return False
        floor = get_algorithm(self.algorithm).quality_floor
        return floor is not None and self.quality < floor


def format_value(algorithm: str, value: bytes) -> str:
    """The text form of a value, as lists carry it. Raises UnknownAlgorithm."""
    kind = get_algorithm(algorithm)
    if len(value) * 8 == kind.bits and kind.distance is not Distance.TLSH:
        return value.hex()
    if kind.opaque:
        return value.decode()
    if kind.distance.fractional:
        return value.hex()
    if kind.distance is Distance.TLSH:
        return format_tlsh(value)
    skipped = 2 * kind.bytes - kind.hex_digits
    return ",".join(
        value[i : i + kind.bytes].hex()[skipped:] for i in range(0, len(value), kind.bytes)
    )


def parse_value(algorithm: str, text: str, *, field: str = "value") -> bytes:
    """Hex in any case, blanks around it allowed, to packed bytes.

    A vector is normalised; TLSH may have its `T1`. Raises UnknownAlgorithm, or InvalidSignal naming
    the length or the first bad character.
    """
    kind = get_algorithm(algorithm, field=field)
    if text and len(text) * 4 == kind.bits:
        # Nearly every value, in a fraction of the time; blanks within make it too short.
        with contextlib.suppress(ValueError):
            value = bytes.fromhex(text)
            if len(value) * 8 == kind.bits:
                return value
    if kind.opaque:
        raise InvalidSignal(
            f"{field}: {algorithm} is kept as text and never compared; name another algorithm",
            field=field,
        )
    parts = [text.strip().lower()]
    if kind.vector:
        return parse_vector(kind, parts[0], field=field)
    if kind.distance is Distance.CONTAINMENT:
        return parse_grams(parts[0], field=field)
    if kind.distance is Distance.TLSH:
        return parse_tlsh(parts[0], field=field)
    if kind.distance is Distance.SEGMENTS:
        parts = [part.strip() for part in parts[0].split(",")]
        if len(parts) > MAX_SEGMENTS:
            raise InvalidSignal(
                f"{field}: a {algorithm} signal has at most {MAX_SEGMENTS} segments, "
                f"this one has {len(parts)}",
                field=field,
            )
    return b"".join(_parse_hex(kind, part, field) for part in parts)


def _parse_hex(kind: Algorithm, digits: str, field: str) -> bytes:
    if len(digits) != kind.hex_digits:
        raise InvalidSignal(
            f"{field}: a {kind.name} signal has {kind.hex_digits} hex digits, "
            f"this one has {len(digits)}",
            field=field,
        )
    if bad := _NOT_HEX.search(digits):
        raise InvalidSignal(
            f"{field}: {bad.group()!r} at position {bad.start() + 1} is not a hex digit",
            field=field,
        )
    number = int(digits, 16)
    if number >> kind.bits:
        raise InvalidSignal(
            f"{field}: a {kind.name} signal has {kind.bits} bits, so its first digit is smaller",
            field=field,
        )
    return number.to_bytes(kind.bytes)


def parse_signal(text: str, *, field: str = "signal") -> Signal:
    """`pdq:HEX` to a Signal. Raises UnknownAlgorithm or InvalidSignal."""
    algorithm, colon, value = text.strip().partition(":")
    if not colon:
        raise InvalidSignal(
            f"{field}: write a signal as ALGORITHM:HEX, for example pdq:f8f8f0...", field=field
        )
    algorithm = algorithm.strip().lower()
    return Signal(algorithm, parse_value(algorithm, value, field=field))
