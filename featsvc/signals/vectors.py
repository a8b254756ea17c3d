"""Vectors as the values of signals: float32, little-endian, of Euclidean length 1.

Their text form is the lower-case hex of those bytes.
"""

import math
import re
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import InvalidSignal

if TYPE_CHECKING:
    from featsvc.signals.algorithms import Algorithm

MAX_DIMENSIONS = 4096

FLOAT32 = np.dtype("<f4")
_HEX = re.compile(r"[0-9a-f]*")
_ROUNDING = 2e-7
"""What is this near to length 1 is of it: to normalise again would change its last bits."""
_BLOCK_ROWS = 4096


def parse_vector(kind: "Algorithm", digits: str, *, field: str = "value") -> bytes:
    """Lower-case hex to the normalised value. Raises InvalidSignal, as `vector_value` does."""
    if len(digits) % 8 or not _HEX.fullmatch(digits):
        raise InvalidSignal(
            f"{field}: a {kind.name} signal is the hex of float32 values, 8 digits each, "
            f"little-endian; this one has {len(digits)} characters",
            field=field,
        )
    return vector_value(kind, np.frombuffer(bytes.fromhex(digits), FLOAT32), field=field)


def vector_value(kind: "Algorithm", values: NDArray[np.floating], *, field: str = "value") -> bytes:
    """The value of a signal from `values` (d,) of any length but 0.

    Raises InvalidSignal for another number of dimensions than the model's, values that are no
    finite numbers, and a vector of zeros, which has no direction.
    """
    wanted = kind.dimensions
    if len(values) != wanted if wanted else not 0 < len(values) <= MAX_DIMENSIONS:
        raise InvalidSignal(
            f"{field}: a {kind.name} vector has {wanted or f'1 to {MAX_DIMENSIONS}'} dimensions, "
            f"this one has {len(values)}",
            field=field,
        )
    exact = values.astype(np.float64)
    if not np.isfinite(exact).all():
        at = int(np.flatnonzero(~np.isfinite(exact))[0])
        raise InvalidSignal(
            f"{field}: dimension {at} of a {kind.name} vector is {exact[at]}, not a finite number",
            field=field,
        )
    length = math.sqrt(float(exact @ exact))
    if length < np.finfo(np.float32).tiny:
        raise InvalidSignal(f"{field}: a {kind.name} vector is all zeros", field=field)
    if abs(length - 1) > _ROUNDING:
        exact /= length
    return exact.astype(FLOAT32).tobytes()


def vector_rows(
    kind: "Algorithm", rows: NDArray[np.float32], *, field: str = "signals"
) -> NDArray[np.uint8]:
    """Values uint8 (n, 4 d) of `rows` float32 (n, d); raises as `vector_value`, naming the row."""
    exact = rows.astype(np.float64)
    lengths = np.sqrt(np.einsum("ij,ij->i", exact, exact))
    bad = ~np.isfinite(lengths) | (lengths < np.finfo(np.float32).tiny)
    if bad.any():
        at = int(np.flatnonzero(bad)[0])
        vector_value(kind, rows[at], field=f"{field}[{at}]")
    off = np.abs(lengths - 1) > _ROUNDING
    exact[off] /= lengths[off, None]
    return exact.astype(FLOAT32).view(np.uint8)


def vector_of(value: bytes) -> NDArray[np.float32]:
    """float32 (d,) of a signal's value."""
    return np.frombuffer(value, FLOAT32)


def cosine_distance(a: bytes, b: bytes) -> float:
    """1 - cosine, 0 to 2, of two values of the same number of dimensions."""
    return float(cosine_distances(vector_of(a), vector_of(b)[None])[0])


def cosine_distances(
    query: NDArray[np.float32], vectors: NDArray[np.float32], rows: NDArray[np.int64] | None = None
) -> NDArray[np.float64]:
    """1 - cosine of `query` (d,) and each of those rows of `vectors` (n, d), or of all.

    Summed in double precision and rounded to six decimals, so that equal vectors lie at 0, and
    what one machine finds on a threshold another finds there too.
    """
    exact = query.astype(np.float64)
    rows = np.arange(len(vectors)) if rows is None else rows
    distances = np.empty(len(rows), np.float64)
    for first in range(0, len(rows), _BLOCK_ROWS):
        some = slice(first, first + _BLOCK_ROWS)
        distances[some] = 1 - vectors[rows[some]].astype(np.float64) @ exact
    return np.clip(np.round(distances, 6), 0, 2)
