"""Parsing of event lines and times."""

import pytest

from featsvc.accounts import Event, parse_event_line, parse_time
from featsvc.errors import InvalidInput

TIME_MS = 1_767_268_800_000


def test_a_line_is_parsed() -> None:
    line = (
        '{"event_id": "e1", "type": "upload", "time": "2026-01-01T12:00:00Z",'
        ' "entities": {"account": "a1"}, "attributes": {"n": 1, "s": "x", "b": true}}'
    )
    assert parse_event_line(line) == Event(
        "e1", "upload", TIME_MS, {"account": "a1"}, {"n": 1.0, "s": "x", "b": True}
    )


@pytest.mark.parametrize(
    "value",
    [
        TIME_MS,
        float(TIME_MS),
        str(TIME_MS),
        "2026-01-01T13:00:00+01:00",
        " 2026-01-01T12:00:00.000Z",
    ],
)
def test_times(value: int | float | str) -> None:
    assert parse_time(value) == TIME_MS


HEAD = '{"event_id": "e", "type": "t", "time": 1, "entities": {}'


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("", "not an event"),
        ("[]", "not an event"),
        ('{"event_id": "e"}', "missing required field `type`"),
        (HEAD.replace("{}", '{"a": 1}') + "}", "`entities[...]`"),
        (HEAD + ', "x": 1}', "unknown field `x`"),
        (HEAD.replace("1", '"noon"') + "}", "neither RFC 3339"),
        (HEAD.replace("1", "1e999") + "}", "not an event"),
        (HEAD.replace("1", '"' + "1" * 16 + '"') + "}", "time"),
        (HEAD.replace("1", '"2026-01-01T12:00:00"') + "}", "offset"),
        (HEAD + ', "attributes": {"n": NaN}}', "not an event"),
        (b"\xff", "not an event"),
    ],
)
def test_a_bad_line_is_explained(line: str | bytes, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_event_line(line)
    assert message in str(caught.value)
