"""A decode takes no more memory than its header says, and gives all of it back after an error."""

import gc
import io
from collections.abc import Iterator

import pytest
from PIL import Image

from bench.decode_memory import FILES, NOISE_BYTES, SMALL, compare
from featsvc.errors import FeatsvcError
from featsvc.media import DecodeOptions, Frames, Limits, decode_frames
from featsvc.media.task import Task
from tests.fuzz.media import seed_files

SIZE = (1800, 1400)


@pytest.mark.slow
@pytest.mark.parametrize("name", FILES)
def test_the_estimate_covers_the_peak(name: str) -> None:
    estimate, actual = compare(FILES[name](SIZE), FILES[name](SMALL))
    assert actual <= estimate + NOISE_BYTES
    # One that is far too high would refuse pictures that fit.
    assert estimate <= 3 * actual + 3 * NOISE_BYTES


@pytest.fixture
def no_collector() -> Iterator[None]:
    """Only reference counts free memory: the collector may run seconds later."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def _alive() -> int:
    kinds = (Image.Image, io.BytesIO, Task)
    return sum(isinstance(o, kinds) for o in gc.get_objects())


@pytest.mark.usefixtures("no_collector")
def test_an_error_keeps_no_decoder_alive() -> None:
    whole = seed_files()
    damaged = [content[: len(content) * share // 10] for content in whole for share in (3, 6, 9)]
    before, errors = _alive(), 0
    for content in damaged:
        try:
            for _ in decode_frames(content, DecodeOptions(frames=Frames.ALL), Limits()):
                pass
        except FeatsvcError:
            errors += 1
    assert errors > len(whole)
    assert _alive() <= before
