"""What the command prints of a newer server."""

from featsvc_client.v1 import types_pb2

from featsvc.cli.output import enum_name


def test_an_outcome_that_is_not_known_is_not_ok() -> None:
    assert enum_name(types_pb2.Outcome, types_pb2.OUTCOME_OK, "OUTCOME_") == "OK"
    assert enum_name(types_pb2.Outcome, 99, "OUTCOME_") == "UNKNOWN_99"
