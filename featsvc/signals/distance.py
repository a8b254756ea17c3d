"""Distances: each parses, formats and compares the values of some algorithms. Smaller is nearer.

There is one object for each, in `DISTANCES` by name. Every algorithm has one, and the rest of the
code leaves to it whatever depends on the form of a value.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
from featsvc_kernels.tlsh import LARGEST_DISTANCE
from numpy.typing import NDArray

from featsvc.errors import InvalidInput, InvalidSignal
from featsvc.signals.bits import check_hex
from featsvc.signals.text_grams import grams_of, is_stored_value, parse_grams
from featsvc.signals.text_index import TextIndex
from featsvc.signals.tlsh import format_tlsh, parse_tlsh, tlsh_distance
from featsvc.signals.vectors import (
    FLOAT32,
    MAX_DIMENSIONS,
    are_unit,
    cosine_distances,
    parse_vector,
    vector_rows,
)

if TYPE_CHECKING:
    from featsvc.signals.algorithms import Algorithm
    from featsvc.signals.signal import Signal

MAX_SEGMENTS = 180
"""The number of regions of more than 500 pixels that fit into 300 x 300."""
MAX_STORED_CHARS = 16 * 1024


class StoredValues(Protocol):
    """Values, each uint8 (bytes,): an array of rows, or values of any length."""

    def __len__(self) -> int: ...

    def __getitem__(self, row: int, /) -> NDArray[np.uint8]: ...


class Distance(ABC):
    """One way to parse, format and compare the values of a kind.

    `fractional`: distances are floats, otherwise whole numbers. `rows`: the values of a kind have
    one length, so that they pack as rows. `shown`: values are short enough to show in answers.
    """

    name: ClassVar[str]
    fractional: ClassVar[bool] = False
    rows: ClassVar[bool] = True
    shown: ClassVar[bool] = True

    def __repr__(self) -> str:
        return self.name.upper()

    @abstractmethod
    def largest(self, kind: "Algorithm") -> int:
        """Return the largest distance between any two values of the kind."""

    @abstractmethod
    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        """Parse the text form, in any case and with blanks around it. Raises InvalidSignal."""

    def parse_listed(self, kind: "Algorithm", text: str, *, field: str = "signal") -> bytes:
        """Parse a value of a list, which may be one that never compares. Raises InvalidSignal."""
        return self.parse(kind, text, field=field)

    def format(self, kind: "Algorithm", value: bytes) -> str:
        """Return the text form of a value, as lists carry it."""
        return value.hex()

    @abstractmethod
    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        """Return the distance, 0 to `largest`. Raises InvalidSignal for a wrong length."""

    def row_bytes(self, kind: "Algorithm", dimensions: int) -> int:
        """Return the length of a packed value in bytes; 0 where it is unknown."""
        return kind.bytes

    def packed(self, kind: "Algorithm", rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Convert packed rows, uint8 (n, bytes), to values. Raises InvalidSignal for a bad row."""
        return rows

    def damaged(self, kind: "Algorithm", values: "StoredValues") -> NDArray[np.bool_]:
        """Return (n,): which stored values do not compare, though `kind.bytes` is their length."""
        return np.zeros(len(values), bool)


class ScannedDistance(Distance):
    """A distance that is computed to many values at once, without an index."""

    @abstractmethod
    def to_all(self, query: NDArray[np.uint8], values: NDArray[np.uint8]) -> NDArray[Any]:
        """Return the distances of `query` uint8 (bytes,) and the rows of `values` (n, bytes)."""

    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        _check_lengths(kind, a, b)
        query, value = (np.frombuffer(v, np.uint8) for v in (a, b))
        distance: float = self.to_all(query, value[None]).item()
        return distance


