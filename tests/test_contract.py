"""The published contract only grows, and the rules that say so catch every way to break it."""

from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
    FileDescriptorSet,
)

from tests.contract import Contract, additions, breaks, check, contract_of, record
from tests.protos import descriptors


def test_proto_is_what_is_recorded() -> None:
    check(descriptors())


# Every place of the contract: attributes and indexes that lead to it from its file.
Place = tuple[tuple[str, int], ...]


@cache
def files() -> tuple[FileDescriptorProto, ...]:
    return tuple(descriptors().file)


@cache
def published(name: str) -> Contract:
    return contract_of([next(file for file in files() if file.name == name)])


def at(node: Any, place: Place) -> Any:
    for attribute, index in place:
        node = getattr(node, attribute)[index]
    return node


def children(node: Any, attribute: str) -> Iterator[Place]:
    return (((attribute, i),) for i in range(len(getattr(node, attribute))))


def messages(file: FileDescriptorProto) -> Iterator[Place]:
    def below(node: Any, attribute: str) -> Iterator[Place]:
        for here in children(node, attribute):
            yield here
            for further in below(at(node, here), "nested_type"):
                yield here + further

    return below(file, "message_type")


def within(outer: Callable[[Any], Iterator[Place]], attribute: str) -> Any:
    def places(file: FileDescriptorProto) -> Iterator[Place]:
        return (p + c for p in outer(file) for c in children(at(file, p), attribute))

    return places


def enums(file: FileDescriptorProto) -> Iterator[Place]:
    yield from children(file, "enum_type")
    yield from within(messages, "enum_type")(file)


def services(file: FileDescriptorProto) -> Iterator[Place]:
    return children(file, "service")


def whole(file: FileDescriptorProto) -> Iterator[Place]:
    yield ()


fields = within(messages, "field")
values = within(enums, "value")
methods = within(services, "method")

Mutation = Callable[[Any, Any], object]
"""Changes a thing in place, given what it lies in; False where it does not apply to this one."""


def renumber(one: Any, _: Any) -> None:
    one.number += 5000


def rename(one: Any, _: Any) -> None:
    one.name += "_x"


def drop(one: Any, owner: Any) -> None:
    for _, siblings in owner.ListFields():
        if isinstance(siblings, str | bytes | int) or not hasattr(siblings, "remove"):
            continue
        if any(sibling is one for sibling in siblings):
            siblings.remove(one)
            return


def reserve_number(owner: Any, number: int) -> None:
    # A message's ranges end before their end, an enum's with it.
    owner.reserved_range.add(start=number, end=number + isinstance(owner, DescriptorProto))


def drop_but_its_number(one: Any, owner: Any) -> None:
    reserve_number(owner, one.number)
    drop(one, owner)


def drop_but_its_name(one: Any, owner: Any) -> None:
    owner.reserved_name.append(one.name)
    drop(one, owner)


def drop_and_reserve(one: Any, owner: Any) -> None:
    owner.reserved_name.append(one.name)
    drop_but_its_number(one, owner)


def change_json_name(one: FieldDescriptorProto, _: Any) -> None:
    one.json_name += "X"


def change_type(one: FieldDescriptorProto, _: Any) -> None:
    boolean = one.type == FieldDescriptorProto.TYPE_BOOL
    one.type = FieldDescriptorProto.TYPE_UINT32 if boolean else FieldDescriptorProto.TYPE_BOOL
    one.type_name = ""


def change_type_name(one: FieldDescriptorProto, _: Any) -> object:
    if not one.type_name:
        return False
    one.type_name += "Other"
    return None


def change_label(one: FieldDescriptorProto, _: Any) -> None:
    repeated = one.label == FieldDescriptorProto.LABEL_REPEATED
    one.label = (
        FieldDescriptorProto.LABEL_OPTIONAL if repeated else FieldDescriptorProto.LABEL_REPEATED
    )


def change_presence(one: FieldDescriptorProto, _: Any) -> None:
    one.proto3_optional = not one.proto3_optional


def change_packing(one: FieldDescriptorProto, _: Any) -> None:
    one.options.packed = False


