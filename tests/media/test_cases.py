"""The inputs that once gave a wrong picture or none: what each must give now.

The files are in `../shared/cases/media`; tests skip where that is absent.
"""

import pytest

from featsvc.hashing.content import hash_content
from featsvc.media import DecodeOptions, Limits
from tests.photographs import ROOT

CASES = ROOT.parent / "shared/cases/media"

PDQ = {
    "avif_clap_crop.avif": "095e899c391ee7379c7701d1ff3442258f6770c4c3360d4cde5ca9796a1592ad",
}
"""File -> PDQ, of quality 100."""


def read(name: str) -> bytes:
    path = CASES / name
    if not path.is_file():
        pytest.skip(f"no {path}")
    return path.read_bytes()


@pytest.mark.parametrize("name", PDQ)
def test_a_case_has_its_right_hash(name: str) -> None:
    (signal,) = hash_content(read(name), ("pdq",), DecodeOptions(), Limits()).signals
    assert (signal.text, signal.quality) == (PDQ[name], 100)
