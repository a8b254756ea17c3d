"""GIST: the energy of each frequency and direction in each part of a picture.

Source: Oliva and Torralba, "Modeling the shape of the scene" (IJCV 2001), section 3; filters and
their parameters as in Torralba's `LMgist.m` (`createGabor`, `prefilt`, `gistGabor`): 4 scales of 8
directions over 4x4 cells, 512 values. Two things differ, for speed. The picture is the 64x64 luma
that PDQ computes anyway (Douze et al., "Evaluation of GIST descriptors for web-scale image
search", CIVR 2009, use 32x32). And prefilter and filters share one mirrored frame of 32 px, where
`LMgist.m` cuts one off and adds another.

Cost: 34 transforms of 128x128. Each runs down the columns with whole rows as operands, so that it
vectorises; between the two directions the plane is transposed.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel

SIDE = 64
FRAME = 32
PADDED = SIDE + 2 * FRAME
CELLS = 4
SCALES, DIRECTIONS = 4, 8
DIMENSIONS = SCALES * DIRECTIONS * CELLS * CELLS

_LEVELS = 7
_STRIP = 32
_f32 = np.float32
_PREFILTER_CYCLES = 4.0
"""Cut-off of the prefilter, cycles per picture (`fc_prefilt`)."""


def _twiddles() -> NDArray[np.float32]:
    angles = 2 * np.pi * np.arange(PADDED // 2) / PADDED
    return np.stack([np.cos(angles), np.sin(angles)]).astype(np.float32)


def _bit_reversed() -> NDArray[np.int64]:
    return np.array([int(f"{i:0{_LEVELS}b}"[::-1], 2) for i in range(PADDED)])


_TWIDDLES = _twiddles()
_REVERSED = _bit_reversed()


def _frequencies() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return radius (cycles per 128 px) and angle of each frequency, (128, 128)."""
    f = np.fft.fftfreq(PADDED) * PADDED
    fx, fy = np.meshgrid(f, f)
    return np.hypot(fx, fy), np.arctan2(fy, fx)


def gabor_bank() -> NDArray[np.float32]:
    """Return transfer functions of the 32 filters, (32, 128, 128): filter (fine first), x, y."""
    radius, angle = (plane.T for plane in _frequencies())
    bank = np.empty((SCALES * DIRECTIONS, PADDED, PADDED), np.float32)
    for i in range(SCALES):
        centre = 0.3 / 1.85**i
        width = 16 * DIRECTIONS**2 / 32**2
        for j in range(DIRECTIONS):
            turned = (angle + np.pi * j / DIRECTIONS + np.pi) % (2 * np.pi) - np.pi
            bank[i * DIRECTIONS + j] = np.exp(
                -10 * 0.35 * (radius / PADDED / centre - 1) ** 2 - 2 * width * np.pi * turned**2
            )
    return bank


def prefilter() -> NDArray[np.float32]:
    """Return the transfer function of the Gaussian that the prefilter subtracts, (128, 128)."""
    radius, _ = _frequencies()
    sigma = _PREFILTER_CYCLES * PADDED / SIDE / np.sqrt(np.log(2))
    return np.asarray(np.exp(-((radius / sigma) ** 2)), dtype=np.float32)


@kernel()
def _transform_columns(re: NDArray[np.float32], im: NDArray[np.float32], sign: np.float32) -> None:
    """Fourier-transform each column in place; `sign` -1 is forward, 1 is back (unscaled).

    A strip of 32 columns stays in the first-level cache through all seven levels.
    """
    for first in range(0, re.shape[1], _STRIP):
        for row in range(PADDED):
            other = _REVERSED[row]
            if other > row:
                for c in range(first, first + _STRIP):
                    re[row, c], re[other, c] = re[other, c], re[row, c]
                    im[row, c], im[other, c] = im[other, c], im[row, c]
        half = 1
        while half < PADDED:
            step = PADDED // 2 // half
            for k in range(half):
                wr, wi = _TWIDDLES[0, k * step], sign * _TWIDDLES[1, k * step]
                for a in range(k, PADDED, 2 * half):
                    b = a + half
                    for c in range(first, first + _STRIP):
                        tr = wr * re[b, c] - wi * im[b, c]
                        ti = wr * im[b, c] + wi * re[b, c]
                        re[b, c] = re[a, c] - tr
                        im[b, c] = im[a, c] - ti
                        re[a, c] += tr
                        im[a, c] += ti
            half *= 2


@kernel()
def _transpose(source: NDArray[np.float32], target: NDArray[np.float32], first_row: int) -> None:
    """target[j, i] = source[first_row + i, j], in tiles that stay in cache."""
    rows = target.shape[1]
    for i0 in range(0, rows, 16):
        for j0 in range(0, PADDED, 16):
            for i in range(i0, i0 + 16):
                for j in range(j0, j0 + 16):
                    target[j, i] = source[first_row + i, j]


