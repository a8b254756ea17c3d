"""The photographs that `featsvc demo` carries, and the edited copies that it makes of them.

`tests/integration/test_command.py` runs it.
"""

import io
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featsvc.cli.demo import KNOWN, PHOTOGRAPHS, UNRELATED, all_uploads
from tests.photographs import photograph

NAMES = (*KNOWN, *UNRELATED)
SOURCES = photograph(".")


def test_the_folder_holds_the_photographs_and_nothing_else() -> None:
    assert len(set(NAMES)) == len(NAMES) == 10
    assert {p.name for p in PHOTOGRAPHS.iterdir()} == {*NAMES, "README.md"}
    assert sum(p.stat().st_size for p in PHOTOGRAPHS.iterdir()) < 500_000


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_is_credited_once_with_its_licence(name: str) -> None:
    rows = re.findall(r"^\|(.*)\|$", (PHOTOGRAPHS / "README.md").read_text(), re.MULTILINE)
    (row,) = [row for row in rows if f"`{name}`" in row]
    _, shows, author, released, source = [cell.strip() for cell in row.split("|")]
    assert shows
    assert author
    assert source
    assert released in ("CC0 1.0", "public domain")


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_carries_no_metadata(name: str) -> None:
    with Image.open(PHOTOGRAPHS / name) as image:
        assert image.format == "JPEG"
        assert {*image.info} <= {"jfif", "jfif_version", "jfif_unit", "jfif_density"}


@pytest.mark.parametrize("name", NAMES)
def test_a_photograph_is_the_one_that_is_credited(name: str) -> None:
    (source,) = SOURCES.glob(f"{Path(name).stem}[._]*")
    with Image.open(PHOTOGRAPHS / name) as shipped, Image.open(source) as original:
        reduced = original.convert(shipped.mode).resize(shipped.size, Image.Resampling.LANCZOS)
        differences = np.asarray(shipped, float) - np.asarray(reduced, float)
    assert np.abs(differences).mean() < 8  # what JPEG changes, of 256 levels


def test_copies_have_names_and_content_of_their_own() -> None:
    copies = [upload for upload in all_uploads() if upload.expected]
    assert len({c.file for c in copies} | {*NAMES}) == len(copies) + len(NAMES)
    assert {c.expected for c in copies} == {*KNOWN}
    for copy in copies:
        with Image.open(io.BytesIO(copy.content)) as image:
            assert Image.registered_extensions()[Path(copy.file).suffix] == image.format
        assert copy.content != (PHOTOGRAPHS / copy.expected).read_bytes()


def test_unrelated_pictures_are_uploaded_as_they_are() -> None:
    unrelated = [upload for upload in all_uploads() if not upload.expected]
    assert [u.file for u in unrelated] == [*UNRELATED]
    assert all(u.content == (PHOTOGRAPHS / u.file).read_bytes() for u in unrelated)