class _Digits(Distance):
    """A distance of values whose text form is plain hex, with as many digits as the bits need."""

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        if len(text) * 4 == kind.bits:
            # The fast path of nearly every value. Blanks inside make the result too short.
            try:
                value = bytes.fromhex(text)
            except ValueError:
                value = b""
            if len(value) * 8 == kind.bits:
                return value
        return _parse_hex(kind, text.strip().lower(), field)

    def format(self, kind: "Algorithm", value: bytes) -> str:
        if len(value) * 8 == kind.bits:
            return value.hex()
        skipped = 2 * kind.bytes - kind.hex_digits
        return ",".join(
            value[i : i + kind.bytes].hex()[skipped:] for i in range(0, len(value), kind.bytes)
        )


class _Hamming(_Digits, ScannedDistance):
    """The number of differing bits."""

    name = "hamming"

    def largest(self, kind: "Algorithm") -> int:
        return kind.bits

    def to_all(self, query: NDArray[np.uint8], values: NDArray[np.uint8]) -> NDArray[Any]:
        return _differing_bits(query, values)


class _Equality(_Digits):
    """0 where values are equal; nothing else matches."""

    name = "equality"

    def largest(self, kind: "Algorithm") -> int:
        return 0

    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        """Return 0, or 1 where the values differ, which no threshold reaches."""
        _check_lengths(kind, a, b)
        return int(a != b)


class _Opaque(_Equality):
    """A placeholder for values that are stored as the text they came in and never compared."""

    name = "none"
    rows = False

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        raise InvalidSignal(
            f"{field}: {kind.name} is stored as text and never compared; name another algorithm",
            field=field,
        )

    def parse_listed(self, kind: "Algorithm", text: str, *, field: str = "signal") -> bytes:
        text = text.strip()
        if not text or len(text) > MAX_STORED_CHARS or not (text.isascii() and text.isprintable()):
            raise InvalidSignal(
                f"{field}: a {kind.name} signal is 1 to {MAX_STORED_CHARS} printable ASCII "
                "characters",
                field=field,
            )
        return text.encode()

    def format(self, kind: "Algorithm", value: bytes) -> str:
        return value.decode()


class _Segments(_Digits):
    """The fewest differing bits between any segment of the one value and any of the other.

    A value is its segments one after another; its text form joins them by commas.
    """

    name = "segments"

    def largest(self, kind: "Algorithm") -> int:
        return kind.bits

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        parts = [part.strip() for part in text.strip().lower().split(",")]
        if len(parts) > MAX_SEGMENTS:
            raise InvalidSignal(
                f"{field}: a {kind.name} signal has at most {MAX_SEGMENTS} segments, "
                f"not {len(parts)}",
                field=field,
            )
        return b"".join(_parse_hex(kind, part, field) for part in parts)

    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        for value in (a, b):
            if not value or len(value) % kind.bytes:
                raise _wrong_length(kind, kind.bytes, value)
        segments, others = (np.frombuffer(v, np.uint8).reshape(-1, kind.bytes) for v in (a, b))
        return int(_differing_bits(segments[:, None], others).min())