@kernel()
def _spectrum(plane: NDArray[np.float32], work: NDArray[np.float32]) -> None:
    """Write the transform of a real `plane`, indexed [x, y], to `work[2]` and `work[3]`."""
    for i in range(PADDED):
        for j in range(PADDED):
            work[0, i, j] = plane[i, j]
            work[1, i, j] = _f32(0)
    _transform_columns(work[0], work[1], _f32(-1))
    _transpose(work[0], work[2], 0)
    _transpose(work[1], work[3], 0)
    _transform_columns(work[2], work[3], _f32(-1))


@kernel()
def _low_pass(
    plane: NDArray[np.float32],
    transfer: NDArray[np.float32],
    work: NDArray[np.float32],
    result: NDArray[np.float32],
) -> None:
    """`plane` times the symmetric `transfer`, in the frequency domain; real part."""
    re, im, turned_re, turned_im = work[0], work[1], work[2], work[3]
    _spectrum(plane, work)
    for i in range(PADDED):
        for j in range(PADDED):
            turned_re[i, j] *= transfer[i, j]
            turned_im[i, j] *= transfer[i, j]
    _transform_columns(turned_re, turned_im, _f32(1))
    _transpose(turned_re, re, 0)
    _transpose(turned_im, im, 0)
    _transform_columns(re, im, _f32(1))
    scale = _f32(1.0 / (PADDED * PADDED))
    for i in range(PADDED):
        for j in range(PADDED):
            result[i, j] = re[i, j] * scale


@kernel()
def _frame(block: NDArray[np.float32], low: np.float32, span: np.float32) -> NDArray[np.float32]:
    """Return log(1 + luma stretched to 0..255), mirrored to 128x128."""
    framed = np.empty((PADDED, PADDED), np.float32)
    for i in range(PADDED):
        y = i - FRAME
        y = -1 - y if y < 0 else (2 * SIDE - 1 - y if y >= SIDE else y)
        for j in range(PADDED):
            x = j - FRAME
            x = -1 - x if x < 0 else (2 * SIDE - 1 - x if x >= SIDE else x)
            framed[i, j] = np.log((block[y, x] - low) * _f32(255) / span + _f32(1))
    return framed


@kernel()
def _cell_energies(
    work: NDArray[np.float32], bank: NDArray[np.float32], values: NDArray[np.float32]
) -> None:
    """Write each filter's mean response in each cell, from the spectrum in `work[2:]`."""
    re, im, spectrum_re, spectrum_im = work[0], work[1], work[2], work[3]
    # Only the picture inside the frame counts, so the second direction does half the work.
    turned_re = np.empty((PADDED, SIDE), np.float32)
    turned_im = np.empty((PADDED, SIDE), np.float32)
    cell = SIDE // CELLS
    scale = _f32(1.0 / (PADDED * PADDED * cell * cell))
    for f in range(bank.shape[0]):
        for i in range(PADDED):
            for j in range(PADDED):
                re[i, j] = spectrum_re[i, j] * bank[f, i, j]
                im[i, j] = spectrum_im[i, j] * bank[f, i, j]
        _transform_columns(re, im, _f32(1))
        _transpose(re, turned_re, FRAME)
        _transpose(im, turned_im, FRAME)
        _transform_columns(turned_re, turned_im, _f32(1))
        first = f * CELLS * CELLS
        for i in range(SIDE):
            for j in range(SIDE):
                r, m = turned_re[FRAME + i, j], turned_im[FRAME + i, j]
                values[first + CELLS * (i // cell) + j // cell] += np.sqrt(r * r + m * m) * scale


@kernel(
    "(Array(float32, 2, 'C', True), Array(float32, 3, 'C', True), Array(float32, 2, 'C', True), "
    "float32[::1])"
)
def gist(
    block: NDArray[np.float32],
    bank: NDArray[np.float32],
    low_pass: NDArray[np.float32],
    values: NDArray[np.float32],
) -> None:
    """Write the GIST of `block` (64, 64) luma to `values` (512,), by filter, then cell by row.

    `bank` is `gabor_bank()`, `low_pass` is `prefilter()`. Not normalised; a flat block gives zeros.
    """
    values[:] = _f32(0)
    low = high = block[0, 0]
    for i in range(SIDE):
        for j in range(SIDE):
            low, high = min(low, block[i, j]), max(high, block[i, j])
    if high - low < _f32(1e-3):
        return
    work = np.empty((4, PADDED, PADDED), np.float32)
    plane = _frame(block, low, high - low)
    blurred = np.empty((PADDED, PADDED), np.float32)
    squares = np.empty((PADDED, PADDED), np.float32)
    _low_pass(plane, low_pass, work, blurred)
    for i in range(PADDED):
        for j in range(PADDED):
            plane[i, j] -= blurred[i, j]
            squares[i, j] = plane[i, j] * plane[i, j]
    _low_pass(squares, low_pass, work, blurred)
    for i in range(PADDED):
        for j in range(PADDED):
            plane[i, j] /= _f32(0.2) + np.sqrt(abs(blurred[i, j]))
    _spectrum(plane, work)
    _cell_energies(work, bank, values)
