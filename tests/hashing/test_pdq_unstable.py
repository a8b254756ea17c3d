"""PDQ where rounding decides bits: equal to `pdqhash` to the bit, and marked."""

import io
import itertools
import json
import os
from typing import Any

import numpy as np
import pytest
from featsvc_kernels import pdq as kernels
from featsvc_kernels.pictures import as_rows
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image

from featsvc.hashing.content import hash_content
from featsvc.hashing.pdq import DIHEDRAL_VARIANTS, hash_pdq, hash_pdq_dihedral
from featsvc.hashing.variants import make_entry, make_query
from featsvc.media import DecodeOptions, Limits
from featsvc.signals.algorithms import QUALITY_FLOOR
from featsvc.signals.hashes import ContentHashes, ContentOutcome
from featsvc.signals.variants import ORIGINAL, QUERY_VARIANTS
from tests.hashing.photographs import PHOTOGRAPHS, encode, hamming, photograph
from tests.hashing.unstable import KINDS, picture
from tests.photographs import SHARED
from tests.vectors.record_pdq import UNSTABLE_VECTORS, ask_dihedral, ask_pdqhash

Pixels = NDArray[np.uint8]
EXAMPLES = int(os.environ.get("TEST_PDQ_EXAMPLES", "100"))
MIRRORED = picture("mirrored", 4, 640, 600)
CASE = SHARED.parent / "cases" / "media" / "mirror_symmetric.png"


def hashes_of(content: bytes, *names: str) -> ContentHashes:
    return hash_content(content, names or ("pdq",), DecodeOptions(), Limits())


def near(pixels: Pixels) -> tuple[int, int]:
    """How many coefficients lie within ROUNDING and RESAVING of the median, before settling."""
    block, coefficients = np.empty((64, 64), np.float32), np.empty((16, 16), np.float32)
    kernels.pdq_downsample(*as_rows(pixels), (0, 0, *pixels.shape[:2]), block)
    kernels.pdq_dct(block, coefficients)
    apart = np.abs(coefficients.ravel() - np.sort(coefficients.ravel())[127])
    rounded, resaved = (
        (apart <= limit).sum() - 1 for limit in (kernels.ROUNDING, kernels.RESAVING)
    )
    return int(rounded), int(resaved)


def bits_left_to_rounding(pixels: Pixels) -> int:
    """How many bits of a hash may differ from the reference: none of one that is settled."""
    rounded, resaved = near(pixels)
    settled = rounded >= kernels.ROUNDED_BITS or resaved >= kernels.UNSTABLE_BITS
    return 0 if settled or min(pixels.shape[:2]) < 5 else rounded


sizes = st.one_of(st.integers(1, 12), st.integers(13, 140), st.integers(141, 700))
pictures = st.builds(
    picture, st.sampled_from(sorted(KINDS)), st.integers(0, 2**30), sizes, sizes, grey=st.booleans()
)


@settings(max_examples=EXAMPLES)
@given(pixels=pictures)
def test_any_picture_equals_pdqhash(pixels: Pixels) -> None:
    """To the bit where it is settled, else within what rounding decides."""
    pytest.importorskip("pdqhash", reason="needs the extra `peers`")
    text, quality, _ = ask_pdqhash(pixels)
    result = hash_pdq(pixels)
    assert hamming(result.value, bytes.fromhex(text)) <= bits_left_to_rounding(pixels)
    assert abs(result.quality - quality) <= (0 if result.unstable else 1)


