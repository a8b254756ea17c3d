"""Sums, means and standard deviations over the buckets of a ring, without overflow.

A bucket of a SUM is high + low + carry * 2**1023, one of MOMENTS has the mean high + low; low,
carry and root come from the companion ring, whose buckets are a subset of the ring's. See
`featsvc.accounts.layout`. All functions read buckets low..high of words[begin:end], newest first,
and of the companion words[extra:extra_end].
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel

# Sizes in 32-bit words. A record begins with the number of its bucket.
SUM_WORDS = 3
MOMENTS_WORDS = 6
COMPANION_WORDS = 5

_DOWN = 2.0**-64
"""Scale at which no sum of 2**60 doubles overflows. Doubles below 2**-958 lose digits at it, so it
is used only where the sum at scale 1 is not finite."""
_ROOT_SCALE = 2.0**20
"""A root is stored divided by it, as it may exceed a double by the root of 2**32 values."""
_SPLITTER = 2.0**27 + 1
_LEAST_M2, _GREATEST_M2 = 1e-280, 1e290
"""Outside, squares overflow or lose digits, and `root` replaces them."""


@kernel()
def word(words: NDArray[np.uint32], at: int) -> int:
    """Return words[at]; without the test for a negative index, which costs a fifth of `fold`."""
    value: int = words[np.uint64(at)]
    return value


@kernel()
def double(words: NDArray[np.uint32], at: int) -> float:
    """Return the f64 in words[at], words[at + 1]; packed, it is only 4-byte aligned."""
    bits = np.uint64(word(words, at)) | (np.uint64(word(words, at + 1)) << np.uint64(32))
    return np.uint64(bits).view(np.float64)


@kernel()
def _find(words: NDArray[np.uint32], begin: int, at: int, bucket: int) -> int:
    """Return the index of the companion's newest record from `at` on not after `bucket`."""
    while at >= begin and word(words, at) > bucket:
        at -= COMPANION_WORDS
    return at


@kernel()
def _error_of_sum(a: float, b: float, s: float) -> float:
    """Return a + b - s for s = fl(a + b), exactly (Knuth 1969, section 4.2.2, theorem B)."""
    t = s - a
    return (a - (s - t)) + (b - t)


@kernel()
def _error_of_product(a: float, b: float, p: float) -> float:
    """Return a * b - p for p = fl(a * b), exactly (Dekker 1971, section 5)."""
    c = _SPLITTER * a
    a_high = c - (c - a)
    a_low = a - a_high
    c = _SPLITTER * b
    b_high = c - (c - b)
    b_low = b - b_high
    return ((a_high * b_high - p) + a_high * b_low + a_low * b_high) + a_low * b_low


@kernel()
def _scaled_sum(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    extra: int,
    extra_end: int,
    low: int,
    high: int,
    scale: float,
) -> float:
    """Return `scale` times the sum (Ogita, Rump and Oishi 2005, algorithm 4.4)."""
    total = 0.0
    error = 0.0
    at = end - SUM_WORDS
    other = extra_end - COMPANION_WORDS
    while at >= begin and word(words, at) > high:
        at -= SUM_WORDS
    while at >= begin and word(words, at) >= low:
        x = double(words, at + 1) * scale
        s = total + x
        error += _error_of_sum(total, x, s)
        total = s
        if other >= extra:
            other = _find(words, extra, other, word(words, at))
            if other >= extra and word(words, other) == word(words, at):
                error += double(words, other + 1) * scale
                x = double(words, other + 3) * (2.0**1023 * scale)
                s = total + x
                error += _error_of_sum(total, x, s)
                total = s
        at -= SUM_WORDS
    return total + error


@kernel()
def fold_sum(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    extra: int,
    extra_end: int,
    low: int,
    high: int,
) -> float:
    """Return the sum; inf or NaN if it is no double."""
    total = _scaled_sum(words, begin, end, extra, extra_end, low, high, 1.0)
    if np.isfinite(total):
        return total
    return _scaled_sum(words, begin, end, extra, extra_end, low, high, _DOWN) / _DOWN


@kernel()
def _scaled_mean(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    extra: int,
    extra_end: int,
    low: int,
    high: int,
    scale: float,
) -> tuple[float, float]:
    """Return `scale` times the mean, and the number of values (op. cit., algorithm 5.3)."""
    n = 0.0
    total = 0.0
    error = 0.0
    at = end - MOMENTS_WORDS
    other = extra_end - COMPANION_WORDS
    while at >= begin and word(words, at) >= low:
        if word(words, at) <= high:
            k = float(word(words, at + 1))
            mean = double(words, at + 2) * scale
            x = k * mean
            s = total + x
            error += _error_of_product(k, mean, x) + _error_of_sum(total, x, s)
            total = s
            n += k
            if other >= extra:
                other = _find(words, extra, other, word(words, at))
                if other >= extra and word(words, other) == word(words, at):
                    error += k * (double(words, other + 1) * scale)
        at -= MOMENTS_WORDS
    return ((total + error) / n if n > 0.0 else 0.0), n


