"""Writes animations, APNG, of RGBA frames."""

import struct
import zlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from tests.media.write_png import SIGNATURE, Samples, chunk, header, raw_data


def control(
    sequence: int, box: tuple[int, int, int, int], disposal: int = 0, blend: int = 0
) -> bytes:
    """A fcTL chunk of a frame at left, top, of width, height."""
    left, top, width, height = box
    return chunk(
        b"fcTL",
        struct.pack(">IIIIIHHBB", sequence, width, height, left, top, 1, 10, disposal, blend),
    )


def frame_data(sequence: int, samples: Samples) -> bytes:
    data = zlib.compress(raw_data(samples, 8, (4, 1)))
    half = len(data) // 2
    return b"".join(
        chunk(b"fdAT", struct.pack(">I", sequence + i) + part)
        for i, part in enumerate((data[:half], data[half:]))
    )


Frame = tuple[tuple[int, int, int, int], int, int, NDArray[np.uint8]]
"""Left, top, width, height; disposal; blending; RGBA pixels."""


def animate(frames: Sequence[Frame], size: tuple[int, int], *, hidden: bool) -> bytes:
    """An APNG of RGBA frames; `hidden`: behind a default image that is none of them."""
    width, height = size
    out = [
        SIGNATURE,
        header(width, height, 8, 6),
        chunk(b"acTL", struct.pack(">II", len(frames), 0)),
    ]
    sequence = 0
    if hidden:
        default = np.full((height, width, 4), 77, np.uint16)
        out.append(chunk(b"IDAT", zlib.compress(raw_data(default, 8))))
    for number, (box, disposal, blend, pixels) in enumerate(frames):
        out.append(control(sequence, box, disposal, blend))
        sequence += 1
        if number == 0 and not hidden:
            out.append(chunk(b"IDAT", zlib.compress(raw_data(pixels.astype(np.uint16), 8))))
        else:
            out.append(frame_data(sequence, pixels.astype(np.uint16)))
            sequence += 2
    return b"".join((*out, chunk(b"IEND")))


def rgba(seed: int, width: int, height: int) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 4), dtype=np.uint8)


ANIMATION = animate(
    [
        ((0, 0, 9, 7), 0, 0, rgba(1, 9, 7)),
        ((2, 1, 5, 4), 2, 1, rgba(2, 5, 4)),
        ((4, 3, 5, 4), 1, 1, rgba(3, 5, 4)),
    ],
    (9, 7),
    hidden=False,
)