def move_into_a_oneof(one: FieldDescriptorProto, owner: DescriptorProto) -> object:
    if one.HasField("oneof_index"):
        return False
    one.oneof_index = len(owner.oneof_decl)
    owner.oneof_decl.add(name="either")
    return None


def move_out_of_its_oneof(one: FieldDescriptorProto, _: Any) -> object:
    if one.proto3_optional or not one.HasField("oneof_index"):
        return False
    one.ClearField("oneof_index")
    return None


def make_it_no_map(one: DescriptorProto, _: Any) -> object:
    if not one.options.map_entry:
        return False
    one.options.ClearField("map_entry")
    return None


def set_to(attribute: str, value: object) -> Mutation:
    return lambda one, _: setattr(one, attribute, value)


def flip(attribute: str) -> Mutation:
    return lambda one, _: setattr(one, attribute, not getattr(one, attribute))


def change_go_package(one: FileDescriptorProto, _: Any) -> None:
    one.options.go_package = "elsewhere"


BREAKING: dict[str, tuple[Any, Mutation]] = {
    "a file goes": (whole, rename),
    "a file changes its package": (whole, set_to("package", "featsvc.v2")),
    "a file changes its syntax": (whole, set_to("syntax", "proto2")),
    "a file changes its Go package": (whole, change_go_package),
    "a message goes": (messages, drop),
    "a message is renamed": (messages, rename),
    "a map becomes a list": (messages, make_it_no_map),
    "a field goes": (fields, drop),
    "a field goes, its number reserved": (fields, drop_but_its_number),
    "a field goes, its name reserved": (fields, drop_but_its_name),
    "a field is renumbered": (fields, renumber),
    "a field is renamed": (fields, rename),
    "a field changes its JSON name": (fields, change_json_name),
    "a field changes its type": (fields, change_type),
    "a field changes its message or enum": (fields, change_type_name),
    "a field changes its label": (fields, change_label),
    "a field changes its presence": (fields, change_presence),
    "a field changes its packing": (fields, change_packing),
    "a field moves into a oneof": (fields, move_into_a_oneof),
    "a field moves out of its oneof": (fields, move_out_of_its_oneof),
    "an enum goes": (enums, drop),
    "an enum is renamed": (enums, rename),
    "an enum value goes": (values, drop),
    "an enum value goes, its number reserved": (values, drop_but_its_number),
    "an enum value goes, its name reserved": (values, drop_but_its_name),
    "an enum value is renumbered": (values, renumber),
    "an enum value is renamed": (values, rename),
    "a service goes": (services, drop),
    "a service is renamed": (services, rename),
    "a method goes": (methods, drop),
    "a method is renamed": (methods, rename),
    "a method takes another request": (methods, set_to("input_type", ".featsvc.v1.Other")),
    "a method gives another response": (methods, set_to("output_type", ".featsvc.v1.Other")),
    "a request becomes a stream or none": (methods, flip("client_streaming")),
    "a response becomes a stream or none": (methods, flip("server_streaming")),
}


def mutated(
    places: Callable[[FileDescriptorProto], Iterator[Place]], mutate: Mutation
) -> Iterator[tuple[str, FileDescriptorProto]]:
    """Each file of the contract with one thing of it changed, and which."""
    for file in files():
        for place in places(file):
            copy = FileDescriptorProto()
            copy.CopyFrom(file)
            one = at(copy, place)
            name = one.name
            if mutate(one, at(copy, place[:-1]) if place else None) is not False:
                yield f"{file.name} {place} {name}", copy


@pytest.mark.slow
@pytest.mark.parametrize("what", BREAKING)
def test_it_breaks_wherever_it_happens(what: str) -> None:
    tried = 0
    for where, file in mutated(*BREAKING[what]):
        before = published(where.split()[0])
        assert breaks(before, contract_of([file])), f"{what} unseen: {where}"
        tried += 1
    assert tried


def add_a_field(one: DescriptorProto, _: Any) -> None:
    one.field.add(
        name="new", json_name="new", number=4999, type="TYPE_BOOL", label="LABEL_OPTIONAL"
    )


def add_a_oneof(one: DescriptorProto, owner: Any) -> None:
    add_a_field(one, owner)
    one.field[-1].oneof_index = len(one.oneof_decl)
    one.oneof_decl.add(name="newly")


