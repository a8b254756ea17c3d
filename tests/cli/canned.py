"""A gRPC server that answers every method of the contract with a canned message.

Every field of a canned message has a value of its own, so that a test sees where it ends up.
"""

import math
import zlib
from collections.abc import Callable, Iterator
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
from featsvc_client.v1 import banks_pb2, features_pb2, hashing_pb2, matching_pb2, screening_pb2
from google.protobuf.descriptor import FieldDescriptor, MethodDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

METHODS: dict[str, MethodDescriptor] = {
    f"/{service.full_name}/{method.name}": method
    for module in (banks_pb2, features_pb2, hashing_pb2, matching_pb2, screening_pb2)
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
_REPEATED = 2
NAMES = {
    "Bank.name": "banks/b1",
    "Entry.name": "banks/b1/entries/7",
    "Match.bank": "banks/b1",
    "Match.entry": "banks/b1/entries/7",
    "Revision.bank": "banks/b1",
    "WithdrawnEntry.name": "banks/b1/entries/7",
}
RECORDED_VALUES = {"featsvc.v1.Outcome": 7, "featsvc.v1.EventResult.Status": 6}
"""How many values an enum that grew had when promises.json was recorded: others would move."""
LISTS: dict[str, list[Any]] = {
    "FeatureTable.freshness_us": [-1, 5],
    "SearchedAlgorithm.banks": ["banks/b1", "banks/b2"],
    "Searched.safe_lists": ["banks/b1", "banks/b2"],
    "FeatureColumn.values": [math.nan, 3.0],
    "FeatureColumn.statuses": [3, 1],
    "ListEntriesResponse.distances": [0.0, 12.0],
}


def filled(message: Message, path: str = "") -> Message:
    """Set every field of a message, and return it; of a oneof the last field stays set.

    A value depends on the numbers of its field and of those around it, so a new field moves none.
    """
    for field in message.DESCRIPTOR.fields:
        if field.name != "next_page_token":
            fill(message, field, f"{path}.{field.number}")
    return message


def bare(message: Message) -> Message:
    """Set as little as a server can: one bare message in each list, and what no answer lacks."""
    for field in message.DESCRIPTOR.fields:
        name = field.full_name.removeprefix("featsvc.v1.")
        value: Any = getattr(message, field.name)
        if name in NAMES:
            setattr(message, field.name, NAMES[name])
        elif name in LISTS:
            value.extend(LISTS[name])
        elif field.is_repeated and field.message_type and not _is_map(field):
            bare(value.add())
        elif field.message_type is banks_pb2.Entry.DESCRIPTOR:
            bare(value)
        elif name == "Revision.commit_time":
            value.FromSeconds(1_700_000_000)
        elif name == "ScreenResponse.timings":
            value.SetInParent()
    return message


def _is_map(field: Any) -> bool:
    return bool(field.message_type and field.message_type.GetOptions().map_entry)


def fill(message: Message, field: Any, path: str) -> None:
    """Set one field: scalars to the number of the path, a map to one key, a list to two values."""
    value: Any = getattr(message, field.name)
    name = field.full_name.removeprefix("featsvc.v1.")
    items = [f"{path}[{index}]" for index in range(_REPEATED)]
    if _is_map(field):
        value[f"key-{_number(path)}"] = _scalar(field.message_type.fields_by_name["value"], path)
    elif field.is_repeated and field.message_type:
        for item in items:
            filled(value.add(), item)
    elif field.is_repeated:
        value.extend(LISTS.get(name) or [_scalar(field, item) for item in items])
    elif field.message_type and field.message_type.full_name == "google.protobuf.Timestamp":
        value.FromSeconds(1_700_000_000 + _number(path))
    elif field.message_type:
        value.SetInParent()
        filled(value, path)
    else:
        setattr(message, field.name, NAMES.get(name) or _scalar(field, path))


def _number(path: str) -> int:
    return 1 + zlib.crc32(path.encode()) % 9_999


def _scalar(field: Any, path: str) -> object:
    number = _number(path)
    if field.enum_type:
        known = [value.number for value in field.enum_type.values if value.number]
        known = known[: RECORDED_VALUES.get(field.enum_type.full_name)]
        return known[number % len(known)]
    if field.type == FieldDescriptor.TYPE_BOOL:
        return True
    if field.type == FieldDescriptor.TYPE_STRING:
        return f"{field.name}-{number}"
    if field.type == FieldDescriptor.TYPE_BYTES:
        return f"{field.name}-{number}".encode()
    if field.type in (FieldDescriptor.TYPE_DOUBLE, FieldDescriptor.TYPE_FLOAT):
        return number + 0.25 * (number % 2)
    return number


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, complete: Callable[[Message], Message]) -> None:
        self._complete = complete

    def service(
        self, handler_call_details: grpc.HandlerCallDetails
    ) -> "grpc.RpcMethodHandler[Any, Any]":
        method = METHODS[handler_call_details.method]
        answer = self._complete(GetMessageClass(method.output_type)())

        def respond(request: Any, context: grpc.ServicerContext) -> Any:
            if method.client_streaming:
                list(request)
            return iter([answer]) if method.server_streaming else answer

        kind = ("unary", "stream")
        make = getattr(
            grpc,
            f"{kind[method.client_streaming]}_{kind[method.server_streaming]}_rpc_method_handler",
        )
        handler: grpc.RpcMethodHandler[Any, Any] = make(
            respond,
            request_deserializer=GetMessageClass(method.input_type).FromString,
            response_serializer=type(answer).SerializeToString,
        )
        return handler


@contextmanager
def canned_server(complete: Callable[[Message], Message]) -> Iterator[str]:
    """Serve until the context is left; gives HOST:PORT. `complete` is `filled` or `bare`."""
    server = grpc.server(futures.ThreadPoolExecutor(2), handlers=[_Handler(complete)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None)
