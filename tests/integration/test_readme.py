"""The examples of the README and of docs/deciding.md work as written, but for the port."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from featsvc_client import Action
from featsvc_client.v1 import screening_pb2
from google.protobuf import json_format

from tests.integration.running import Running
from tests.photographs import ROOT, edited

README = (ROOT / "README.md").read_text()
COMMANDS = re.findall(r"^\$ \.venv/bin/(featsvc .*?)(?:  #.*)?$", README, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a reader would have a list and a picture."""
    (tmp_path / "list.txt").write_text(f"{'0f' * 32}\n")
    (tmp_path / "upload.jpg").write_bytes(edited("coffee.png"))
    return tmp_path


def run(server: Running, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", ROOT / "client")))
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "FEATSVC_SERVER": server.address, "PYTHONPATH": path},
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


def test_the_grpcurl_example_is_a_request() -> None:
    (text,) = re.findall(r'grpcurl .*? -d "(.*?)" \\\n', README, re.DOTALL)
    unquoted = text.replace('\\"', '"').replace("$(base64 -w0 upload.jpg)", "AAAA")
    request = json_format.Parse(unquoted, screening_pb2.ScreenRequest())
    assert request.content.data == b"\0\0\0"
    assert request.entities[0].id == "a1"
