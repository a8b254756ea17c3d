"""What a caller does, with whatever protobuf and grpcio are installed.

    python runtime_program.py SERVICE SCRIPTED PICTURE

SERVICE has the picture in banks/runtimes. SCRIPTED advises a delay twice, then answers. This file
runs without the environment of the tests, and with Python 3.9.
"""

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import google.protobuf
import grpc
from featsvc_client import Action, AsyncClient, Client, ServiceError, decide
from featsvc_client.v1 import banks_pb2, features_pb2, matching_pb2, screening_pb2, types_pb2
from google.protobuf import json_format

SERVICE, SCRIPTED, PICTURE = sys.argv[1:]
WRONG = matching_pb2.MatchRequest(signal=types_pb2.Signal(algorithm="pdq", value="abc"))
UPLOAD = screening_pb2.ScreenRequest(
    content=types_pb2.Content(data=Path(PICTURE).read_bytes()),
    entities=[types_pb2.EntityRef(entity="account", id="a1")],
)


def check_error(error: grpc.RpcError) -> None:
    assert isinstance(error, ServiceError)
    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (error.reason, error.path) == ("INVALID_SIGNAL", "signal.value")
    assert error.retry_after_ms is None


def check_messages() -> None:
    """Maps, optional fields, oneofs, enums and JSON, as the builder of this runtime makes them."""
    event = features_pb2.Event(entities={"account": "a1"})
    event.attributes["bytes"].number = 12
    assert features_pb2.Event.FromString(event.SerializeToString()) == event
    signal = types_pb2.Signal(algorithm="pdq", quality=0)
    assert signal.HasField("quality")
    assert not types_pb2.Signal().HasField("quality")
    assert types_pb2.Content(text="x").WhichOneof("kind") == "text"
    assert types_pb2.BankMode.Name(types_pb2.BANK_MODE_ENFORCE) == "BANK_MODE_ENFORCE"
    assert json_format.Parse(json_format.MessageToJson(event), features_pb2.Event()) == event


def blocking() -> None:
    with Client(SERVICE) as client:
        decision = decide(client.screening.Screen(UPLOAD))
        assert decision.action is Action.ACT, decision
        try:
            client.matching.Match(WRONG)
            raise AssertionError("a wrong signal was accepted")
        except ServiceError as error:
            check_error(error)
        answers = list(client.screening.ScreenStream(iter([UPLOAD] * 3)))
        assert [decide(answer).action for answer in answers] == [Action.ACT] * 3
        lines = b"".join(
            answer.chunk
            for answer in client.banks.ExportEntries(
                banks_pb2.ExportEntriesRequest(parent="banks/runtimes")
            )
        )
        assert lines.count(b"\n") >= 1
    with Client(SCRIPTED) as client:
        client.matching.Match(WRONG)


async def asynchronous() -> None:
    async def uploads() -> AsyncIterator[screening_pb2.ScreenRequest]:
        for _ in range(3):
            yield UPLOAD

    async with AsyncClient(SERVICE) as client:
        decision = decide(await client.screening.Screen(UPLOAD))
        assert decision.action is Action.ACT, decision
        try:
            await client.matching.Match(WRONG)
            raise AssertionError("a wrong signal was accepted")
        except grpc.aio.AioRpcError as error:
            check_error(error)
        stream = client.screening.ScreenStream(uploads())
        assert [decide(a).action async for a in stream] == [Action.ACT] * 3
    async with AsyncClient(SCRIPTED) as client:
        await client.matching.Match(WRONG)


check_messages()
blocking()
asyncio.run(asynchronous())
sys.stdout.write(f"{grpc.__version__} {google.protobuf.__version__}\n")
