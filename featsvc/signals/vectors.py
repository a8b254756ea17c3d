"""Vectors as values of signals: little-endian float32 numbers of Euclidean length 1.

The text form is the lower-case hex of those bytes.
"""

import math
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import InvalidSignal
from featsvc.signals.bits import check_hex

if TYPE_CHECKING:
    from featsvc.signals.algorithms import Algorithm

MAX_DIMENSIONS = 4096

FLOAT32 = np.dtype("<f4")
_ROUNDING = 2e-7
"""A vector this close to length 1 is normalised: to divide again would change its last bits."""
_UNIT_TOLERANCE = 1e-5
"""How far the squared length of a stored vector may be from 1: engines leave a margin of 2e-5."""
_BLOCK_ROWS = 4096


def parse_vector(kind: "Algorithm", digits: str, *, field: str = "value") -> bytes:
    """Parse lower-case hex to the normalised value. Raises InvalidSignal."""
    check_hex(digits, field)
    if len(digits) % 8:
        raise InvalidSignal(
            f"{field}: a {kind.name} signal is the hex of little-endian float32 numbers, 8 digits "
            f"each, not {len(digits)} digits",
            field=field,
        )
    return vector_value(kind, np.frombuffer(bytes.fromhex(digits), FLOAT32), field=field)


def vector_value(kind: "Algorithm", values: NDArray[np.floating], *, field: str = "value") -> bytes:
    """Normalise `values` (d,), of any length but 0, to the value of a signal.

    Raises InvalidSignal for a number of dimensions that is not the model's, values that are not
    finite numbers, and a vector of zeros, which has no direction.
    """
    expected = kind.dimensions
    if len(values) != expected if expected else not 0 < len(values) <= MAX_DIMENSIONS:
        raise InvalidSignal(
            f"{field}: a {kind.name} vector has {expected or f'1 to {MAX_DIMENSIONS}'} dimensions, "
            f"not {len(values)}",
            field=field,
        )
    exact = values.astype(np.float64)
    if not np.isfinite(exact).all():
        bad = int(np.flatnonzero(~np.isfinite(exact))[0])
        raise InvalidSignal(
            f"{field}: dimension {bad} of a {kind.name} vector is {exact[bad]}, not finite",
            field=field,
        )
    length = math.sqrt(float(exact @ exact))
    if length < np.finfo(np.float32).tiny:
        raise InvalidSignal(
            f"{field}: a {kind.name} vector is all zeros and has no direction; leave it out",
            field=field,
        )
    if abs(length - 1) > _ROUNDING:
        exact /= length
    return exact.astype(FLOAT32).tobytes()


def vector_rows(
    kind: "Algorithm", rows: NDArray[np.float32], *, field: str = "signals"
) -> NDArray[np.uint8]:
    """Normalise `rows` float32 (n, d) to values uint8 (n, 4 d).

    Raises InvalidSignal as `vector_value` does, with the row in the field.
    """
    exact = rows.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    bad = ~np.isfinite(lengths) | (lengths < np.finfo(np.float32).tiny)
    if bad.any():
        row = int(np.flatnonzero(bad)[0])
        vector_value(kind, rows[row], field=f"{field}[{row}]")
    unnormalised = np.abs(lengths - 1) > _ROUNDING
    exact[unnormalised] /= lengths[unnormalised, None]
    return exact.astype(FLOAT32).view(np.uint8)


def are_unit(values: NDArray[np.uint8]) -> NDArray[np.bool_]:
    """Return (n,): which of the stored `values` uint8 (n, bytes) are finite vectors of length 1."""
    count, width = values.shape
    if width % FLOAT32.itemsize or not 0 < width <= MAX_DIMENSIONS * FLOAT32.itemsize:
        return np.zeros(count, bool)
    vectors = np.ascontiguousarray(values).view(FLOAT32)
    unit = np.empty(count, bool)
    for first in range(0, count, _BLOCK_ROWS):
        block = vectors[first : first + _BLOCK_ROWS].astype(np.float64)
        # NaN compares as not near.
        unit[first : first + _BLOCK_ROWS] = (
            np.abs(np.einsum("ij,ij->i", block, block) - 1) < _UNIT_TOLERANCE
        )
    return unit


def vector_of(value: bytes) -> NDArray[np.float32]:
    """Return a signal's value as float32 (d,)."""
    return np.frombuffer(value, FLOAT32)


def cosine_distances(
    query: NDArray[np.float32], vectors: NDArray[np.float32], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """Return 1 - cosine of `query` (d,) and each of the `rows` of `vectors` (n, d), or of all rows.

    It is computed in double precision and not rounded, because it is compared with thresholds.
    Equal vectors have distance 0. The distance of two vectors does not depend on what is compared
    beside them: each sum has its own order, which a matrix product would not promise.
    """
    exact = query.astype(np.float64)
    energy = _row_sums(exact[None], exact)
    rows = np.arange(len(vectors)) if rows is None else rows
    distances = np.empty(len(rows), np.float64)
    for first in range(0, len(rows), _BLOCK_ROWS):
        block = slice(first, first + _BLOCK_ROWS)
        values = vectors[rows[block]].astype(np.float64)
        # For equal vectors the root is exactly the product.
        lengths = np.sqrt(_row_sums(values, values) * energy)
        distances[block] = 1 - _row_sums(values, exact) / lengths
    return np.clip(distances, 0, 2)


def _row_sums(values: NDArray[np.float64], factors: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sum of products of each row, each in the same order."""
    sums: NDArray[np.float64] = np.einsum(
        "ij,ij->i", values, np.broadcast_to(factors, values.shape)
    )
    return sums
