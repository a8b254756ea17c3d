"""What the sources promise to programs stands in the docs."""

import re

import pytest
from featsvc_client.v1 import types_pb2

from tests.photographs import ROOT

SOURCES = "\n".join(p.read_text() for p in (ROOT / "featsvc").rglob("*.py"))
REASONS = {
    *re.findall(r'reason="([A-Z_]+)"', SOURCES),
    *re.findall(r'^    reason = "([A-Z_]+)"', SOURCES, re.MULTILINE),
}
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
    pages = [ROOT / name for name in ("README.md", "ARCHITECTURE.md", "CHANGELOG.md")]
    for page in (*pages, *(ROOT / "docs").rglob("*.md")):
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", page.read_text()):
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_architecture_names_files_that_are_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text()
    named = set(re.findall(r"`((?:[a-z_]+/)+[a-z_]+(?:\.[a-z]+)?)`", text))
    places = [ROOT, ROOT / "featsvc"]
    gone = {
        n for n in named if not any((p / n).exists() or (p / f"{n}.py").exists() for p in places)
    }
    assert len(named) > 20
    assert gone == set()
