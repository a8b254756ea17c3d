"""The contract only grows: proto/ is held against the published one, `proto/contract.binpb`.

`python -m tests.contract` (`make contract`) records additions there, and refuses what would break
a client's source code, the wire or JSON; with `--check` it only compares, and fails if they differ.
The file is a FileDescriptorSet without comments.

The rules are our own, since PyPI has no library of them, only `buf-bin`, a Go program of 15 MB: a
process a check is too slow to try the rules on every field, and it lets unrecorded additions pass.
"""

import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)
from google.protobuf.message import Message

from tests.protos import ROOT, descriptors

RECORDED = ROOT / "proto" / "contract.binpb"


class Key(NamedTuple):
    """A thing of the contract. Fields and enum values go by `number`; others have none."""

    kind: str
    name: str
    number: int = 0

    @property
    def numbered(self) -> bool:
        return self.kind in ("field", "enum value")

    def described(self, facts: Mapping[str, str]) -> str:
        """What messages call it."""
        if self.numbered:
            return f"{self.kind} {facts['name']} = {self.number} of {self.name}"
        return f"{self.kind} {self.name}"


@dataclass(slots=True)
class Reserved:
    """What a message or enum will never use again; ranges end inclusively."""

    names: set[str]
    ranges: list[tuple[int, int]]

    def covers(self, first: int, last: int) -> bool:
        for start, end in sorted(self.ranges):
            if start <= first <= end:
                first = end + 1
        return first > last


@dataclass(slots=True)
class Contract:
    """`facts` of each thing, none of which may change; `reserved` by message or enum."""

    facts: dict[Key, Mapping[str, str]] = field(default_factory=dict)
    reserved: dict[str, Reserved] = field(default_factory=dict)


def contract_of(files: Iterable[FileDescriptorProto]) -> Contract:
    """Everything that a client can depend on."""
    found = Contract()
    for file in files:
        facts = {"package": file.package, "syntax": file.syntax, "options": _text(file.options)}
        found.facts[Key("file", file.name)] = facts
        for message in file.message_type:
            _add_message(found, file, file.package, message)
        for enum in file.enum_type:
            _add_enum(found, file, file.package, enum)
        for service in file.service:
            _add_service(found, file, service)
    return found


def breaks(recorded: Contract, current: Contract) -> list[str]:
    """What of `recorded` is gone or changed, a line each."""
    return [*_lost(recorded, current), *_changed(recorded, current), *_freed(recorded, current)]


def additions(recorded: Contract, current: Contract) -> list[str]:
    """What is not in `recorded` as it is, where nothing breaks: new things and reservations."""
    new = [
        f"{key.described(facts)} is new"
        for key, facts in current.facts.items()
        if key not in recorded.facts
    ]
    return new + [line.replace("no longer", "now") for line in _freed(current, recorded)]


def record(current: FileDescriptorSet, path: Path = RECORDED) -> list[str]:
    """Write `current` to `path` and return what is new. SystemExit, and no write, if it breaks."""
    new = _compare(current, path)
    if new:
        path.write_bytes(current.SerializeToString(deterministic=True))
    return new


def check(current: FileDescriptorSet, path: Path = RECORDED) -> None:
    """SystemExit unless `current` is what is recorded in `path`."""
    if new := _compare(current, path):
        sys.exit(
            f"{_lines(new)}\nproto/contract.binpb does not have this yet. Once published it stays "
            "for good. To record it run `make protos contract`, say in CHANGELOG.md what a user "
            "gains, and commit proto/contract.binpb with it."
        )


def _compare(current: FileDescriptorSet, path: Path) -> list[str]:
    """Return what `path` does not record yet; SystemExit if `current` breaks what it records."""
    recorded = read(path) if path.exists() else Contract()
    contract = contract_of(current.file)
    if broken := breaks(recorded, contract):
        sys.exit(
            f"this breaks clients of the published contract:\n{_lines(broken)}\n"
            "Add a new field, value or method instead. A field or value that goes leaves both its "
            "number and its name reserved."
        )
    return additions(recorded, contract)


