"""The layout of folders, and no paths of this checkout."""

from tests.photographs import ROOT


def test_every_test_folder_is_a_package() -> None:
    # Test files in two folders may have the same name.
    folders = {p.parent for p in (ROOT / "tests").rglob("*.py")}
    assert [f.name for f in folders if not (f / "__init__.py").exists()] == []


def test_no_file_contains_the_path_of_this_checkout() -> None:
    folders = ("bench", "client", "docs", "featsvc", "kernels", "proto", "tests")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file()]
    found = [p for p in files if p.suffix != ".pyc" and str(ROOT).encode() in p.read_bytes()]
    assert found == []
