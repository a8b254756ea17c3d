from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from featsvc.errors import InvalidInput, MediaCorrupt, MediaTooLarge
from featsvc.hashing import files
from featsvc.hashing.content import hash_content
from featsvc.hashing.files import hash_files, list_files
from featsvc.media import DecodeOptions, Limits
from featsvc.signals.hashes import ContentHashes, ContentOutcome
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
    broken = by_name["broken.png"].hashes
    assert broken is not None
    assert broken.outcome is ContentOutcome.CORRUPT_MEDIA
    assert [s.algorithm.name for s in broken.signals] == ["md5"]
    assert isinstance(by_name["empty"].error, InvalidInput)
    assert by_name["note.txt"].hashes is not None
    assert [s.algorithm.name for s in by_name["note.txt"].hashes.signals] == ["md5"]
    assert sum(r.error is None for r in results) == 23
    strict = hash_files(paths, ("pdq", "md5"), DecodeOptions(), Limits(), must_decode=True)
    errors = {r.path.name: r.error for r in strict if r.error is not None}
    assert isinstance(errors["broken.png"], MediaCorrupt)
    assert errors.keys() == {"broken.png", "empty"}


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


@pytest.mark.parametrize("kind", [RecursionError, MemoryError, KeyError, OverflowError, OSError])
def test_an_unforeseen_error_is_of_its_file_only(
    folder: Path, monkeypatch: pytest.MonkeyPatch, kind: type[Exception]
) -> None:
    def fail_on_notes(content: bytes, *rest: Any, parts: bool, must_decode: bool) -> ContentHashes:
        if content == b"a note":
            raise kind("a secret of the file")
        return hash_content(content, *rest, must_decode=must_decode)

    monkeypatch.setattr(files, "hash_any", fail_on_notes)
    paths = list(list_files([folder]))
    results = list(hash_files(paths, ("pdq", "md5"), DecodeOptions(), Limits(), threads=3))
    assert [r.path for r in results] == paths
    failed = {r.path.name: r.error for r in results if r.error is not None}
    assert failed.keys() == {"empty", "note.txt"}
    assert "secret" not in str(failed["note.txt"])


def test_closing_early_cancels_the_rest(folder: Path) -> None:
    paths = list(list_files([folder])) * 20
    results = hash_files(paths, ("md5",), DecodeOptions(), Limits(), threads=1)
    assert next(results).path == paths[0]
    results.close()
