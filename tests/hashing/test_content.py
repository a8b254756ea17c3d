import hashlib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from featsvc.errors import InvalidInput, UnknownAlgorithm
from featsvc.hashing.content import hash_content
from featsvc.hashing.pdq import DIHEDRAL_VARIANTS, hash_pdq
from featsvc.hashing.variants import make_dihedral
from featsvc.media import DecodeOptions, Frames, Limits
from featsvc.signals.algorithms import ALGORITHMS, DEFAULT_ALGORITHMS
from featsvc.signals.hashes import ContentOutcome, MediaInfo
from tests.hashing.photographs import encode, hamming, photograph

PICTURE = Image.fromarray(photograph("coffee.png"))
PNG = encode(PICTURE, "PNG")
OPTIONS, LIMITS = DecodeOptions(), Limits()


def test_signals_are_in_the_requested_order() -> None:
    result = hash_content(PNG, ("sha256", "pdq", "md5", "pdq"), OPTIONS, LIMITS)
    assert [s.algorithm.name for s in result.signals] == ["sha256", "pdq", "md5"]
    assert result.outcome is ContentOutcome.OK
    assert result.reason == ""
    assert result.media == MediaInfo("image/png", 600, 400, 1)
    assert all(len(s.value) == s.algorithm.bytes for s in result.signals)


def test_byte_hashes_are_those_of_hashlib() -> None:
    result = hash_content(PNG, ("md5", "sha1", "sha256"), OPTIONS, LIMITS)
    for signal in result.signals:
        assert signal.text == hashlib.new(signal.algorithm.name, PNG).hexdigest()
        assert signal.quality is None
        assert signal.provenance is None
    assert result.media == MediaInfo("image/png", 600, 400, 1)


def test_perceptual_signals_have_a_provenance() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    content = encode(PICTURE.resize((900, 600)), "JPEG", exif=exif)
    signal = hash_content(content, ("pdq",), OPTIONS, LIMITS).signals[0]
    assert signal.provenance is not None
    assert (signal.provenance.orientation, signal.provenance.orientation_applied) == (6, True)
    assert signal.provenance.luma_plane
    assert signal.quality == 100


