"""Loading of `features.toml`, and its error messages."""

import re
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.accounts.definitions import MAX_RINGS_PER_EVENT, load_definitions
from featsvc.accounts.layout import state_digest
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
        (HEAD + UPLOADS + "where = { x = nan }\n", 11, "nan matches no event"),
        (HEAD + UPLOADS + "where = { x = 9007199254740992.0 }\n", 11, "several integers"),
        (HEAD + UPLOADS + "where = { x = 18446744073709551616 }\n", 11, "64 bits"),
        (HEAD + UPLOADS + "where = { x = [[1]] }\n", 11, "must be a text, number or flag"),
        (HEAD + UPLOADS + "where = { x = 2026-01-01 }\n", 11, "must be a text, number or flag"),
        (HEAD + UPLOADS + f"default = 1{'0' * 400}\n", 11, "must be a finite number"),
        (HEAD + UPLOADS + f"default = 0x{'f' * 5000}\n", 11, "not this int"),
        (HEAD + UPLOADS + f"default = 1{'0' * 5000}\n", 11, "too many digits"),
        (HEAD + UPLOADS + f"default = {'[' * 2000}\n", 11, "nested too deeply"),
        (HEAD + UPLOADS + f'[derived]\nx = "uploads_1h + 1{"0" * 400}"\n', 12, "not allowed"),
        (HEAD + UPLOADS + '[derived]\nx = "a\\u0000"\n', 12, "cannot be parsed"),
        (HEAD + UPLOADS.replace('"count"', '"last"\nvalue = "addr"'), 10, "id is a text"),
        (HEAD + UPLOADS.replace('"count"', '"sum"\nvalue = "account"'), 10, "id is a text"),
        (HEAD + '["a\\nb"]\n', 7, "'a\\nb': unknown key"),
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


def test_event_ids_count_once_within_a_horizon(tmp_path: Path) -> None:
    def horizon_ms(text: str) -> int:
        return define(tmp_path, HEAD + text).dedup_horizon_ms

    assert horizon_ms("") == 86_400_000
    assert horizon_ms("[dedup]\nring = 512\n") == 86_400_000
    assert horizon_ms('[dedup]\nhorizon = "2h"\n') == 7_200_000


def test_the_rings_that_an_event_updates_are_limited(tmp_path: Path) -> None:
    def text(count: int) -> str:
        windows = '["1m", "1h", "24h", "30d", "lifetime"]'
        return HEAD + "".join(
            f'[features.n{i}]\non = "upload"\nagg = "count"\nwindows = {windows}\nversion = {i}\n'
            for i in range(1, count + 1)
        )

    most = MAX_RINGS_PER_EVENT // 5
    assert len(define(tmp_path, text(most)).features) == MAX_RINGS_PER_EVENT
    with pytest.raises(
        ConfigInvalid, match=r"features\.n801\.windows: .* 4,000 rings of one account"
    ):
        define(tmp_path, text(most + 1))


def test_features_that_share_a_state_have_the_largest_cap(tmp_path: Path) -> None:
    distinct = UPLOADS.replace('"count"', '"distinct"\nvalue = "x"')
    text = HEAD + distinct + "cap = 8\n" + distinct.replace("uploads", "more") + "cap = 9\n"
    features = define(tmp_path, text).features
    assert features["uploads_1h"].state is features["more_1h"].state
    assert features["uploads_1h"].state.cap == 9


def test_the_digest_of_a_file_never_changes(tmp_path: Path) -> None:
    """Stored values are found by it: these are of the first version that stored any."""
    text = UPLOADS + 'where = { b = [2, 1.0, true, "x"], a = 1 }\n'
    state = define(tmp_path, HEAD + text).features["uploads_1h"].state
    meaning = '["upload", "COUNT", "", false, [["a", [1]], ["b", [2, 1.0, true, "x"]]], 0]'
    assert state.digest == state_digest(meaning)
    shipped = load_definitions().features
    assert shipped["uploads_1h"].state.digest == "tWcMNwr8"
    assert shipped["strikes_90d"].state.digest == "gJc64VDO"


