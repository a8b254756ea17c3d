"""`featsvc features validate` and `diff`; commands with a server are in tests/integration."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner
from featsvc_client.v1 import features_pb2

from featsvc.accounts.definitions import shipped_definitions
from featsvc.cli.features import complete_since, features
from featsvc.cli.match import print_features
from featsvc.errors import ConfigInvalid

WRONG = """namespace = "t"
[entities]
account = "account"
[events.upload]
keys = ["account"]
[features.uploads]
on = "uplaod"
agg = "count"
windows = ["1h"]
"""


def test_the_shipped_definitions_are_valid() -> None:
    path = str(shipped_definitions())
    result = CliRunner().invoke(features, ["validate", path])
    assert result.exit_code == 0
    assert result.output.startswith(f"{path}: valid: ")
    result = CliRunner().invoke(features, ["validate", path, "--json"])
    told = json.loads(result.output)
    assert told["valid"] is True
    assert told["features"] > 20


def test_what_is_wrong_is_told_with_file_line_and_key(tmp_path: Path) -> None:
    path = tmp_path / "features.toml"
    path.write_text(WRONG)
    told = "features.uploads.on: unknown event 'uplaod'; did you mean \"upload\"?"
    with pytest.raises(ConfigInvalid) as caught:  # main() prints it and exits 1
        CliRunner().invoke(features, ["validate", str(path)], catch_exceptions=False)
    assert str(caught.value) == f"{path}:7: {told}"
    result = CliRunner().invoke(features, ["validate", str(path), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output) == {
        "file": str(path),
        "valid": False,
        "line": 7,
        "key": "features.uploads.on",
        "message": told.partition(": ")[2],
    }


@pytest.mark.parametrize(
    ("text", "line"), [("a = 1\nb = \n", 2), (None, 1), ("namespace = 3", 1), ("x = [1,", 1)]
)
def test_a_file_that_cannot_be_read_is_told_the_same_way(
    tmp_path: Path, text: str | None, line: int
) -> None:
    path = tmp_path / "features.toml"
    if text is not None:
        path.write_text(text)
    result = CliRunner().invoke(features, ["validate", str(path), "--json"])
    assert result.exit_code == 1
    assert json.loads(result.output)["line"] == line


def test_diff_says_what_a_change_does_to_values(tmp_path: Path) -> None:
    old, new = tmp_path / "old.toml", tmp_path / "new.toml"
    old.write_text(WRONG.replace("uplaod", "upload"))
    new.write_text(old.read_text().replace('["1h"]', '["1h", "24h", "lifetime"]'))
    result = CliRunner().invoke(features, ["diff", str(old), str(new)])
    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines() if "uploads_" in line] == [
        ["uploads_24h", "new", "window", "24h"],
        ["uploads_lifetime", "new", "window", "lifetime"],
    ]
    assert result.output.endswith("1 feature complete at once; 0 without their values\n")
    result = CliRunner().invoke(features, ["diff", str(new), str(old)])
    assert result.exit_code == 1
    assert "uploads_24h" in result.output
    result = CliRunner().invoke(features, ["diff", str(old), str(new), "--json"])
    assert json.loads(result.output) == {
        "old": str(old),
        "new": str(new),
        "loses_state": False,
        "features": [
            {
                "feature": f"uploads_{window}",
                "change": change,
                "was": "",
                "reasons": [],
                "warming": w,
            }
            for window, change, w in (
                ("1h", "kept", None),
                ("24h", "new_window", "24h"),
                ("lifetime", "new_window", "lifetime"),
            )
        ],
    }


def test_diff_of_a_wrong_file_fails(tmp_path: Path) -> None:
    path = tmp_path / "features.toml"
    path.write_text(WRONG)
    with pytest.raises(ConfigInvalid, match=r"features\.toml:7: "):
        CliRunner().invoke(
            features, ["diff", str(shipped_definitions()), str(path)], catch_exceptions=False
        )


def test_rare_statuses_are_explained(capsys: pytest.CaptureFixture[str]) -> None:
    statuses = ["PRESENT", "WARMING", "NOT_RETAINED", "DAMAGED"]
    columns = [
        features_pb2.FeatureColumn(
            name=f"f{number}",
            values=[number, float("nan")],
            statuses=[f"FEATURE_STATUS_{status}", "FEATURE_STATUS_PRESENT"],
        )
        for number, status in enumerate(statuses)
    ]
    table = features_pb2.FeatureTable(columns=columns, freshness_us=[1, 1])
    print_features("account a", table, 0)
    told = capsys.readouterr().out.splitlines()[-3:]
    assert [line.partition(":")[0] for line in told] == ["NOT_RETAINED", "WARMING", "DAMAGED"]
    print_features("account b", table, 1)
    assert ": " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("since_s", "window_s", "shown"),
    [
        (None, 3600, ""),
        (7000, 3600, "1970-01-01T01:56:40Z"),
        (6000, 3600, ""),
        (6000, None, "1970-01-01T01:40:00Z"),
    ],
)
def test_a_feature_is_complete_since_when_it_may_be_warming(
    since_s: int | None, window_s: int | None, shown: str
) -> None:
    feature = features_pb2.FeatureDefinition()
    if since_s is not None:
        feature.complete_since.FromSeconds(since_s)
    if window_s is not None:
        feature.window.FromSeconds(window_s)
    assert complete_since(feature, now_s=10_000) == shown
