"""The docs list every reason, metric and outcome of the sources, and their links resolve."""

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
LINKED = sorted(
    [
        *ROOT.glob("*.md"),
        *(p for folder in ("client", "examples", "proto") for p in (ROOT / folder).glob("*.md")),
        *(ROOT / "docs").rglob("*.md"),
    ]
)
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


def anchors_of(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", LINKED, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_and_anchors_resolve(page: Path) -> None:
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", page.read_text()):
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        assert target.exists(), f"{page.name}: {link}: no such file"
        assert not anchor or anchor in anchors_of(target), f"{page.name}: {link}: no such heading"


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