@pytest.mark.parametrize("content", [b"%PDF-1.7 a document", b"\0\0\0\x18ftypisom\0\0\2\0"])
def test_unsupported_media_still_has_byte_hashes(content: bytes) -> None:
    result = hash_content(content, DEFAULT_ALGORITHMS, OPTIONS, LIMITS)
    assert result.outcome is ContentOutcome.UNSUPPORTED_MEDIA
    assert "only byte hashes" in result.reason
    assert result.media is None
    assert {s.algorithm.name: s.text for s in result.signals} == {
        "md5": hashlib.md5(content).hexdigest(),  # noqa: S324 - lists exchange it
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def test_byte_hashes_alone_need_no_picture() -> None:
    result = hash_content(b"plain text", ("md5",), OPTIONS, LIMITS)
    assert result.outcome is ContentOutcome.OK
    assert result.media is None
    assert hash_content(PNG[:100], ("md5",), OPTIONS, LIMITS).outcome is ContentOutcome.OK


def test_a_plain_picture_is_low_quality() -> None:
    content = encode(Image.new("RGB", (300, 300), (200, 30, 30)), "PNG")
    result = hash_content(content, ("md5", "pdq"), OPTIONS, LIMITS)
    assert result.outcome is ContentOutcome.LOW_QUALITY
    assert "pdq quality 0 is below the floor of 50" in result.reason
    assert [s.low_quality for s in result.signals] == [False, True]


def test_a_picture_too_small_for_pdq_is_low_quality() -> None:
    result = hash_content(encode(PICTURE.resize((4, 9)), "PNG"), ("pdq",), OPTIONS, LIMITS)
    assert result.outcome is ContentOutcome.LOW_QUALITY
    assert result.signals[0].value == bytes(32)


def test_bad_requests() -> None:
    with pytest.raises(UnknownAlgorithm, match="unknown algorithm 'nohash'; known are pdq"):
        hash_content(PNG, ("pdq", "nohash"), OPTIONS, LIMITS)
    with pytest.raises(InvalidInput, match="name at least one"):
        hash_content(PNG, (), OPTIONS, LIMITS)
    for names in (("pdq",), ("md5",)):
        with pytest.raises(InvalidInput, match="content is empty"):
            hash_content(b"", names, OPTIONS, LIMITS)
        with pytest.raises(InvalidInput, match="the limit is 10 "):
            hash_content(PNG, names, OPTIONS, Limits(max_content_bytes=10))


def test_threads_agree() -> None:
    contents = [encode(PICTURE.resize((300 + i, 200)), "JPEG") for i in range(4)] * 8
    expected = [hash_content(c, ("pdq",), OPTIONS, LIMITS).signals for c in contents]
    with ThreadPoolExecutor(4) as pool:
        signals = pool.map(lambda c: hash_content(c, ("pdq",), OPTIONS, LIMITS).signals, contents)
    assert list(signals) == expected
    assert len(np.unique([s[0].text for s in expected])) > 1


def test_every_algorithm_of_one_decode() -> None:
    computed = (name for name, kind in ALGORITHMS.items() if kind.of_files)
    names = (*computed, "phash-16", "colorhash-2")
    result = hash_content(PNG, names, OPTIONS, LIMITS)
    assert [s.algorithm.name for s in result.signals] == list(names)
    assert result.outcome is ContentOutcome.OK


def test_dihedral_adds_seven_variants_of_pdq() -> None:
    result = hash_content(PNG, ("pdq", "phash"), OPTIONS, LIMITS, make_dihedral)
    assert [s.variant for s in result.signals] == [*DIHEDRAL_VARIANTS, "original"]
    assert len({s.value for s in result.signals}) == 9


@pytest.mark.slow
@pytest.mark.parametrize("file_format", ["GIF", "PNG", "WEBP", "TIFF", "AVIF"])
def test_every_frame_is_hashed(file_format: str) -> None:
    frames = [PICTURE, Image.fromarray(photograph("chelsea.png")).resize(PICTURE.size)]
    frames.append(frames[0].rotate(180))
    content = encode(frames[0], file_format, save_all=True, append_images=frames[1:])
    every = replace(OPTIONS, frames=Frames.ALL)
    result = hash_content(content, ("md5", "pdq"), every, LIMITS)
    assert [s.algorithm.name for s in result.signals] == ["md5", "pdq", "pdq", "pdq"]
    assert [s.frame for s in result.signals] == [0, 0, 1, 2]
    assert result.media is not None
    assert result.media.frames == 3
    for signal, frame in zip(result.signals[1:], frames, strict=True):
        assert hamming(signal.value, hash_pdq(np.asarray(frame)).value) <= 16
    assert len(hash_content(content, ("pdq",), OPTIONS, LIMITS).signals) == 1
    result = hash_content(content, ("pdq",), every, Limits(max_frames=2))
    assert result.outcome is ContentOutcome.TOO_LARGE_MEDIA
    assert "3 frames, the limit is 2" in result.reason
    assert result.signals == ()


def test_a_picture_too_small_for_one_algorithm_is_low_quality() -> None:
    content = encode(PICTURE.resize((40, 40)), "PNG")
    result = hash_content(content, ("whash_db4", "phash"), OPTIONS, LIMITS)
    assert [s.algorithm.name for s in result.signals] == ["phash"]
    assert result.outcome is ContentOutcome.LOW_QUALITY
    assert "too small for whash_db4" in result.reason


def test_a_frame_too_small_for_one_algorithm_is_low_quality() -> None:
    content = encode(PICTURE, "TIFF", save_all=True, append_images=[PICTURE.resize((40, 40))])
    every = replace(OPTIONS, frames=Frames.ALL)
    result = hash_content(content, ("whash_db4", "phash"), every, LIMITS)
    assert [(s.algorithm.name, s.frame) for s in result.signals] == [
        ("whash_db4", 0),
        ("phash", 0),
        ("phash", 1),
    ]
    assert result.outcome is ContentOutcome.LOW_QUALITY


def test_an_algorithm_that_is_only_stored_is_refused() -> None:
    with pytest.raises(UnknownAlgorithm, match="featsvc stores pdna but does not compute it"):
        hash_content(b"x", ("md5", "pdna"), OPTIONS, LIMITS)
