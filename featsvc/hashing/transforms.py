"""The discrete transforms of imagehash's hashes, rounded as the libraries it uses do.

A hash bit says whether a coefficient is above the median or mean. In a flat or symmetric picture,
mathematically equal coefficients differ by rounding, which then decides bits. So these functions
follow SciPy's DCT and PyWavelets' wavelets operation by operation, in NumPy alone.
"""

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

HAAR = (0.7071067811865476, 0.7071067811865476)
DB4 = (
    -0.010597401785069032,
    0.0328830116668852,
    0.030841381835560764,
    -0.18703481171909309,
    -0.027983769416859854,
    0.6308807679298589,
    0.7148465705529157,
    0.2303778133088965,
)
"""Decomposition low-pass filters."""

_IDENTITY_ROWS = 256

_PI = Fraction(3141592653589793238462643383279502884197, 10**39)


@lru_cache(maxsize=64)
def _dct_twiddles(n: int) -> Floats:
    """Compute cos(2 pi k / 4n) for k in 1..n, rounded as pocketfft's `sincos_2pibyn` does.

    Like it, multiply two table entries, each cosine and sine taken in the first octant.
    """
    angle = float(_PI / (16 * n))
    values = (4 * n + 2) // 2
    shift = 1
    while 4**shift < values:
        shift += 1
    step = 1 << shift

    def entry(k: int) -> complex:
        if k == 0:
            return 1 + 0j
        eighths = 8 * k
        if eighths < 4 * n:
            return complex(math.cos(eighths * angle), math.sin(eighths * angle))
        rest = 8 * n - eighths
        return complex(math.sin(rest * angle), math.cos(rest * angle))

    twiddles = np.empty(n)
    for k in range(1, n + 1):
        fine, coarse = entry(k % step), entry(k - k % step)
        twiddles[k - 1] = fine.real * coarse.real - fine.imag * coarse.imag
    twiddles.flags.writeable = False
    return twiddles


def dct(x: NDArray[np.generic]) -> Floats:
    """DCT-II along the last axis (even length), unnormalised: `scipy.fftpack.dct`, bit for bit.

    Adds pocketfft's `T_dcst23` to NumPy's inverse real FFT, which is pocketfft too.
    """
    n = x.shape[-1]
    c = x.astype(np.float64)
    c[..., 0] *= 2
    c[..., n - 1] *= 2
    odd, even = c[..., 1 : n - 1 : 2].copy(), c[..., 2:n:2].copy()
    spectrum = np.empty((*c.shape[:-1], n // 2 + 1), np.complex128)
    spectrum[..., 0] = c[..., 0]
    spectrum.real[..., 1:-1] = even + odd
    spectrum.imag[..., 1:-1] = even - odd
    spectrum[..., -1] = c[..., n - 1]
    c = np.fft.irfft(spectrum, n, axis=-1, norm="forward")
    twiddles = _dct_twiddles(n)
    low = np.arange(1, n // 2)
    high = n - low
    t1 = twiddles[low - 1] * c[..., high] + twiddles[high - 1] * c[..., low]
    t2 = twiddles[low - 1] * c[..., low] - twiddles[high - 1] * c[..., high]
    c[..., low] = 0.5 * (t1 + t2)
    c[..., high] = 0.5 * (t1 - t2)
    c[..., n // 2] *= twiddles[n // 2 - 1]
    return np.asarray(c)


def low_pass(x: Floats, taps: tuple[float, ...]) -> Floats:
    """One level of `pywt.dwt(x, mode="symmetric")[0]` along the last axis, bit for bit."""
    n, reach = x.shape[-1], len(taps) - 1
    pad = [(0, 0)] * (x.ndim - 1) + [(reach, reach)]
    padded = np.pad(x, pad, mode="symmetric") if reach > 1 else x
    offset = reach if reach > 1 else 0
    out = np.zeros((*x.shape[:-1], (n + reach) // 2))
    inside = n // 2
    at = np.arange(1, n, 2) + offset
    for j, tap in enumerate(taps):
        out[..., :inside] += tap * padded[..., at - j]
    for o in range(inside, out.shape[-1]):
        beyond = 2 * o + 1 - n
        # PyWavelets adds the mirrored samples first, nearest to the edge first.
        for j in (*range(beyond, -1, -1), *range(beyond + 1, len(taps))):
            out[..., o] += taps[j] * padded[..., n + beyond + offset - j]
    return out


def low_pass_2d(x: Floats, taps: tuple[float, ...], levels: int) -> Floats:
    """`pywt.wavedec2(x, level=levels)[0]`, bit for bit: rows' axis first, then columns'."""
    for _ in range(levels):
        x = low_pass(np.ascontiguousarray(low_pass(np.ascontiguousarray(x.T), taps).T), taps)
    return x


def _haar_split(x: Floats) -> tuple[Floats, Floats]:
    h = HAAR[0]
    odd, even = x[..., 1::2], x[..., ::2]
    return h * odd + h * even, -h * odd + h * even


def _haar_join(low: Floats, high: Floats) -> Floats:
    h = HAAR[0]
    out = np.empty((*low.shape[:-1], 2 * low.shape[-1]))
    out[..., ::2] = h * low + h * high
    out[..., 1::2] = h * low + -h * high
    return out


def remove_mean_by_haar(x: Floats) -> Floats:
    """Decompose `x` (2^k, 2^k) by Haar to one coefficient, set it to zero, and recompose.

    In exact arithmetic this subtracts the mean. Its rounding decides ties, so every step is
    PyWavelets'.
    """
    details = []
    low = x
    while low.shape[0] > 1:
        rows_low, rows_high = (part.T for part in _haar_split(low.T))
        low, low_high = _haar_split(rows_low)
        details.append((low_high, *_haar_split(rows_high)))
    low = low * 0
    for low_high, high_low, high_high in reversed(details):
        top, bottom = _haar_join(low, low_high), _haar_join(high_low, high_high)
        low = _haar_join(top.T, bottom.T).T
    return low


@lru_cache(maxsize=32)
def low_pass_matrix(n: int, levels: int) -> Floats:
    """Return `levels` of the db4 low-pass as one matrix (outputs, n); equal up to rounding."""
    rows = []
    # One block of the identity at a time: all of it would be n^2 floats.
    for first in range(0, n, _IDENTITY_ROWS):
        block = np.eye(min(_IDENTITY_ROWS, n - first), n, first)
        for _ in range(levels):
            block = low_pass(block, DB4)
        rows.append(block)
    matrix = np.ascontiguousarray(np.concatenate(rows).T)
    matrix.flags.writeable = False
    return matrix
