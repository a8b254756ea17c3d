"""A picture that does not decode keeps its byte hashes, and its outcome is never OK."""

import gc
import hashlib
import random
import weakref
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image

from featsvc.errors import FeatsvcError, MediaCorrupt, MediaTooLarge, TimedOut
from featsvc.hashing.content import hash_content
from featsvc.hashing.files import hash_files, list_files
from featsvc.media import DecodeOptions, Frames, Limits, decode
from featsvc.media.formats import FORMATS
from featsvc.signals.hashes import ContentOutcome
from tests.fuzz.media import mutate, seed_files
from tests.hashing.answers import check_answer
from tests.hashing.photographs import encode, noise, photograph
from tests.photographs import ROOT

CASES = ROOT.parent / "shared" / "cases" / "media"
PICTURE = Image.fromarray(photograph("coffee.png"))
JPEG = encode(PICTURE, "JPEG")
PNG = encode(PICTURE, "PNG")
ENCODED = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
NAMES = ("pdq", "phash", "md5", "sha1", "sha256")
OPTIONS, LIMITS = DecodeOptions(), Limits()
EVERY = replace(OPTIONS, frames=Frames.ALL)
CORRUPT, TOO_LARGE = ContentOutcome.CORRUPT_MEDIA, ContentOutcome.TOO_LARGE_MEDIA


@cache
def animation(file_format: str) -> bytes:
    """Four frames."""
    frames = [Image.fromarray(noise(seed, 96, 128)) for seed in range(4)]
    return encode(frames[0], file_format, save_all=True, append_images=frames[1:])


def many_scans() -> bytes:
    at = (content := encode(PICTURE, "JPEG", progressive=True)).index(b"\xff\xda")
    return content[:at] + content[at : at + 40] * 20_000


