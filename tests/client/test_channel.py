"""A type checker knows the request and the answer of every method of both clients."""

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from google.protobuf.descriptor_pb2 import MethodDescriptorProto

from tests.protos import ROOT, descriptors

FILES = {Path(file.name).stem: file for file in descriptors().file}
# `.featsvc.v1.ScreenRequest` -> `screening_pb2.ScreenRequest`
PYTHON_NAMES = {
    f".{file.package}.{message.name}": f"{stem}_pb2.{message.name}"
    for stem, file in FILES.items()
    for message in file.message_type
}
# (attribute of a client, method)
METHODS = [(s, m) for s, file in FILES.items() for service in file.service for m in service.method]

HEAD = f"""\
from typing import assert_type
from featsvc_client import AsyncClient, Client
from featsvc_client.v1 import {", ".join(f"{stem}_pb2" for stem in FILES)}
"""


def program(line: Callable[[str, MethodDescriptorProto, str], str]) -> str:
    """Two functions of a line per method: with the blocking client, then with the other."""
    return "".join(
        [HEAD, "\ndef blocking(client: Client) -> None:\n"]
        + [f"    {line(attribute, method, '')}\n" for attribute, method in METHODS]
        + ["\nasync def asynchronous(client: AsyncClient) -> None:\n"]
        + [f"    {line(attribute, method, 'async')}\n" for attribute, method in METHODS]
    )


def call(attribute: str, method: MethodDescriptorProto, request: str) -> str:
    argument = f"iter([{request}()])" if method.client_streaming else f"{request}()"
    return f"client.{attribute}.{method.name}({argument})"


def check_types(program: str, folder: Path) -> str:
    """Run mypy as a user of an installed client would; return what it prints."""
    (folder / "program.py").write_text(program)
    (folder / "mypy.ini").write_text(
        f"[mypy]\nmypy_path = {ROOT / 'client'}\nstrict = True\ncache_dir = {folder / 'cache'}\n"
        "[mypy-featsvc_client.*]\nignore_errors = True\n"
    )
    command = [sys.executable, "-m", "mypy", "--config-file=mypy.ini", "program.py"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.stderr == ""
    return done.stdout


def test_every_answer_is_typed(tmp_path: Path) -> None:
    def typed_call(attribute: str, method: MethodDescriptorProto, flavour: str) -> str:
        called = call(attribute, method, PYTHON_NAMES[method.input_type])
        answer = PYTHON_NAMES[method.output_type]
        if method.server_streaming:
            return f"assert_type([one {flavour} for one in {called}], list[{answer}])"
        return f"assert_type({'await ' if flavour else ''}{called}, {answer})"

    output = check_types(program(typed_call), tmp_path)
    assert output.startswith("Success"), output


@pytest.mark.slow
def test_every_wrong_request_is_an_error(tmp_path: Path) -> None:
    def wrong_call(attribute: str, method: MethodDescriptorProto, _: str) -> str:
        return call(attribute, method, "types_pb2.Content")

    output = check_types(program(wrong_call), tmp_path)
    errors = re.findall(r"incompatible type .*Content.* \[(?:arg-type|list-item)\]$", output, re.M)
    assert len(errors) == 2 * len(METHODS), output
