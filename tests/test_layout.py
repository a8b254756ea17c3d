"""Where files lie, and what none of them holds."""

from tests.photographs import ROOT


def test_every_test_folder_is_a_package() -> None:
    # Two folders may hold a file of the same name.
    folders = {p.parent for p in (ROOT / "tests").rglob("*.py")}
    assert [f.name for f in folders if not (f / "__init__.py").exists()] == []


def test_no_file_names_the_folder_of_this_checkout() -> None:
    folders = ("bench", "client", "docs", "featsvc", "kernels", "proto", "tests")
    files = [p for folder in folders for p in (ROOT / folder).rglob("*") if p.is_file()]
    naming = [p for p in files if p.suffix != ".pyc" and str(ROOT).encode() in p.read_bytes()]
    assert naming == []