def reserve_what_is_free(one: Any, _: Any) -> None:
    one.reserved_name.append("never_again")
    reserve_number(one, 4999)


GROWING: dict[str, tuple[Any, Mutation]] = {
    "a message": (whole, lambda one, _: one.message_type.add(name="New")),
    "a nested message": (messages, lambda one, _: one.nested_type.add(name="New")),
    "an enum": (whole, lambda one, _: one.enum_type.add(name="New")),
    "a service": (whole, lambda one, _: one.service.add(name="New")),
    "a method": (services, lambda one, _: one.method.add(name="New")),
    "a field": (messages, add_a_field),
    "a oneof": (messages, add_a_oneof),
    "an enum value": (enums, lambda one, _: one.value.add(name="NEW", number=4999)),
    "a reservation in a message": (messages, reserve_what_is_free),
    "a reservation in an enum": (enums, reserve_what_is_free),
    "a field that went with its number and name reserved": (fields, drop_and_reserve),
    "an enum value that went with its number and name reserved": (values, drop_and_reserve),
}


@pytest.mark.slow
@pytest.mark.parametrize("what", GROWING)
def test_it_grows_and_must_be_recorded_wherever_it_happens(what: str) -> None:
    tried = 0
    for where, file in mutated(*GROWING[what]):
        before, after = published(where.split()[0]), contract_of([file])
        assert breaks(before, after) == [], f"{what} breaks: {where}"
        assert additions(before, after), f"{what} unseen: {where}"
        tried += 1
    assert tried


def test_a_deprecated_field_breaks_nothing() -> None:
    for where, file in mutated(fields, lambda one, _: setattr(one.options, "deprecated", True)):
        before, after = published(where.split()[0]), contract_of([file])
        assert (breaks(before, after), additions(before, after)) == ([], [])


def reserving(first: int, last: int, *names: str) -> Contract:
    """A message and an enum with the same reservations."""
    message = DescriptorProto(name="M", reserved_name=names)
    message.reserved_range.add(start=first, end=last + 1)
    enum = EnumDescriptorProto(name="E", reserved_name=names)
    enum.reserved_range.add(start=first, end=last)
    return contract_of([FileDescriptorProto(name="f", message_type=[message], enum_type=[enum])])


def test_reservations_never_shrink() -> None:
    before = reserving(5, 9, "a", "b")
    for after in (reserving(5, 9, "a"), reserving(5, 8, "a", "b"), reserving(6, 9, "a", "b")):
        assert len(breaks(before, after)) == 2
    for after in (reserving(5, 9, "a", "b", "c"), reserving(4, 10, "a", "b")):
        assert breaks(before, after) == []
        assert len(additions(before, after)) == 2


def test_two_fields_that_swap_their_numbers_are_both_told() -> None:
    types = next(file for file in files() if file.name.endswith("types.proto"))
    swapped = FileDescriptorProto()
    swapped.CopyFrom(types)
    (match,) = (message for message in swapped.message_type if message.name == "Match")
    numbered = {field.name: field for field in match.field}
    frame, safe = numbered["frame"], numbered["safe"]
    frame.number, safe.number = safe.number, frame.number
    told = "\n".join(breaks(published(types.name), contract_of([swapped])))
    assert "name was frame, is safe" in told
    assert "name was safe, is frame" in told


def test_additions_are_recorded_and_breaks_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "contract.binpb"
    now = FileDescriptorSet(file=files())
    assert record(now, path)
    assert record(now, path) == []
    kept = path.read_bytes()
    broken = FileDescriptorSet()
    broken.CopyFrom(now)
    del broken.file[-1].service[0].method[0]
    with pytest.raises(SystemExit, match="is gone or has another name"):
        record(broken, path)
    assert path.read_bytes() == kept
    now.file[0].message_type.add(name="New")
    with pytest.raises(SystemExit, match="make protos contract"):
        check(now, path)
    assert record(now, path) == ["message featsvc.v1.New is new"]
    now.file[0].message_type[0].field.add(name="yet", json_name="yet", number=4999, type=8, label=1)
    assert record(now, path) == ["field yet = 4999 of featsvc.v1.Content is new"]
    assert record(now, path) == []
