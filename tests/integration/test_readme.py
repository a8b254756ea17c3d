"""The examples of the README and of docs/deciding.md work as written, but for the port."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from featsvc_client import Action
from featsvc_client.v1 import screening_pb2
from google.protobuf import json_format
from PIL import Image

from tests.integration.running import Running
from tests.photographs import ROOT, edited, jpeg

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ \.venv/bin/(featsvc .*?)(?:  #.*)?$", README, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader would have a list and a picture."""
    (tmp_path / "list.txt").write_text(f"{'0f' * 32}\n")
    (tmp_path / "upload.jpg").write_bytes(edited("coffee.png"))
    return tmp_path


def run(
    server: Running, folder: Path, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", ROOT / "client")))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "FEATSVC_SERVER": server.address, "PYTHONPATH": path},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def test_the_commands(server: Running, folder: Path) -> None:
    assert len(COMMANDS) >= 3
    for command in COMMANDS:
        result = run(server, folder, "-m", *shlex.split(command))
        assert result.returncode == 0, f"{command}\n{result.stderr}"


@pytest.mark.parametrize("page", ["README.md", "docs/deciding.md"])
def test_the_python_example(server: Running, folder: Path, page: str) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL)
    assert "localhost:50051" in example
    result = run(server, folder, "-c", example.replace("localhost:50051", server.address))
    assert result.returncode == 0, result.stderr
    assert result.stdout.partition(" ")[0] in {action.value for action in Action}


GRPCURL = """#!{python}
# What grpcurl does with these arguments: it reads one request as JSON, and calls by reflection.
import sys
import grpc
from google.protobuf import descriptor_pool, json_format
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import (
    ProtoReflectionDescriptorDatabase,
)
flags, (address, method) = sys.argv[1:4], sys.argv[4:]
assert flags == ["-plaintext", "-d", "@"], flags
with grpc.insecure_channel(address) as channel:
    pool = descriptor_pool.DescriptorPool(ProtoReflectionDescriptorDatabase(channel))
    service, _, name = method.partition("/")
    described = pool.FindServiceByName(service).FindMethodByName(name)
    request = json_format.Parse(sys.stdin.read(), GetMessageClass(described.input_type)())
    answer = GetMessageClass(described.output_type)
    call = channel.unary_unary("/" + method, type(request).SerializeToString, answer.FromString)
    print(json_format.MessageToJson(call(request)))
"""


def serve_lines() -> list[str]:
    """What `make serve` prints, with the shell's own printf."""
    makefile = (ROOT / "Makefile").read_text()
    (recipe,) = re.findall(r"^\t@(printf '%s\\n' 'When it prints.*?[^\\])$", makefile, re.M | re.S)
    for variable, value in (("$(BIN)", ".venv/bin"), ("$(PICTURE)", "upload.jpg"), ("$$", "$")):
        recipe = recipe.replace(variable, value)
    return subprocess.run(
        ["sh", "-c", recipe], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def grpcurl_lines() -> dict[str, str]:
    """The shell commands that call grpcurl, of the README and of `make serve`."""
    pattern = r"(printf .*?grpcurl [^\n]*)"
    (of_readme,) = re.findall(r"^\$ " + pattern, README, re.MULTILINE | re.DOTALL)
    (of_serve,) = re.findall(pattern, "\n".join(serve_lines()), re.DOTALL)
    return {"README": of_readme, "make serve": of_serve}


@pytest.mark.parametrize("where", ["README", "make serve"])
@pytest.mark.parametrize("shell", ["sh", "bash"])
def test_the_grpcurl_command_screens_a_photograph_of_megabytes(
    server: Running, tmp_path: Path, where: str, shell: str
) -> None:
    """No argument of a process may exceed 128 KiB; the request is ten times as long."""
    noise = Image.effect_noise((1600, 1200), 90)
    (tmp_path / "upload.jpg").write_bytes(jpeg(noise, quality=97))
    assert (tmp_path / "upload.jpg").stat().st_size > 2**20
    # grpcurl is no package of an index that we lock: without it, a stand-in reads what it is sent.
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    if shutil.which("grpcurl") is None:
        (tmp_path / "grpcurl").write_text(GRPCURL.format(python=sys.executable))
        (tmp_path / "grpcurl").chmod(0o755)
    command = grpcurl_lines()[where].replace("localhost:50051", server.address)
    result = subprocess.run(
        [shell, "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    answer = json_format.Parse(result.stdout, screening_pb2.ScreenResponse())
    assert (answer.media.width, answer.media.height) == (1600, 1200)
    assert bool(answer.features.columns) == (where == "README")
