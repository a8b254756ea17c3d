"""Plain pictures match nothing by chance."""

import itertools
from collections.abc import Iterator

import numpy as np
import pytest
from PIL import Image

from featsvc.hashing.content import hash_content
from featsvc.media import DecodeOptions, Limits
from featsvc.signals.algorithms import ALGORITHMS, Kind
from featsvc.signals.distance import distance
from featsvc.signals.hashes import ContentOutcome
from featsvc.signals.signal import Signal
from tests.hashing.photographs import PHOTOGRAPHS, SKIMAGE_DATA, encode

# Without drawings and scanned text, which are plain pictures too.
BANK = [n for n in PHOTOGRAPHS if not n.startswith(("chess", "horse", "logo", "page", "phantom"))]
PERCEPTUAL = tuple(a.name for a in ALGORITHMS.values() if a.kind is Kind.PICTURE)


def solids() -> Iterator[Image.Image]:
    for rgb in itertools.product((0, 60, 128, 200, 255), repeat=3):
        yield Image.new("RGB", (160, 120), rgb)


def gradients() -> Iterator[Image.Image]:
    """Across, down, diagonal and round, from and to various greys."""
    y, x = np.mgrid[0:240, 0:320] / np.array([239, 319])[:, None, None]
    shapes = (x, y, (x + y) / 2, np.hypot(x - 0.5, y - 0.5) * 1.4, x * y, (1 - x) * y)
    for shape, (low, high) in itertools.product(
        shapes,
        [(0, 255), (255, 0), (50, 100), (100, 220), (0, 30), (225, 255), (90, 160), (200, 20)],
    ):
        yield Image.fromarray((low + shape * (high - low)).clip(0, 255).astype(np.uint8))


def small_patterns() -> Iterator[Image.Image]:
    """Files of a few hundred bytes: a dot, a line, a corner, faint stripes."""
    for i in range(12):
        dot = Image.new("L", (200, 200), 255)
        dot.paste(0, (10 * i, 15 * i, 10 * i + 12, 15 * i + 12))
        yield dot
        line = Image.new("L", (200, 200), 20 * i)
        line.paste(255 - 20 * i, (0, 15 * i, 200, 15 * i + 2))
        yield line
        stripes = np.tile(np.repeat([120, 120 + i], 10), 10).astype(np.uint8)
        yield Image.fromarray(np.broadcast_to(stripes, (200, 200)).copy())
        corner = Image.new("L", (64, 64), 240)
        corner.paste(10 * i, (0, 0, 4 + i, 4 + i))
        yield corner


def plain_pictures() -> list[bytes]:
    pictures = [*solids(), *gradients(), *small_patterns()]
    return [encode(picture, "PNG", optimize=True) for picture in pictures]


def signals_of(content: bytes) -> tuple[Signal, ...]:
    return hash_content(content, PERCEPTUAL, DecodeOptions(), Limits()).signals


@pytest.mark.slow
def test_plain_pictures_match_no_photograph() -> None:
    """Nearly all are LOW_QUALITY; the others, steep gradients, match no photograph."""
    contents = plain_pictures()
    assert len(contents) >= 200
    assert sum(len(c) < 500 for c in contents) > 100
    low = [content for content in contents if signals_of(content)[0].low_quality]
    assert len(low) >= 0.95 * len(contents)
    for content in low:
        result = hash_content(content, PERCEPTUAL, DecodeOptions(), Limits())
        assert result.outcome is ContentOutcome.LOW_QUALITY
        assert all(signal.low_quality for signal in result.signals)
    bank = [signals_of((SKIMAGE_DATA / name).read_bytes()) for name in BANK]
    for content in set(contents) - set(low):
        for plain, entry in itertools.product(signals_of(content), itertools.chain(*bank)):
            if plain.algorithm is entry.algorithm and plain.algorithm.matched:
                threshold = plain.algorithm.default_threshold
                assert distance(plain, entry) > threshold, plain.algorithm.name
