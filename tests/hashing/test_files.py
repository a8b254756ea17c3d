from pathlib import Path

import pytest
from PIL import Image

from featsvc.errors import InvalidInput, MediaCorrupt, MediaTooLarge
from featsvc.hashing.files import hash_files, list_files
from featsvc.media import DecodeOptions, Limits
from tests.hashing.photographs import encode, photograph

PICTURE = Image.fromarray(photograph("coffee.png"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b").mkdir()
    for i in range(20):
        name = f"{i:02}.jpg"
        (tmp_path / "b" / name).write_bytes(encode(PICTURE.resize((100 + i, 90)), "JPEG"))
    (tmp_path / "a.png").write_bytes(encode(PICTURE, "PNG"))
    (tmp_path / "broken.png").write_bytes(encode(PICTURE, "PNG")[:3000])
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "note.txt").write_text("a note")
    return tmp_path


def test_folders_are_walked_in_order(folder: Path) -> None:
    names = [p.relative_to(folder).as_posix() for p in list_files([folder])]
    assert names[:4] == ["a.png", "broken.png", "empty", "note.txt"]
    assert names[4:] == [f"b/{i:02}.jpg" for i in range(20)]


def test_results_are_in_order_with_errors_in_place(folder: Path) -> None:
    paths = list(list_files([folder]))
    results = list(hash_files(paths, ("pdq", "md5"), DecodeOptions(), Limits(), threads=3))
    assert [r.path for r in results] == paths
    by_name = {r.path.name: r for r in results}
    assert isinstance(by_name["broken.png"].error, MediaCorrupt)
    assert isinstance(by_name["empty"].error, InvalidInput)
    assert by_name["note.txt"].hashes is not None
    assert [s.algorithm.name for s in by_name["note.txt"].hashes.signals] == ["md5"]
    assert sum(r.error is None for r in results) == 22


def test_large_and_odd_files_are_not_read(folder: Path) -> None:
    (result,) = hash_files(
        [folder / "a.png"], ("md5",), DecodeOptions(), Limits(max_content_bytes=100)
    )
    assert isinstance(result.error, MediaTooLarge)
    (result,) = hash_files([Path("/dev/zero")], ("md5",), DecodeOptions(), Limits())
    assert isinstance(result.error, InvalidInput)
    assert "not a regular file" in str(result.error)
    (result,) = hash_files([folder / "gone"], ("md5",), DecodeOptions(), Limits())
    assert isinstance(result.error, InvalidInput)
    assert "cannot be read: No such file" in str(result.error)


def test_closing_early_cancels_the_rest(folder: Path) -> None:
    paths = list(list_files([folder])) * 20
    results = hash_files(paths, ("md5",), DecodeOptions(), Limits(), threads=1)
    assert next(results).path == paths[0]
    results.close()