def _lines(found: Iterable[str]) -> str:
    return "\n".join(f"  {line}" for line in found)


def read(path: Path = RECORDED) -> Contract:
    """The contract that is recorded."""
    return contract_of(FileDescriptorSet.FromString(path.read_bytes()).file)


def _lost(recorded: Contract, current: Contract) -> Iterator[str]:
    for key, facts in recorded.facts.items():
        if key in current.facts:
            continue
        kept = current.reserved.get(key.name)
        if not key.numbered or kept is None:
            yield f"{key.described(facts)} is gone or has another name"
        elif facts["name"] not in kept.names or not kept.covers(key.number, key.number):
            yield f"{key.described(facts)} is gone; reserve both its number and its name"


def _changed(recorded: Contract, current: Contract) -> Iterator[str]:
    for key, facts in recorded.facts.items():
        for what, was in facts.items():
            now = current.facts.get(key, facts)[what]
            if now != was:
                yield f"{key.described(facts)}: {what} was {was or 'none'}, is {now or 'none'}"


def _freed(recorded: Contract, current: Contract) -> Iterator[str]:
    for owner, was in recorded.reserved.items():
        now = current.reserved.get(owner, Reserved(set(), []))
        for name in sorted(was.names - now.names):
            yield f"{owner}: name {name!r} is no longer reserved"
        for first, last in was.ranges:
            if not now.covers(first, last):
                yield f"{owner}: numbers {first} to {last} are no longer reserved"


def _add_message(
    found: Contract, file: FileDescriptorProto, scope: str, message: DescriptorProto
) -> None:
    name = f"{scope}.{message.name}"
    found.facts[Key("message", name)] = {"file": file.name, "options": _text(message.options)}
    ranges = [(r.start, r.end - 1) for r in message.reserved_range]
    found.reserved[name] = Reserved(set(message.reserved_name), ranges)
    for one in message.field:
        found.facts[Key("field", name, one.number)] = _field_facts(message, one)
    for nested in message.nested_type:
        _add_message(found, file, name, nested)
    for enum in message.enum_type:
        _add_enum(found, file, name, enum)


def _field_facts(message: DescriptorProto, one: FieldDescriptorProto) -> Mapping[str, str]:
    member = one.HasField("oneof_index") and not one.proto3_optional
    return {
        "name": one.name,
        "JSON name": one.json_name,
        "type": FieldDescriptorProto.Type.Name(one.type),
        "type name": one.type_name,
        "label": FieldDescriptorProto.Label.Name(one.label),
        "presence": "optional" if one.proto3_optional else "",
        "oneof": message.oneof_decl[one.oneof_index].name if member else "",
        "options": _text(one.options),
    }


def _add_enum(
    found: Contract, file: FileDescriptorProto, scope: str, enum: EnumDescriptorProto
) -> None:
    name = f"{scope}.{enum.name}"
    found.facts[Key("enum", name)] = {"file": file.name, "options": _text(enum.options)}
    ranges = [(r.start, r.end) for r in enum.reserved_range]
    found.reserved[name] = Reserved(set(enum.reserved_name), ranges)
    for value in enum.value:
        found.facts[Key("enum value", name, value.number)] = {"name": value.name}


def _add_service(
    found: Contract, file: FileDescriptorProto, service: ServiceDescriptorProto
) -> None:
    name = f"{file.package}.{service.name}"
    found.facts[Key("service", name)] = {"file": file.name, "options": _text(service.options)}
    for method in service.method:
        found.facts[Key("method", f"{name}.{method.name}")] = {
            "request": method.input_type,
            "response": method.output_type,
            "request stream": "stream" if method.client_streaming else "",
            "response stream": "stream" if method.server_streaming else "",
            "options": _text(method.options),
        }


def _text(options: Message) -> str:
    """Without `deprecated`, which warns and breaks nothing."""
    set_ = sorted((f.name, value) for f, value in options.ListFields() if f.name != "deprecated")
    return ", ".join(f"{name} = {value}" for name, value in set_)


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        check(descriptors())
    else:
        sys.stdout.write("\n".join(record(descriptors()) or ["nothing is new"]) + "\n")
