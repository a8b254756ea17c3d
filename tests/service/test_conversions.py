"""Conversions: enums of equal numbers, and values of the wire that are refused."""

from datetime import timedelta
from enum import IntEnum

import pytest
from featsvc_client.v1 import banks_pb2, features_pb2, types_pb2
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from featsvc.accounts import Event, EventStatus, FeatureStatus, load_definitions
from featsvc.banks.records import BankMode, Opinion
from featsvc.errors import InvalidInput, InvalidSignal
from featsvc.service.conversions import banks, features, signals
from featsvc.signals.hashes import ContentOutcome


@pytest.mark.parametrize(
    ("domain", "wire", "prefix"),
    [
        (FeatureStatus, features_pb2.FeatureStatus, "FEATURE_STATUS_"),
        (EventStatus, features_pb2.EventResult.Status, "STATUS_"),
    ],
)
def test_statuses_share_their_numbers(domain: type[IntEnum], wire: type, prefix: str) -> None:
    shared = {f"{prefix}{status.name}": status.value for status in domain}
    assert shared | {f"{prefix}UNSPECIFIED": 0} == dict(wire.items())  # type: ignore[attr-defined]


def test_every_value_of_a_domain_enum_translates() -> None:
    for outcome in ContentOutcome:
        assert types_pb2.Outcome.Name(signals.outcome(outcome)) == f"OUTCOME_{outcome.name}"
    assert set(signals.MODE) == set(BankMode)
    assert set(banks.OPINION) == set(Opinion)


def test_attributes_keep_their_kinds() -> None:
    message = features_pb2.Event(event_id="e")
    message.attributes["number"].number = 2.0**53
    message.attributes["text"].text = ""
    message.attributes["flag"].flag = False
    message.attributes["integer"].integer = 2**53 + 1
    message.attributes["none"].SetInParent()
    event = features.event(message)
    assert isinstance(event, Event)
    kinds = {name: (value, type(value)) for name, value in event.attributes.items()}
    assert kinds == {
        "number": (2.0**53, float),
        "text": ("", str),
        "flag": (False, bool),
        "integer": (2**53 + 1, int),
    }


@pytest.mark.parametrize("since_ms", [None, 0, 1_767_268_800_001])
def test_a_feature_says_since_when_it_is_complete(since_ms: int | None) -> None:
    feature = load_definitions().features["uploads_1h"]
    message = features.definition(feature, (), since_ms)
    assert message.HasField("complete_since") == bool(since_ms)
    if since_ms:
        assert message.complete_since.ToMilliseconds() == since_ms


@pytest.mark.parametrize("name", ["", "ncmec", "banks/", "banks/a/entries/1", "bank/a"])
def test_bank_names_are_checked(name: str) -> None:
    with pytest.raises(InvalidInput, match="banks/BANK"):
        banks.bank_id(name)


@pytest.mark.parametrize(
    "name", ["banks/a", "banks/a/entries/", "banks/a/entries/x", "banks/a/entries/²", "a/b/c/1"]
)
def test_entry_names_are_checked(name: str) -> None:
    with pytest.raises(InvalidInput):
        banks.entry_id(name)


def test_an_unknown_enum_value_is_refused() -> None:
    options = types_pb2.DecodeOptions()
    options.MergeFromString(bytes([0x10, 77]))  # alpha = 77
    with pytest.raises(InvalidInput, match=r"decode\.alpha: 77"):
        signals.decode_options(options)


def test_a_selection_is_a_list_or_a_set() -> None:
    both = features_pb2.FeatureSelection(features=["a"], set="b")
    with pytest.raises(InvalidInput, match="not both"):
        features.selection(both)


def test_content_is_bytes_or_text() -> None:
    assert signals.content(types_pb2.Content(text="hello")) == "hello"
    assert signals.content(types_pb2.Content(data=b"hello")) == b"hello"
    with pytest.raises(InvalidInput, match=r"content\.text: empty"):
        signals.content(types_pb2.Content(text=""))
    with pytest.raises(InvalidInput, match="a text has no pixels"):
        signals.content_bytes(types_pb2.Content(text="hello"))


@pytest.mark.parametrize(
    "options",
    [
        types_pb2.MatchOptions(labels=["x"] * 33),
        types_pb2.MatchOptions(max_results=1001),
    ],
)
def test_limits_of_match_options(options: types_pb2.MatchOptions) -> None:
    with pytest.raises(InvalidInput):
        signals.match_options(options)


def test_bank_modes_default_to_enforce() -> None:
    assert banks.settings(banks_pb2.Bank()).mode is BankMode.ENFORCE


def entry(**fields: object) -> banks_pb2.Entry:
    signal = banks_pb2.EntrySignal(algorithm="pdq", value="ab" * 32, **fields)  # type: ignore[arg-type]
    return banks_pb2.Entry(signals=[signal])


@pytest.mark.parametrize(
    ("signal", "field"),
    [
        ({"frame": 3}, "frame"),
        ({"time_us": 0}, "time_us"),
        ({"variant": "x" * 33}, "variant"),
        ({"quality": 101}, "quality"),
    ],
)
def test_unsupported_fields_of_an_entry_are_refused(signal: dict[str, object], field: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        banks.new_entry(2, entry(**signal), ())
    assert caught.value.field == f"entries[2].signals[0].{field}"
    if field in ("frame", "time_us"):
        vector = banks_pb2.EntryVector(model="pdqf@1", values=[1] * 256, **signal)  # type: ignore[arg-type]
        with pytest.raises(InvalidInput, match=r"vectors\[0\].*not store signals of frames"):
            banks.new_entry(0, banks_pb2.Entry(vectors=[vector]), ())


def test_a_signal_of_another_version_does_not_compare() -> None:
    same = [banks.new_entry(0, entry(algorithm_version=v), ()).signals for v in (0, 1)]
    assert same[0] == same[1]
    with pytest.raises(InvalidSignal, match="version 1 of pdq; values of different versions"):
        banks.new_entry(0, entry(algorithm_version=2), ())
    query = types_pb2.Signal(algorithm="PDQ", value="ab" * 32, algorithm_version=2)
    with pytest.raises(InvalidSignal) as caught:
        signals.query_signal(query)
    assert caught.value.field == "signal.algorithm_version"
    with pytest.raises(InvalidSignal) as caught:
        banks.entry_filter(banks_pb2.ListEntriesRequest(near=query))
    assert caught.value.field == "near.algorithm_version"


@given(
    st.one_of(st.integers(-(2**63), 2**63 - 1), st.integers(-62135596900, -62135596700)),
    st.integers(-(2**31), 2**31 - 1),
)
def test_an_expiry_is_a_time_or_refused(seconds: int, nanos: int) -> None:
    message = banks_pb2.Entry(expire_time=Timestamp(seconds=seconds, nanos=nanos))
    if -62135596800 <= seconds <= 253402300799 and 0 <= nanos < 10**9:
        moment = banks.new_entry(7, message, ()).expire_time
        assert moment is not None
        assert moment.utcoffset() == timedelta()
        return
    with pytest.raises(InvalidInput) as refused:
        banks.new_entry(7, message, ())
    assert refused.value.field == "entries[7].expire_time"
