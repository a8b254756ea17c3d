"""The inputs that once gave a wrong picture or none: what each must give now.

The files are in `../shared/cases/media`; tests skip where that is absent.
"""

import pytest

from featsvc.errors import MediaCorrupt
from featsvc.hashing.content import hash_content
from featsvc.media import DecodeOptions, Limits, decode
from tests.photographs import ROOT

CASES = ROOT.parent / "shared/cases/media"

_PROFILED = "efc3ad04393ea3cfcb1b1b64e2c240cc42d9b39386938566ec8e69243b6d52db"
_WHOLE = "6f43ac04991ea3cfcb1b0b66ead2484c42d9f39386938566e48e69263b6dd2db"
PDQ = {
    "bad_icc_marker.jpg": _PROFILED,
    "bad_icc_marker_control.jpg": _PROFILED,
    "ctl_whole.jpg": _WHOLE,
    # Only the end mark is missing: every block is there.
    "no_eoi.jpg": _WHOLE,
    "png_grey16_trns.png": "243a2744b9102f2ed91b2b7ccaca326806c7d933a693cd91364e2f64d966dadf",
    "ctl_whole.png": "2773ac04b91ca38fcd1b0b66eb42484c42d9f393a6938526e48e6d263b6ddadb",
    # The animation's own frame; its default image has another hash.
    "apng_hidden_default.png": "2773ac04b91ca38fcd1b0b66eb42484c42d9f393b6938526e48e6d263b6dd2db",
}
"""File -> PDQ, of quality 100."""

ERRORS = {
    "half_junk_eoi.jpg": (MediaCorrupt, "premature end of data segment"),
    "half_rows.png": (MediaCorrupt, "fewer pixels than its header says"),
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
