"""The table of docs/hashing.md is that of the code, and its example runs."""

import re
from pathlib import Path

import pytest
from PIL import Image

from featsvc.signals.algorithms import ALGORITHMS, Kind
from tests.hashing.photographs import encode, photograph

PAGE = Path(__file__).parents[2] / "docs" / "hashing.md"


def algorithm_table() -> str:
    lines = [
        "| name | bits | distance | threshold | quality floor | matched |",
        "|---|---|---|---|---|---|",
    ]
    for kind in (a for a in ALGORITHMS.values() if a.kind is not Kind.VECTOR):
        if kind.kind is Kind.STORED:
            lines.append(f"| `{kind.name}` | any | none | | | stored only |")
            continue
        floor = "" if kind.quality_floor is None else str(kind.quality_floor)
        matched = "yes" if kind.matched else "no"
        lines.append(
            f"| `{kind.name}` | {kind.bits or 'any'} | {kind.distance.name} "
            f"| {kind.default_threshold} | {floor} | {matched} |"
        )
    return "\n".join(lines)


def test_the_table_is_current() -> None:
    table = re.search(r"<!-- algorithms -->\n(.*?)\n<!-- /algorithms -->", PAGE.read_text(), re.S)
    assert table is not None
    assert table[1] == algorithm_table(), f"{PAGE.name} should have\n{algorithm_table()}"


def test_the_example_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = re.search(r"```python\n(.*?)```", PAGE.read_text(), re.S)
    assert code is not None
    monkeypatch.chdir(tmp_path)
    picture = Image.fromarray(photograph("coffee.png"))
    (tmp_path / "photo.jpg").write_bytes(encode(picture, "JPEG"))
    exec(code[1], {})  # noqa: S102 - the page's own example
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["pdq", "phash-16", "md5"]
