"""Parsing of event lines and times."""

import pytest

from featsvc.accounts import Event, parse_event_line, parse_time
from featsvc.accounts.events import check_event
from featsvc.errors import InvalidInput

TIME_MS = 1_767_268_800_000
HEAD = '{"event_id": "e", "type": "t", "time": 1, "entities": {}'


def test_a_line_is_parsed() -> None:
    line = (
        '{"event_id": "e1", "type": "upload", "time": "2026-01-01T12:00:00Z",'
        ' "entities": {"account": "a1"}, "attributes": {"n": 1, "s": "x", "b": true}}'
    )
    assert parse_event_line(line) == Event(
        "e1", "upload", TIME_MS, {"account": "a1"}, {"n": 1, "s": "x", "b": True}
    )


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1.0", 1.0),
        ("9007199254740993", 2**53 + 1),
        ("-9223372036854775808", -(2**63)),
        ("9223372036854775807", 2**63 - 1),
        ("9007199254740993.0", 2.0**53),
        ("1e16", 1e16),
        ("9223372036854775808.0", 2.0**63),
    ],
)
def test_integers_are_exact_and_other_numbers_floats(text: str, value: float) -> None:
    line = f'{HEAD}, "attributes": {{"n": {text}}}}}'
    parsed = parse_event_line(line).attributes["n"]
    assert (parsed, type(parsed)) == (value, type(value))


@pytest.mark.parametrize("text", ["9223372036854775808", "-9223372036854775809", "9" * 400])
def test_an_integer_beyond_64_bits_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput, match=r"attributes\.n: .* beyond 64 bits.* text"):
        parse_event_line(f'{HEAD}, "attributes": {{"n": {text}}}}}')
    with pytest.raises(InvalidInput, match="beyond 64 bits"):
        check_event(Event("e", "t", TIME_MS, {}, {"n": int(text)}), now_ms=TIME_MS)


@pytest.mark.parametrize("time_ms", [float("nan"), float("inf"), 1e300, -1, 10**30])
def test_an_event_of_no_time_is_refused(time_ms: int) -> None:
    with pytest.raises(InvalidInput, match=r"^time: "):
        check_event(Event("e", "t", time_ms, {}), now_ms=TIME_MS)


@pytest.mark.parametrize(
    "value",
    [
        *(1e300, -1e300, float("nan"), float("inf"), -1, -1.5, 253_402_300_800_000, 10**400),
        *("1e300", "-1", "1" * 5000, "1969-12-31T23:59:59Z", "9999-12-31T23:59:59-12:00", ""),
        *("0001-01-01T00:00:00+12:00", "²"),
    ],
)
def test_what_is_no_time(value: int | float | str) -> None:
    with pytest.raises(InvalidInput, match=r"^--as-of: ") as caught:
        parse_time(value, field="--as-of")
    assert len(str(caught.value)) < 300


def test_the_last_time() -> None:
    assert parse_time("9999-12-31T23:59:59.999Z") == 253_402_300_799_999


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
        (HEAD.replace("1", "1e300") + "}", "neither RFC 3339"),
        (HEAD.replace("1", "-5") + "}", "neither RFC 3339"),
        (HEAD.encode() + b', "attributes": {"n": "\xff"}}', "not an event"),
        (HEAD.encode() + b"}\x00", "not an event"),
    ],
)
def test_a_bad_line_is_explained(line: str | bytes, message: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        parse_event_line(line)
    assert message in str(caught.value)
