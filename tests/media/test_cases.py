"""The inputs that once gave a wrong picture or none: what each must give now.

The files are in `../shared/cases/media`; tests skip where that is absent.
"""

import pytest

from featsvc.errors import MediaCorrupt, MediaTooLarge
from featsvc.hashing.content import hash_content
from featsvc.media import DecodeOptions, Limits, decode
from tests.photographs import ROOT

CASES = ROOT.parent / "shared/cases/media"

W = "6773ac84981ca3cfcd1b0b66a252c84c4ad9f3d3a6938526e48e6d263b6dd2d9"
_PROFILED = "efc3ad04393ea3cfcb1b1b64e2c240cc42d9b39386938566ec8e69243b6d52db"
_WHOLE = "6f43ac04991ea3cfcb1b0b66ead2484c42d9f39386938566e48e69263b6dd2db"
PDQ = {
    "bad_icc_marker.jpg": _PROFILED,
    "bad_icc_marker_control.jpg": _PROFILED,
    "ctl_whole.jpg": _WHOLE,
    # Only the end mark is missing: every block is there.
    "no_eoi.jpg": _WHOLE,
    "bigtiff_be.tif": W,
    "ctl_group4.tif": "6f43ac04b83e23cfcb1b0b64cac260cc42d9f39386938566ec8e69263b6ddadb",
    "tiff_dangling_next_ifd.tif": W,
    "tiff_float64.tif": W,
    "tiff_grey12.tif": W,
    "tiff_grey16_whiteiszero.tif": W,
    "tiff_grey_assoc_alpha.tif": "6532adc4a917ab4ce95a2b66aa53cacc4ad9b3d2a693b526a48a6d263b6d52d8",
    "tiff_grey_u32.tif": W,
    "tiff_planar16_rgb.tif": W,
    "png_grey16_trns.png": "243a2744b9102f2ed91b2b7ccaca326806c7d933a693cd91364e2f64d966dadf",
    "ctl_whole.png": "2773ac04b91ca38fcd1b0b66eb42484c42d9f393a6938526e48e6d263b6ddadb",
    # The animation's own frame; its default image has another hash.
    "apng_hidden_default.png": "2773ac04b91ca38fcd1b0b66eb42484c42d9f393b6938526e48e6d263b6dd2db",
    "avif_clap_crop.avif": "095e899c391ee7379c7701d1ff3442258f6770c4c3360d4cde5ca9796a1592ad",
}
"""File -> PDQ, of quality 100."""

ERRORS = {
    "half_junk_eoi.jpg": (MediaCorrupt, "premature end of data segment"),
    "half_rows.png": (MediaCorrupt, "fewer pixels than its header says"),
    "bigtiff_offset.tif": (MediaCorrupt, "page 1 lies past the end of the file"),
    "damaged_group4.tif": (MediaCorrupt, "page 1, strip 1 of 1: Fax4Decode: Bad code word"),
    "tiff_tile_bomb.tif": (MediaTooLarge, r"32768 x 32768 has .* pixels"),
    "tiff_tile_medium.tif": (MediaTooLarge, r"20480 x 20480 has .* pixels"),
}
"""File -> the error, and what its message says."""


def read(name: str) -> bytes:
    path = CASES / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path.read_bytes()


@pytest.mark.parametrize("name", PDQ)
def test_a_case_has_its_right_hash(name: str) -> None:
    (signal,) = hash_content(read(name), ("pdq",), DecodeOptions(), Limits()).signals
    assert (signal.text, signal.quality) == (PDQ[name], 100)


@pytest.mark.parametrize("name", ERRORS)
def test_a_case_fails_as_it_should(name: str) -> None:
    error, message = ERRORS[name]
    with pytest.raises(error, match=message):
        decode(read(name), DecodeOptions(), Limits())


def test_a_symmetric_jpeg_decodes() -> None:
    assert decode(read("mirror_symmetric_q90.jpg"), DecodeOptions(), Limits()).height == 200