@kernel()
def fold_mean(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    extra: int,
    extra_end: int,
    low: int,
    high: int,
) -> float:
    """Return the mean, NaN without a value."""
    mean, n = _scaled_mean(words, begin, end, extra, extra_end, low, high, 1.0)
    if n > 0.0 and not np.isfinite(mean):
        mean, n = _scaled_mean(words, begin, end, extra, extra_end, low, high, _DOWN)
        mean /= _DOWN
    return mean if n > 0.0 else np.nan


@kernel()
def _difference(high: float, low: float, other_high: float, other_low: float) -> float:
    """Return high + low - other_high - other_low without cancellation."""
    s = high - other_high
    return s + (_error_of_sum(high, -other_high, s) + (low - other_low))


@kernel()
def _squares(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    extra: int,
    extra_end: int,
    low: int,
    high: int,
) -> tuple[float, float]:
    """Return the sum of squared deviations from the mean, and the number of values.

    Buckets are merged by the formula of Chan, Golub and LeVeque (1983, equations 2.1). Means are
    relative to that of the newest bucket, so that large ones do not cost digits.
    """
    n = 0.0
    m2 = 0.0
    mean = 0.0
    pivot = 0.0
    pivot_low = 0.0
    at = end - MOMENTS_WORDS
    other = extra_end - COMPANION_WORDS
    while at >= begin and word(words, at) >= low:
        k = float(word(words, at + 1))
        if word(words, at) <= high and k > 0.0:
            mean_low = 0.0
            if other >= extra:
                other = _find(words, extra, other, word(words, at))
                if other >= extra and word(words, other) == word(words, at):
                    mean_low = double(words, other + 1)
            bucket_mean = double(words, at + 2)
            if n == 0.0:
                pivot = bucket_mean
                pivot_low = mean_low
            delta = _difference(bucket_mean, mean_low, pivot, pivot_low) - mean
            m2 += double(words, at + 4) + delta * delta * (n * k / (n + k))
            n += k
            mean += delta * (k / n)
        at -= MOMENTS_WORDS
    return m2, n


@kernel()
def _add_square(scale: float, squares: float, x: float) -> tuple[float, float]:
    """Add x**2 to scale**2 * squares, without overflow (Blue 1978, as LAPACK's dlassq)."""
    if x == 0.0:
        return scale, squares
    if x > scale:
        return x, 1.0 + squares * (scale / x) ** 2
    return scale, squares + (x / scale) ** 2


@kernel()
def _scaled_roots(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    extra: int,
    extra_end: int,
    low: int,
    high: int,
    factor: float,
) -> float:
    """Return `factor` times the standard deviation; as `_squares`, of roots of squares."""
    n = 0.0
    scale = 0.0
    squares = 0.0
    mean = 0.0
    pivot = 0.0
    pivot_low = 0.0
    at = end - MOMENTS_WORDS
    other = extra_end - COMPANION_WORDS
    while at >= begin and word(words, at) >= low:
        k = float(word(words, at + 1))
        if word(words, at) <= high and k > 0.0:
            mean_low = 0.0
            m2 = double(words, at + 4)
            root = np.sqrt(m2) * factor
            other = _find(words, extra, other, word(words, at))
            if other >= extra and word(words, other) == word(words, at):
                mean_low = double(words, other + 1) * factor
                kept = double(words, other + 3)
                if kept > 0.0 and not _LEAST_M2 <= m2 <= _GREATEST_M2:
                    root = kept * (_ROOT_SCALE * factor)
            scale, squares = _add_square(scale, squares, root)
            bucket_mean = double(words, at + 2) * factor
            if n == 0.0:
                pivot = bucket_mean
                pivot_low = mean_low
            delta = _difference(bucket_mean, mean_low, pivot, pivot_low) - mean
            scale, squares = _add_square(scale, squares, abs(delta) * np.sqrt(n * k / (n + k)))
            n += k
            mean += delta * (k / n)
        at -= MOMENTS_WORDS
    return scale * float(np.sqrt(squares / n))


@kernel()
def fold_stddev(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    extra: int,
    extra_end: int,
    low: int,
    high: int,
) -> float:
    """Return the population standard deviation, NaN without a value."""
    m2, n = _squares(words, begin, end, extra, extra_end, low, high)
    if n == 0.0:
        return np.nan
    if _LEAST_M2 <= m2 <= _GREATEST_M2:
        return float(np.sqrt(m2 / n))
    root = _scaled_roots(words, begin, end, extra, extra_end, low, high, 1.0)
    if np.isfinite(root):
        return root
    return _scaled_roots(words, begin, end, extra, extra_end, low, high, _DOWN) / _DOWN