@pytest.mark.parametrize(
    ("where", "same"),
    [
        ("b = true, a = [1, 2]", True),
        ("a = [2, 1], b = true", True),
        ("a = [1.0, 2, 2.0], b = [true]", True),
        ("a = [1, 2], b = 1", False),
        ('a = ["1", 2], b = true', False),
        ("a = [true, 2], b = true", False),
        ("a = [1, 2, 3], b = true", False),
        ("a = [1, 2]", False),
    ],
)
def test_a_meaning_has_one_canonical_digest(tmp_path: Path, where: str, *, same: bool) -> None:
    def canonical(where: str) -> str:
        text = HEAD + UPLOADS + f"where = {{ {where} }}\n"
        return define(tmp_path, text).features["uploads_1h"].state.canonical

    assert (canonical(where) == canonical("a = [1, 2], b = true")) is same


def test_integers_of_filters_stay_exact(tmp_path: Path) -> None:
    text = HEAD + UPLOADS + "where = { x = [9007199254740993, 18446744073709551615] }\n"
    state = define(tmp_path, text).features["uploads_1h"].state
    assert state.where == (("x", (2**53 + 1, 2**64 - 1)),)
    other = define(tmp_path, text.replace("740993", "740992")).features["uploads_1h"].state
    assert other.canonical != state.canonical


scalars = st.one_of(
    st.booleans(),
    st.integers(),
    st.integers(-(10**320), 10**320),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["1h", "90d", "lifetime", "account", "upload", "count", "distinct", "last"]),
    st.sampled_from(["uploads_1h", "uploads_1h + 1", "-(1)", "((", "min(uploads_1h, 0x1)"]),
    st.dates(),
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3)
    ),
    max_leaves=6,
)
VALID: dict[str, Any] = {
    "namespace": "t",
    "version": 1,
    "dedup": {"ring": 512, "horizon": "24h"},
    "entities": {"account": "account", "ip": "addr"},
    "events": {"upload": {"keys": ["account", "ip"], "description": ""}},
    "features": {
        "uploads": {
            "on": "upload",
            "agg": "count",
            "where": {"x": [1, True]},
            "windows": ["1h"],
            "default": 0,
            "max_age": "1h",
            "version": 2,
            "description": "",
            "entity": "account",
        },
        "ips": {"on": "upload", "agg": "distinct", "value": "addr", "cap": 4, "windows": ["24h"]},
    },
    "derived": {"twice": "uploads_1h * 2", "more": {"expression": "uploads_1h", "default": 1}},
    "sets": {"all": ["uploads_1h", "twice"]},
}


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{quote(k)} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return quote(value)
    return str(value)


def quote(text: str) -> str:
    escaped = "".join(
        c if c.isascii() and c.isprintable() and c not in '\\"' else f"\\U{ord(c):08X}"
        for c in text
    )
    return f'"{escaped}"'


@settings(max_examples=300, deadline=None)
@given(st.data())
def test_any_file_loads_or_is_refused_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    tree = deepcopy(VALID)
    for _ in range(data.draw(st.integers(1, 3))):
        table: Any = tree
        while True:
            key = data.draw(st.sampled_from(sorted(table)) | st.text(max_size=8))
            if isinstance(table.get(key), dict) and table[key] and data.draw(st.booleans()):
                table = table[key]
                continue
            if key in table and data.draw(st.booleans()):
                del table[key]
            else:
                table[key] = data.draw(anything)
            break
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_text("\n".join(f"{quote(k)} = {toml(v)}" for k, v in tree.items()))
    problem = ""
    try:
        load_definitions(path)
    except ConfigInvalid as exc:
        problem = str(exc)
    assert not problem or re.match(rf"{path}:[1-9][0-9]*: [^\n]+\Z", problem)


@given(st.text(max_size=200) | st.text("[]{}=.,\"'#\n 1aé\\", max_size=200))
def test_any_text_is_refused_with_its_line(
    tmp_path_factory: pytest.TempPathFactory, text: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "text.toml"
    path.write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ConfigInvalid, match=rf"^{path}:[1-9][0-9]*: "):
        load_definitions(path)


def test_a_state_is_named_by_its_meaning(tmp_path: Path) -> None:
    def digest(text: str) -> str:
        return define(tmp_path, HEAD + text).features["uploads_1h"].state.digest

    original = digest(UPLOADS)
    assert digest(UPLOADS.replace('"lifetime"', '"24h"')) == original
    assert digest(UPLOADS + 'description = "x"\n') == original
    assert digest(UPLOADS + "version = 2\n") != original
    assert digest(UPLOADS + "where = { kind = 1 }\n") != original
    assert digest(UPLOADS.replace('"count"', '"max"') + 'value = "x"\n') != original
