"""Messages as JSON: every field of the contract that a command prints reaches it."""

import json
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from featsvc_client.v1 import banks_pb2, features_pb2, matching_pb2, screening_pb2, types_pb2
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from featsvc.cli.messages import enum_name, feature_row, message_json, number
from tests.cli.canned import LISTS, NAMES, bare, fill

PRINTED = (
    banks_pb2.Bank,
    banks_pb2.BadRow,
    banks_pb2.CompareBanksResponse,
    banks_pb2.DeleteBankResponse,
    banks_pb2.DiffRevisionsResponse.Change,
    banks_pb2.Entry,
    banks_pb2.EvaluateBankResponse,
    banks_pb2.ImportEntriesResponse,
    banks_pb2.ListMatchCountsResponse.Count,
    banks_pb2.QuarantineEntriesResponse,
    banks_pb2.ReleaseEntriesResponse,
    banks_pb2.Revision,
    banks_pb2.RollbackBankResponse,
    banks_pb2.WithdrawEntriesResponse,
    features_pb2.FeatureDefinition,
    features_pb2.FeatureTable,
    matching_pb2.MatchResponse,
    screening_pb2.ScreenResponse,
)
"""What commands turn into JSON; the messages within them are found by `printed`."""
ELSEWHERE = {
    "CompareBanksResponse.next_page_token",
    "ImportEntriesResponse.bad",
    "ImportEntriesResponse.planned",
}
"""Rows that are printed and written to FILE.rejected.jsonl as they arrive; pages that are read; and
what an import prints before it commits, which `summary` repeats."""


def printed() -> Iterator[Any]:
    """Every message that reaches `--json`, each once."""
    seen: set[str] = set()
    waiting: list[Any] = [message.DESCRIPTOR for message in PRINTED]
    while waiting:
        descriptor = waiting.pop()
        if descriptor.full_name not in seen and descriptor.full_name.startswith("featsvc."):
            seen.add(descriptor.full_name)
            yield descriptor
            for field in descriptor.fields:
                if field.message_type and not field.message_type.GetOptions().map_entry:
                    waiting.append(field.message_type)


FIELDS = {
    field.full_name.removeprefix("featsvc.v1."): (descriptor, field.name)
    for descriptor in printed()
    for field in descriptor.fields
}


def json_of(message: Message) -> str:
    return msgspec.json.encode(message_json(message)).decode()


@pytest.mark.parametrize("name", sorted(FIELDS))
def test_every_field_reaches_the_json(name: str) -> None:
    """Also where two fields would have one key: the first of them is lost then."""
    descriptor, field = FIELDS[name]
    message = bare(GetMessageClass(descriptor)())
    before = json_of(message)
    if name in NAMES:
        setattr(message, field, NAMES[name].replace("b1", "b2").replace("7", "8"))
    elif name in LISTS:
        getattr(message, field)[:] = reversed(LISTS[name])
    else:
        message.ClearField(field)
        fill(message, descriptor.fields_by_name[field], name)
    assert (json_of(message) != before) != (name in ELSEWHERE)


def test_the_walk_finds_the_messages_within() -> None:
    assert {"Provenance.luma_plane", "Evidence.distance", "BadRow.row", "Score.label"} <= set(
        FIELDS
    )


def test_an_enum_value_of_a_newer_server_is_not_ok() -> None:
    response = matching_pb2.MatchResponse(outcome=types_pb2.OUTCOME_OK)
    assert enum_name(response, "outcome") == "OK"
    newer = matching_pb2.MatchResponse.FromString(b"\x08\x63")
    assert enum_name(newer, "outcome") == "UNKNOWN_99"
    assert message_json(newer)["outcome"] == "UNKNOWN_99"


def test_numbers() -> None:
    assert [repr(number(value)) for value in (3.0, 0.25, -0.0, 1e6)] == [
        "3",
        "0.25",
        "0",
        "1000000",
    ]
    assert number(math.nan) is None


def test_names_become_ids_and_times_rfc_3339() -> None:
    entry = banks_pb2.Entry(name="banks/b1/entries/7", external_id="banks/x/entries/1")
    entry.expire_time.FromSeconds(0)
    values = message_json(entry)
    assert (values["bank"], values["entry_id"]) == ("b1", "7")
    assert values["external_id"] == "banks/x/entries/1"
    assert (values["expire_time"], values["create_time"]) == ("1970-01-01T00:00:00Z", None)


def test_a_vector_is_its_number_of_dimensions() -> None:
    vector = message_json(banks_pb2.EntryVector(model="pdqf@1", values=[0.5] * 256))
    assert (vector["dimensions"], "values" in vector) == (256, False)


def test_features_are_read_by_row() -> None:
    table = message_json(
        features_pb2.FeatureTable(
            columns=[
                features_pb2.FeatureColumn(
                    name="a",
                    values=[1, math.nan],
                    statuses=["FEATURE_STATUS_PRESENT", "FEATURE_STATUS_NOT_FOUND"],
                ),
            ],
            freshness_us=[5, -1],
        )
    )
    assert json.loads(msgspec.json.encode(feature_row(table, 1))) == {
        "features": {"a": {"value": None, "status": "NOT_FOUND"}},
        "freshness_us": -1,
        "as_of": None,
    }