class _Cosine(ScannedDistance):
    """1 - cosine of two vectors, 0 to 2. A threshold is such a distance, not a cosine."""

    name = "cosine"
    fractional = True
    shown = False

    def largest(self, kind: "Algorithm") -> int:
        return 2

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        """Parse the hex of little-endian float32 numbers and normalise the vector."""
        return parse_vector(kind, text.strip().lower(), field=field)

    def to_all(self, query: NDArray[np.uint8], values: NDArray[np.uint8]) -> NDArray[Any]:
        return cosine_distances(query.view(FLOAT32), values.view(FLOAT32))

    def row_bytes(self, kind: "Algorithm", dimensions: int) -> int:
        return kind.bytes or 4 * min(dimensions, MAX_DIMENSIONS)

    def packed(self, kind: "Algorithm", rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Convert packed vectors to values by normalising them."""
        return vector_rows(kind, rows.view(FLOAT32))

    def damaged(self, kind: "Algorithm", values: StoredValues) -> NDArray[np.bool_]:
        """Return which values are not finite vectors of length 1."""
        return ~are_unit(np.asarray(values))


class _Containment(Distance):
    """The share of the entry's 4-grams that the query lacks, 0 to 1. Values have any length."""

    name = "containment"
    fractional = True
    rows = False
    shown = False

    def largest(self, kind: "Algorithm") -> int:
        return 1

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        return parse_grams(text.strip().lower(), field=field)

    def damaged(self, kind: "Algorithm", values: StoredValues) -> NDArray[np.bool_]:
        """Return which values are not grams that may be stored."""
        return np.array([not is_stored_value(values[i]) for i in range(len(values))], bool)

    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        """Return the share that the one lacks of the other, whichever way round is less."""
        return min(_missing(a, b), _missing(b, a))


class _Tlsh(Distance):
    """TLSH's distance without the length: a weighted count of differing buckets, 0 to 937."""

    name = "tlsh"

    def largest(self, kind: "Algorithm") -> int:
        return LARGEST_DISTANCE

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        """Parse a digest with or without `T1`."""
        return parse_tlsh(text.strip().lower(), field=field)

    def format(self, kind: "Algorithm", value: bytes) -> str:
        return format_tlsh(value)

    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        _check_lengths(kind, a, b)
        return tlsh_distance(a, b)


HAMMING = _Hamming()
EQUALITY = _Equality()
OPAQUE = _Opaque()
SEGMENTS = _Segments()
COSINE = _Cosine()
CONTAINMENT = _Containment()
TLSH = _Tlsh()

DISTANCES: Mapping[str, Distance] = MappingProxyType(
    {d.name: d for d in (HAMMING, EQUALITY, OPAQUE, SEGMENTS, COSINE, CONTAINMENT, TLSH)}
)


def distance(a: "Signal", b: "Signal") -> float:
    """Return the distance of two signals of one algorithm, as its `Distance` defines it.

    imagehash's `a.matches(b)` with its defaults is `distance <= bits / 4`. Raises InvalidInput for
    signals of two algorithms, InvalidSignal for a wrong length.
    """
    kind = a.algorithm
    if kind.name != b.algorithm.name:
        raise InvalidInput(
            f"a {kind.name} and a {b.algorithm.name} signal do not compare; hash both with one "
            "algorithm"
        )
    return kind.distance.compare(kind, a.value, b.value)


def _parse_hex(kind: "Algorithm", digits: str, field: str) -> bytes:
    if len(digits) != kind.hex_digits:
        raise InvalidSignal(
            f"{field}: a {kind.name} signal has {kind.hex_digits} hex digits, not {len(digits)}",
            field=field,
        )
    check_hex(digits, field)
    number = int(digits, 16)
    if number >> kind.bits:
        raise InvalidSignal(
            f"{field}: {digits[0]!r} at position 1 is too large: a {kind.name} signal has "
            f"{kind.bits} bits",
            field=field,
        )
    return number.to_bytes(kind.bytes)


def _differing_bits(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Return the Hamming distances of hashes, whose bytes are the last axis; `a`, `b` broadcast."""
    bits: NDArray[np.int64] = np.bitwise_count(a ^ b).sum(axis=-1, dtype=np.int64)
    return bits


def _missing(query: bytes, entry: bytes) -> float:
    """Return the distance at which a bank matches the entry: 1 where its index finds no match."""
    query_grams, grams = (grams_of(np.frombuffer(value, np.uint8)) for value in (query, entry))
    index = TextIndex.build(grams, np.array([len(grams)], np.int64))
    return float(index.search(query_grams, 1.0)[1].min(initial=1.0))


def _check_lengths(kind: "Algorithm", a: bytes, b: bytes) -> None:
    # Where the algorithm has no fixed length, the two must agree.
    for value, other in ((a, b), (b, a)):
        expected = kind.bytes or len(other)
        if len(value) != expected:
            raise _wrong_length(kind, expected, value)


def _wrong_length(kind: "Algorithm", expected: int, value: bytes) -> InvalidSignal:
    return InvalidSignal(f"a {kind.name} value has {expected} bytes, not {len(value)}")