@settings(max_examples=EXAMPLES // 2)
@given(pixels=pictures)
def test_any_dihedral_equals_pdqhash(pixels: Pixels) -> None:
    pytest.importorskip("pdqhash", reason="needs the extra `peers`")
    result = hash_pdq_dihedral(pixels)
    assert result[0] == hash_pdq(pixels)
    for ours, theirs in zip(result, ask_dihedral(pixels), strict=True):
        apart = hamming(ours.value, bytes.fromhex(theirs))
        assert apart < kernels.ROUNDED_BITS
        assert not (ours.unstable and apart)


@pytest.mark.parametrize(
    "vector", json.loads(UNSTABLE_VECTORS.read_text()), ids=lambda v: v["source"]
)
def test_equals_recorded_pdqhash(vector: dict[str, Any]) -> None:
    kind, seed, height, width = str(vector["source"]).split(" ")
    pixels = picture(kind, int(seed), int(height), int(width), grey=int(seed) % 2 == 1)
    most = bits_left_to_rounding(pixels)
    result = hash_pdq(pixels)
    assert hamming(result.value, bytes.fromhex(str(vector["pdq"]))) <= most
    assert result.quality == vector["quality"]
    for ours, theirs in zip(hash_pdq_dihedral(pixels), vector["dihedral"], strict=True):
        assert hamming(ours.value, bytes.fromhex(theirs)) <= (0 if ours.unstable else most)


def test_each_kind_but_noise_is_settled_and_marked() -> None:
    """Otherwise the tests above could pass by their allowance."""
    for kind in KINDS:
        pixels = picture(kind, 4, 300, 300)
        assert (near(pixels)[0] >= kernels.ROUNDED_BITS) is (kind != "noise"), kind
        assert hash_pdq(pixels).unstable is (kind != "noise"), kind


@pytest.mark.skipif(
    not CASE.is_file(), reason="the cases that failed (../shared/cases) are not here"
)
def test_the_reported_picture() -> None:
    signal = hashes_of(CASE.read_bytes()).signals[0]
    assert signal.text == "da66d9400d69879fca5f03ead3f5e84d428ca1b282168e86a8dd339b29d5ab3d"
    assert (signal.quality, signal.unstable) == (100, True)
    saved = hashes_of(CASE.with_name("mirror_symmetric_q90.jpg").read_bytes())
    assert saved.outcome is ContentOutcome.UNSTABLE


@pytest.mark.parametrize("name", PHOTOGRAPHS)
def test_photographs_are_stable_or_lost_when_saved_anew(name: str) -> None:
    pixels = photograph(name)
    if min(pixels.shape[:2]) < 64:
        pytest.skip("a JPEG changes every pixel of so small a picture")
    saved = np.asarray(Image.open(io.BytesIO(encode(Image.fromarray(pixels), "JPEG", quality=60))))
    found = hamming(hash_pdq(pixels).value, hash_pdq(saved).value) <= 31
    result = hash_pdq(pixels)
    assert found is not result.unstable or result.quality < QUALITY_FLOOR
    assert not (result.unstable and near(pixels)[0] < kernels.ROUNDED_BITS)


def test_the_mark_is_in_the_outcome() -> None:
    png = encode(Image.fromarray(MIRRORED), "PNG")
    result = hashes_of(png, "md5", "pdq", "phash")
    assert result.outcome is ContentOutcome.UNSTABLE
    assert "exact copies" in result.reason
    assert [s.unstable for s in result.signals] == [False, True, False]
    assert hashes_of(png, "md5", "phash").outcome is ContentOutcome.OK


def test_low_quality_goes_before_unstable() -> None:
    png = encode(Image.fromarray(picture("flat", 1, 100, 100)), "PNG")
    result = hashes_of(png)
    assert result.outcome is ContentOutcome.LOW_QUALITY
    assert result.signals[0].unstable


def test_an_unstable_jpeg_is_hashed_as_the_reference_does() -> None:
    """From RGB: the grey plane of a JPEG has other rounding, and then other bits."""
    content = encode(Image.fromarray(MIRRORED), "JPEG", quality=90, subsampling=0)
    signal = hashes_of(content).signals[0]
    assert signal.unstable
    assert signal.provenance is not None
    assert not signal.provenance.luma_plane
    assert signal.value == hash_pdq(np.asarray(Image.open(io.BytesIO(content)))).value
    plain = encode(Image.fromarray(picture("noise", 4, 600, 640)), "JPEG")
    assert (provenance := hashes_of(plain).signals[0].provenance) is not None
    assert provenance.luma_plane


def test_turned_hashes_are_those_of_the_turned_pixels() -> None:
    turns = {
        "rotate_90": np.rot90(MIRRORED, 1),
        "rotate_180": np.rot90(MIRRORED, 2),
        "rotate_270": np.rot90(MIRRORED, 3),
        "flip_x": MIRRORED[::-1],
        "flip_y": MIRRORED[:, ::-1],
        "transpose": MIRRORED.swapaxes(0, 1),
        "transverse": np.rot90(MIRRORED, 2).swapaxes(0, 1),
    }
    variants = dict(make_query(frozenset(QUERY_VARIANTS), MIRRORED))
    assert variants[ORIGINAL] == hash_pdq(MIRRORED)
    assert {*turns, ORIGINAL} == set(DIHEDRAL_VARIANTS) <= set(variants)
    for name, turned in turns.items():
        assert variants[name] == hash_pdq(turned), name
        assert variants[name].unstable


def test_entries_store_no_unstable_variant() -> None:
    for kind, grey in itertools.product(("mirrored", "tricolour", "noise"), (False, True)):
        original, *others = make_entry(picture(kind, 2, 400, 300, grey=grey))
        assert original[1].unstable is (kind != "noise")
        assert not any(hashed.unstable for _, hashed in others)
    assert others
