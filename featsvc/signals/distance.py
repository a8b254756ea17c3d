"""Distances: how values are read, written and compared. Smaller is nearer.

One object each, in `DISTANCES` by name. An algorithm of the table has one; what the rest of the
code wants to know of an algorithm's values it asks of its distance.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from featsvc_kernels import hamming as kernels
from featsvc_kernels.tlsh import LARGEST_DISTANCE
from numpy.typing import NDArray

from featsvc.errors import InvalidInput, InvalidSignal
from featsvc.signals.text_grams import grams_of, parse_grams
from featsvc.signals.text_index import TextIndex
from featsvc.signals.tlsh import format_tlsh, parse_tlsh, tlsh_distance
from featsvc.signals.vectors import (
    FLOAT32,
    MAX_DIMENSIONS,
    cosine_distance,
    cosine_distances,
    parse_vector,
    vector_rows,
)

if TYPE_CHECKING:
    from featsvc.signals.algorithms import Algorithm
    from featsvc.signals.signal import Signal

_NOT_HEX = re.compile(r"[^0-9a-f]")

MAX_SEGMENTS = 180
"""As many regions of more than 500 pixels fit into 300 x 300."""
MAX_STORED_CHARS = 16 * 1024


class Distance(ABC):
    """One way to read, write and compare the values of a kind.

    `fractional`: distances are floats, otherwise whole numbers; `rows`: the values of a kind have
    one length, so that they pack as rows; `shown`: short enough that answers show them.
    """

    name: ClassVar[str]
    fractional: ClassVar[bool] = False
    rows: ClassVar[bool] = True
    shown: ClassVar[bool] = True

    def __repr__(self) -> str:
        return self.name.upper()

    @abstractmethod
    def largest(self, kind: "Algorithm") -> int:
        """Of any two values of the kind."""

    @abstractmethod
    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        """Text form to value: in any case, blanks around it allowed. Raises InvalidSignal."""

    def parse_listed(self, kind: "Algorithm", text: str, *, field: str = "signal") -> bytes:
        """The same for a list, which also holds what is never compared. Raises InvalidSignal."""
        return self.parse(kind, text, field=field)

    def format(self, kind: "Algorithm", value: bytes) -> str:
        """Text form of a value, as lists carry it."""
        return value.hex()

    @abstractmethod
    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        """0 to `largest`. Raises InvalidSignal for lengths that do not fit."""

    def row_bytes(self, kind: "Algorithm", dimensions: int) -> int:
        """Length of a row where values come packed; 0 where nothing tells it."""
        return kind.bytes

    def packed(self, kind: "Algorithm", rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Rows as they came, uint8 (n, bytes), to values. Raises InvalidSignal, naming the row."""
        return rows


class ScannedDistance(Distance):
    """One that is taken to many values at once, without an index."""

    @abstractmethod
    def to_all(self, query: NDArray[np.uint8], values: NDArray[np.uint8]) -> NDArray[Any]:
        """From `query` uint8 (bytes,) to each row of `values` uint8 (n, bytes)."""


class _Digits(Distance):
    """Of values whose text form is hex as everyone writes it, with the bits' number of digits."""

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        if len(text) * 4 == kind.bits:
            # Nearly every value, in a fraction of the time; blanks within make it too short.
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
    """Number of differing bits."""

    name = "hamming"

    def largest(self, kind: "Algorithm") -> int:
        return kind.bits

    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        _check_lengths(kind, a, b)
        return (int.from_bytes(a) ^ int.from_bytes(b)).bit_count()

    def to_all(self, query: NDArray[np.uint8], values: NDArray[np.uint8]) -> NDArray[Any]:
        ones: NDArray[np.int64] = np.bitwise_count(query ^ values).sum(axis=1, dtype=np.int64)
        return ones


class _Equality(_Digits):
    """0 where equal; nothing else matches."""

    name = "equality"

    def largest(self, kind: "Algorithm") -> int:
        return 0

    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        """1 where they differ, which no threshold reaches."""
        _check_lengths(kind, a, b)
        return int(a != b)


