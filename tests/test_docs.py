"""What the sources promise to programs stands in the docs."""

import re
from pathlib import Path

import pytest
from featsvc_client.v1 import types_pb2

from tests.photographs import ROOT

SOURCES = "\n".join(p.read_text() for p in (ROOT / "featsvc").rglob("*.py"))
REASONS = {
    *re.findall(r'reason="([A-Z_]+)"', SOURCES),
    *re.findall(r'^    reason = "([A-Z_]+)"', SOURCES, re.MULTILINE),
}
PAGES = ("README.md", "ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")
METRICS = set(re.findall(r'"(featsvc_[a-z_]+)"', SOURCES))


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_a_reason_is_documented(reason: str) -> None:
    assert f"`{reason}`" in (ROOT / "docs" / "errors.md").read_text()


@pytest.mark.parametrize("metric", sorted(METRICS))
def test_a_metric_is_documented(metric: str) -> None:
    assert f"`{metric}" in (ROOT / "docs" / "operations.md").read_text()


@pytest.mark.parametrize("outcome", types_pb2.Outcome.keys()[1:])
def test_an_outcome_is_documented(outcome: str) -> None:
    assert f"`{outcome}`" in (ROOT / "docs" / "errors.md").read_text()


def test_links_lead_somewhere() -> None:
    pages = [ROOT / name for name in PAGES]
    for page in (*pages, *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


@pytest.mark.parametrize("page", ["ARCHITECTURE.md", "CONTRIBUTING.md"])
def test_a_page_names_files_that_are_there(page: str) -> None:
    text = (ROOT / page).read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+(?:\.[a-z]+)?)`", text))
    places = [ROOT, ROOT / "featsvc"]
    gone = {
        n for n in named if not any((p / n).exists() or (p / f"{n}.py").exists() for p in places)
    }
    assert len(named) > 10
    assert gone == set()


@pytest.mark.parametrize("page", sorted((ROOT / "docs" / "adr").glob("*.md")), ids=lambda p: p.stem)
def test_a_decision_has_a_number_a_date_and_a_status(page: Path) -> None:
    title, _, status, *_ = page.read_text().splitlines()
    assert re.fullmatch(rf"# {int(page.name[:4])}\. \S.*", title)
    assert re.fullmatch(r"20\d\d-\d\d-\d\d · (accepted|superseded by ADR \d+)(; .*)?", status)
