"""The stubs are what proto/ says, proto/ says all of it, and what it says is served and tested."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, cast

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorSet

from featsvc.requests import Runtime
from featsvc.service import grpc_services
from tests.protos import ROOT, descriptors, drifted


def test_stubs_have_not_drifted() -> None:
    assert drifted() == [], "run `make protos` and commit client/featsvc_client/v1"


@pytest.fixture(scope="module")
def commented() -> FileDescriptorSet:
    return descriptors(comments=True)


# What of each holds further things that need a comment.
_PARTS = {
    "FileDescriptorProto": ("message_type", "enum_type", "service"),
    "DescriptorProto": ("field", "oneof_decl", "nested_type", "enum_type"),
    "EnumDescriptorProto": ("value",),
    "ServiceDescriptorProto": ("method",),
}


def things(node: Any, path: tuple[int, ...] = (), scope: str = "") -> Iterator[tuple[Any, str]]:
    """(path in its file, full name) of all that a file declares."""
    synthetic = {f.oneof_index for f in getattr(node, "field", ()) if f.proto3_optional}
    for part in _PARTS.get(type(node).__name__, ()):
        for index, child in enumerate(getattr(node, part)):
            made_by_protoc = (part == "oneof_decl" and index in synthetic) or (
                part == "nested_type" and child.options.map_entry
            )
            if not made_by_protoc:
                here = (*path, node.DESCRIPTOR.fields_by_name[part].number, index)
                yield here, f"{scope}{child.name}"
                yield from things(child, here, f"{scope}{child.name}.")


def uncommented(files: FileDescriptorSet) -> list[str]:
    """Services, methods, messages, fields, oneofs, enums and values without a word about them."""
    bare = []
    for file in files.file:
        told = {
            tuple(place.path)
            for place in file.source_code_info.location
            if place.leading_comments.strip() or place.trailing_comments.strip()
        }
        bare += [f"{file.name}: {name}" for path, name in things(file) if path not in told]
    return bare


def test_everything_has_a_comment(commented: FileDescriptorSet) -> None:
    bare = uncommented(commented)
    assert not bare, "say what each is, its unit and its limit:\n" + "\n".join(bare)


@pytest.mark.slow
def test_a_comment_that_goes_is_missed(commented: FileDescriptorSet) -> None:
    bare = set(uncommented(commented))
    for number, file in enumerate(commented.file):
        named = dict(things(file))
        for place, location in enumerate(file.source_code_info.location):
            if (name := named.get(tuple(location.path))) is not None:
                one = FileDescriptorSet(file=[commented.file[number]])
                bared = one.file[0].source_code_info.location[place]
                bared.leading_comments = bared.trailing_comments = ""
                assert f"{file.name}: {name}" in uncommented(one)
                assert len(set(uncommented(one)) - bare) <= 1


@cache
def methods() -> list[tuple[str, str]]:
    """(service, method) of the whole contract."""
    return [
        (service.name, method.name)
        for file in descriptors().file
        for service in file.service
        for method in service.method
    ]


def test_every_method_is_implemented() -> None:
    nothing = cast(Any, None)
    runtime = Runtime(
        pool=nothing, follower=nothing, features=nothing, embedder=nothing, limits=nothing
    )
    services = {s.name.rpartition(".")[2]: s for s in grpc_services(runtime, nothing, nothing)}
    assert set(services) == {service for service, _ in methods()}
    for service, method in methods():
        generated = getattr(
            import_module(services[service].register.__module__), f"{service}Servicer"
        )
        served = getattr(type(services[service].servicer), method)
        assert served is not getattr(generated, method), f"{service}.{method} has no body"


@cache
def called_on_a_stub() -> set[tuple[str, str]]:
    """(name of the stub, method) of every call `client.banks.GetBank(...)` or `stub.GetBank(...)`
    in tests that speak gRPC."""
    found = set()
    for folder in ("integration", "service"):
        for path in (ROOT / "tests" / folder).glob("*.py"):
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
                    stub = node.func.value
                    name = getattr(stub, "attr", getattr(stub, "id", ""))
                    found.add((name, node.func.attr))
    return found


@pytest.mark.parametrize(("service", "method"), methods())
def test_every_method_is_called_by_a_test(service: str, method: str) -> None:
    of_client = {"BankService": "banks", "FeatureService": "features"}.get(
        service, service.removesuffix("Service").lower()
    )
    assert {(of_client, method), ("stub", method)} & called_on_a_stub(), (
        f"no test in tests/integration or tests/service calls {service}.{method}: write one that "
        f"says client.{of_client}.{method}(...)"
    )