Case = tuple[Callable[[], bytes], DecodeOptions, Limits, type[FeatsvcError], str]
BROKEN: dict[str, Case] = {
    **{
        f"truncated {name}": (
            lambda name=name: encode(PICTURE, name)[:-400],  # type: ignore[misc]
            OPTIONS,
            LIMITS,
            MediaCorrupt,
            "whole file",
        )
        for name in ENCODED
    },
    "a JPEG without its end": (lambda: JPEG[:-9], OPTIONS, LIMITS, MediaCorrupt, "whole file"),
    "a header cut short": (lambda: PNG[:20], OPTIONS, LIMITS, MediaCorrupt, "whole file"),
    "pixels": (lambda: PNG, OPTIONS, Limits(max_pixels=1000), MediaTooLarge, "media.max_pixels"),
    "memory": (
        lambda: PNG,
        OPTIONS,
        Limits(max_decode_bytes=2**20),
        MediaTooLarge,
        "media.max_decode_bytes",
    ),
    "aspect ratio": (
        lambda: encode(PICTURE.resize((500, 2)), "PNG"),
        OPTIONS,
        LIMITS,
        MediaTooLarge,
        "media.max_aspect_ratio",
    ),
    "frames": (
        lambda: animation("GIF"), EVERY, Limits(max_frames=3), MediaTooLarge, "media.max_frames"
    ),
    "scans": (many_scans, OPTIONS, Limits(max_decode_ms=1), MediaTooLarge, "media.max_decode_ms"),
    "time": (
        lambda: encode(Image.fromarray(noise(1, 1500, 1500)), "PNG", compress_level=1),
        OPTIONS,
        Limits(max_decode_ms=1),
        TimedOut,
        "media.max_decode_ms",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_a_picture_that_does_not_decode_has_its_byte_hashes(name: str) -> None:
    make, options, limits, error, why = BROKEN[name]
    content = make()
    result = hash_content(content, NAMES, options, limits)
    check_answer(result, content, NAMES, options)
    assert result.outcome is (CORRUPT if error is MediaCorrupt else TOO_LARGE)
    assert why in result.reason
    assert "only byte hashes apply" in result.reason
    assert [s.algorithm.name for s in result.signals] == ["md5", "sha1", "sha256"]
    perceptual = hash_content(content, ("pdq",), options, limits)
    assert (perceptual.outcome, perceptual.signals) == (result.outcome, ())
    with pytest.raises(error, match=why):
        hash_content(content, NAMES, options, limits, must_decode=True)
    # Byte hashes alone need no pixels.
    assert hash_content(content, ("md5",), options, limits).outcome is ContentOutcome.OK


def test_what_has_no_byte_hashes_to_match_stays_an_error() -> None:
    with pytest.raises(FeatsvcError, match="content is empty"):
        hash_content(b"", NAMES, OPTIONS, LIMITS)
    with pytest.raises(MediaTooLarge, match=r"media\.max_content_bytes"):
        hash_content(PNG, NAMES, OPTIONS, Limits(max_content_bytes=len(PNG) - 1))
    hash_content(PNG, NAMES, OPTIONS, Limits(max_content_bytes=len(PNG)))


def test_facts_of_the_header_are_kept() -> None:
    media = hash_content(JPEG[:-9], NAMES, OPTIONS, LIMITS).media
    assert media is not None
    assert (media.media_type, media.width, media.height) == ("image/jpeg", *PICTURE.size)
    assert hash_content(PNG, NAMES, OPTIONS, Limits(max_pixels=9)).media is None


def cuts(file_format: str) -> Iterator[bytes]:
    """An animation that ends early, at several places."""
    content = animation(file_format)
    for twelfths in range(1, 12):
        yield content[: len(content) * twelfths // 12]


def tiffs_without_data() -> Iterator[bytes]:
    """A TIFF of four pages, of which one says that its data is past the end."""
    content = animation("TIFF")
    at = int.from_bytes(content[4:8], "little")
    while at:
        entries = int.from_bytes(content[at : at + 2], "little")
        for entry in range(at + 2, at + 2 + 12 * entries, 12):
            if int.from_bytes(content[entry : entry + 2], "little") == ExifTags.Base.StripOffsets:
                yield content[: entry + 8] + b"\xf0\xff\xff\x7f" + content[entry + 12 :]
        end = at + 2 + 12 * entries
        at = int.from_bytes(content[end : end + 4], "little")


@pytest.mark.parametrize(
    ("file_format", "damaged", "counts"),
    [
        ("GIF", partial(cuts, "GIF"), {0, 1, 2, 3}),
        ("PNG", partial(cuts, "PNG"), {0, 1, 2, 3}),
        ("WEBP", partial(cuts, "WEBP"), {0}),  # libwebp refuses it as a whole
        ("TIFF", tiffs_without_data, {0, 1, 2, 3}),
    ],
)
def test_whole_frames_before_the_damage_are_hashed(
    file_format: str, damaged: Callable[[], Iterator[bytes]], counts: set[int]
) -> None:
    whole = hash_content(animation(file_format), ("pdq",), EVERY, LIMITS)
    values = [signal.value for signal in whole.signals]
    assert len(values) == 4
    reached = set()
    for content in damaged():
        result = hash_content(content, ("pdq", "md5"), EVERY, LIMITS)
        check_answer(result, content, ("pdq", "md5"), EVERY)
        assert result.outcome is CORRUPT
        found = [s.value for s in result.signals if s.algorithm.name == "pdq"]
        assert found == values[: len(found)]
        assert (f"only the first {len(found)} of" in result.reason) == bool(found)
        reached.add(len(found))
    assert reached == counts


seeds = seed_files()


@settings(max_examples=300)
@given(st.integers(0, 2**32), st.booleans(), st.sampled_from([OPTIONS, EVERY]))
def test_any_damage_keeps_byte_hashes_and_is_never_ok_without_its_signals(
    seed: int, cut: bool, options: DecodeOptions
) -> None:
    rng = random.Random(seed)
    content = mutate(rng, seeds)
    if cut:
        content = content[: rng.randint(1, len(content))]
    check_answer(hash_content(content, NAMES, options, LIMITS), content, NAMES, options)


def exceptions(kind: type[Exception] = Exception) -> Iterator[type[Exception]]:
    """Every built-in exception that can be made without arguments."""
    for each in kind.__subclasses__():
        if each.__module__ == "builtins" and not issubclass(each, UnicodeError | Warning):
            yield each
            yield from exceptions(each)


@pytest.mark.parametrize("stage", ["read_header", "decode", "decode after a frame"])
@pytest.mark.parametrize("kind", sorted(set(exceptions()), key=str), ids=lambda k: k.__name__)
def test_whatever_a_decoder_raises_is_damage(
    monkeypatch: pytest.MonkeyPatch, stage: str, kind: type[Exception]
) -> None:
    """And nothing of it is kept: no exception, frame or content, until a collector runs."""
    kept: list[weakref.ref[Any]] = []
    sound = FORMATS["image/gif"]

    def fail(*_: object) -> Any:
        kept.append(weakref.ref(allocated := np.zeros(9)))
        raise kind(len(allocated))

    def decode_one(task: Any) -> Iterator[Any]:
        yield next(sound.decode(task))
        fail()

    steps = {"read_header": fail} if stage == "read_header" else {"decode": fail}
    broken = sound._replace(**(steps if "after" not in stage else {"decode": decode_one}))
    monkeypatch.setitem(FORMATS, "image/gif", broken)
    content = animation("GIF")
    gc.disable()
    try:
        result = hash_content(content, NAMES, EVERY, LIMITS)
        assert [ref() for ref in kept] == [None] * len(kept)
    finally:
        gc.enable()
    check_answer(result, content, NAMES, EVERY)
    assert result.outcome is (TOO_LARGE if issubclass(kind, MemoryError) else CORRUPT)
    assert any(s.algorithm.name == "pdq" for s in result.signals) == ("after" in stage)
    if "after" not in stage:
        with pytest.raises((MediaCorrupt, MediaTooLarge)):
            decode(content, OPTIONS, LIMITS)
    assert hash_content(content, ("md5",), OPTIONS, LIMITS).outcome is ContentOutcome.OK


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases (../shared/cases) are not here")
@pytest.mark.parametrize("name", ["half_junk_eoi.jpg", "bigtiff_offset.tif", "tiff_tile_bomb.tif"])
def test_a_case_that_failed_has_its_byte_hashes(name: str) -> None:
    content = (CASES / name).read_bytes()
    result = hash_content(content, NAMES, OPTIONS, LIMITS)
    check_answer(result, content, NAMES, OPTIONS)
    signals = {signal.algorithm.name: signal.text for signal in result.signals}
    assert signals["md5"] == hashlib.md5(content).hexdigest()  # noqa: S324 - lists exchange it
    assert result.outcome in (CORRUPT, TOO_LARGE)


@pytest.mark.slow
@pytest.mark.skipif(not CASES.is_dir(), reason="the cases (../shared/cases) are not here")
def test_a_folder_of_cases_that_failed_is_hashed_to_its_end() -> None:
    paths = list(list_files([CASES]))
    results = list(hash_files(paths, ("pdq", "md5"), OPTIONS, LIMITS))
    assert [result.path for result in results] == paths
    for result in results:
        assert result.hashes is not None, result.error
        check_answer(result.hashes, result.path.read_bytes(), ("pdq", "md5"), OPTIONS)