class _Opaque(_Equality):
    """Of values that are kept as the text they came in, in any form, and never compared."""

    name = "none"
    rows = False

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        raise InvalidSignal(
            f"{field}: {kind.name} is kept as text and never compared; name another algorithm",
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
    """Fewest differing bits between any segment of the one and any of the other. Segments follow
    each other in a value; in its text form they are joined by commas."""

    name = "segments"

    def largest(self, kind: "Algorithm") -> int:
        return kind.bits

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        parts = [part.strip() for part in text.strip().lower().split(",")]
        if len(parts) > MAX_SEGMENTS:
            raise InvalidSignal(
                f"{field}: a {kind.name} signal has at most {MAX_SEGMENTS} segments, "
                f"this one has {len(parts)}",
                field=field,
            )
        return b"".join(_parse_hex(kind, part, field) for part in parts)

    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        for value in (a, b):
            if not value or len(value) % kind.bytes:
                raise _wrong_length(kind, kind.bytes, value)
        return min(self.nearest(kind, a, b))

    def nearest(self, kind: "Algorithm", a: bytes, b: bytes) -> list[int]:
        """Of each segment of `a`, the distance to the nearest one of `b`."""
        theirs = _words(b, kind.bytes)
        distances = np.empty(theirs.shape[0], np.uint16)
        nearest = []
        for segment in _words(a, kind.bytes):
            kernels.hamming_to_all(segment, theirs, distances)
            nearest.append(int(distances.min()))
        return nearest


class _Cosine(ScannedDistance):
    """Of vectors: 1 - cosine, 0 to 2. A threshold is such a distance, not a cosine."""

    name = "cosine"
    fractional = True
    shown = False

    def largest(self, kind: "Algorithm") -> int:
        return 2

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        """Hex of float32, little-endian; the value is normalised."""
        return parse_vector(kind, text.strip().lower(), field=field)

    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        _check_lengths(kind, a, b)
        return cosine_distance(a, b)

    def to_all(self, query: NDArray[np.uint8], values: NDArray[np.uint8]) -> NDArray[Any]:
        return cosine_distances(query.view(FLOAT32), values.view(FLOAT32))

    def row_bytes(self, kind: "Algorithm", dimensions: int) -> int:
        return kind.bytes or 4 * min(dimensions, MAX_DIMENSIONS)

    def packed(self, kind: "Algorithm", rows: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Of length 1, whatever they were."""
        return vector_rows(kind, rows.view(FLOAT32))


class _Containment(Distance):
    """Of texts, whose values have any length: the share of the entry's 4-grams that the query
    lacks, 0 to 1."""

    name = "containment"
    fractional = True
    rows = False
    shown = False

    def largest(self, kind: "Algorithm") -> int:
        return 1

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        return parse_grams(text.strip().lower(), field=field)

    def compare(self, kind: "Algorithm", a: bytes, b: bytes) -> float:
        """Of the one in the other, whichever is less."""
        return min(_missing(a, b), _missing(b, a))


class _Tlsh(Distance):
    """TLSH's own, without the length: a weighted count of differing buckets, 0 to 937."""

    name = "tlsh"

    def largest(self, kind: "Algorithm") -> int:
        return LARGEST_DISTANCE

    def parse(self, kind: "Algorithm", text: str, *, field: str = "value") -> bytes:
        """With `T1` or without."""
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
    """Bits for Hamming; 0 or 1 for byte hashes; for segments the nearest pair's bits, for vectors
    1 - cosine; for texts the share of the one's 4-grams that the other lacks, whichever is less.

    imagehash's `a.matches(b)` with its defaults is `distance <= bits / 4`. Raises InvalidInput for
    two kinds, InvalidSignal for lengths that do not fit.
    """
    kind = a.algorithm
    if kind.name != b.algorithm.name:
        raise InvalidInput(
            f"a {kind.name} and a {b.algorithm.name} signal do not compare; hash both with one"
        )
    return kind.distance.compare(kind, a.value, b.value)


def matching_segments(a: "Signal", b: "Signal", cutoff: int) -> tuple[int, int]:
    """imagehash's `hash_diff`: how many segments of `a` have one of `b` within `cutoff` bits, and
    the sum of those distances."""
    nearest = SEGMENTS.nearest(a.algorithm, a.value, b.value)
    near = [apart for apart in nearest if apart <= cutoff]
    return len(near), sum(near)


def _parse_hex(kind: "Algorithm", digits: str, field: str) -> bytes:
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


def _words(values: bytes, length: int) -> NDArray[np.uint64]:
    """Hashes of `length` bytes side by side as (N, W) 64-bit words, zero-padded."""
    rows = np.frombuffer(values, np.uint8).reshape(-1, length)
    if length % 8 == 0:
        return rows.view(np.uint64)
    padded = np.zeros((rows.shape[0], -(-length // 8) * 8), np.uint8)
    padded[:, :length] = rows
    return padded.view(np.uint64)


def _missing(query: bytes, entry: bytes) -> float:
    """As banks match texts: 1 too where the two share so little that no index would find it."""
    grams, sought = (grams_of(np.frombuffer(value, np.uint8)) for value in (query, entry))
    index = TextIndex.build(sought, np.array([len(sought)], np.int64))
    return float(index.search(grams, 1.0)[1].min(initial=1.0))


def _check_lengths(kind: "Algorithm", a: bytes, b: bytes) -> None:
    # Where the algorithm does not say, both sides must agree.
    for value, other in ((a, b), (b, a)):
        wanted = kind.bytes or len(other)
        if len(value) != wanted:
            raise _wrong_length(kind, wanted, value)


def _wrong_length(kind: "Algorithm", wanted: int, value: bytes) -> InvalidSignal:
    return InvalidSignal(f"a {kind.name} value has {wanted} bytes, this one has {len(value)}")
