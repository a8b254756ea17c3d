"""Every folder of tests is a package, so that two of them may hold a file of the same name."""

from tests.photographs import ROOT


def test_every_test_folder_is_a_package() -> None:
    folders = {p.parent for p in (ROOT / "tests").rglob("*.py")}
    assert [f.name for f in folders if not (f / "__init__.py").exists()] == []
