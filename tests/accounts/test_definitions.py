"""Loading of `features.toml`, and its error messages."""

from pathlib import Path

import pytest

from featsvc.accounts.definitions import load_definitions
from featsvc.errors import ConfigInvalid
from tests.accounts.stores import define

HEAD = """namespace = "t"
[entities]
account = "account"
ip = "addr"
[events.upload]
keys = ["account"]
"""
UPLOADS = """[features.uploads]
on = "upload"
agg = "count"
windows = ["1h", "lifetime"]
"""


def test_a_windowed_feature_is_named_after_its_window(tmp_path: Path) -> None:
    definitions = define(tmp_path, HEAD + UPLOADS)
    assert list(definitions.features) == ["uploads_1h", "uploads_lifetime"]
    assert definitions.features["uploads_1h"].ring.width_ms == 300_000
    assert definitions.events["upload"] == ("account",)
    assert definitions.entities["ip"] == "addr"


@pytest.mark.parametrize(
    ("text", "line", "message"),
    [
        (
            HEAD + UPLOADS.replace('"upload"', '"uplaod"'),
            8,
            "features.uploads.on: unknown event 'uplaod'; did you mean \"upload\"?",
        ),
        (HEAD + UPLOADS.replace('"count"', '"cuont"'), 9, 'did you mean "count"?'),
        (HEAD + UPLOADS.replace('"1h"', '"1 h"'), 10, "'1 h' is not a duration"),
        (HEAD + UPLOADS.replace('"1h"', '"10s"'), 10, "not between 1m and 90d"),
        (HEAD + UPLOADS.replace('"1h"', '"91d"'), 10, "not between 1m and 90d"),
        (HEAD + UPLOADS.replace("windows", "window"), 10, 'did you mean "windows"?'),
        (HEAD + UPLOADS + 'value = "x"\n', 11, "count takes no value"),
        (HEAD + UPLOADS + "cap = 5\n", 11, "only distinct has a cap"),
        (HEAD + UPLOADS + 'entity = "ip"\n', 11, "event 'upload' has no key 'ip'"),
        (HEAD + UPLOADS + 'entity = "acount"\n', 11, 'did you mean "account"?'),
        (HEAD + UPLOADS + "where = { size = [] }\n", 11, "matches no event"),
        (HEAD + UPLOADS + 'max_age = "1y"\n', 11, "'1y' is not a duration"),
        (HEAD + UPLOADS + 'default = "0"\n', 11, "must be a finite number"),
        (HEAD + UPLOADS.replace('"count"', '"sum"'), 7, "features.uploads.value: is missing"),
        (HEAD + UPLOADS + '[derived]\nx = "uploads_2h"\n', 12, 'did you mean "uploads_1h"?'),
        (HEAD + UPLOADS + '[derived]\nx = "uploads_1h ** 2"\n', 12, "is not allowed"),
        (HEAD + UPLOADS + '[derived]\nx = "__import__(1, 2)"\n', 12, "is not allowed"),
        (HEAD + UPLOADS + '[derived]\nx = "1 +"\n', 12, "cannot be parsed"),
        (HEAD + UPLOADS + '[derived]\nx = "1 + 2"\n', 12, "exactly one entity"),
        (HEAD + UPLOADS + '[derived]\nuploads_1h = "uploads_1h"\n', 12, "has this name"),
        (HEAD + UPLOADS + '[sets]\ns = ["uploads"]\n', 12, 'did you mean "uploads_1h"?'),
        (HEAD + '[features.Up-Loads]\non = "upload"\n', 7, "a name is 1 to 64"),
        (HEAD.replace('keys = ["account"]', "keys = []"), 6, "must be a list"),
        (HEAD.replace('"t"', '"a}b"'), 1, "a name is 1 to 64"),
        (HEAD.replace("[entities]", "[entitys]"), 2, 'did you mean "entities"?'),
        ("version = 1\n", 1, "namespace: is missing"),
        (HEAD + "[dedup]\nring = 0\n", 8, "whole number from 1 to 4096"),
    ],
)
def test_errors_name_file_line_and_key(tmp_path: Path, text: str, line: int, message: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        define(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 'features.toml'}:{line}: ")
    assert message in str(caught.value)


def test_a_file_that_is_not_toml(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"is not TOML: .*line 1"):
        define(tmp_path, "namespace = \n")
    with pytest.raises(ConfigInvalid, match="cannot be read"):
        load_definitions(tmp_path / "absent.toml")


def test_a_state_is_named_by_its_meaning(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        return define(tmp_path, HEAD + text).features["uploads_1h"].state.digest

    original = digest(UPLOADS)
    assert digest(UPLOADS.replace('"lifetime"', '"24h"')) == original
    assert digest(UPLOADS + 'description = "x"\n') == original
    assert digest(UPLOADS + "version = 2\n") != original
    assert digest(UPLOADS + "where = { kind = 1 }\n") != original
    assert digest(UPLOADS.replace('"count"', '"max"') + 'value = "x"\n') != original
