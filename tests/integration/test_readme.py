"""A reader pastes every command and example of README, in order, as it stands.

Only the address differs: the service listens on a free port. The commands run in a folder that has
nothing but `.venv`, which is this environment.
"""

import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from featsvc_client import Action
from featsvc_client.v1 import screening_pb2
from google.protobuf import json_format
from PIL import Image

from tests.integration.running import PATIENT, Running
from tests.patience import PATIENCE_S
from tests.photographs import ROOT, jpeg

README = (ROOT / "README.md").read_text()
ADDRESS = "localhost:50051"
SERVE = ".venv/bin/featsvc serve"
# Commands that do not run here, and why.
EXEMPT = {
    "make demo": "runs what follows; test_make_runs_the_same_commands",
    "make serve": "runs what follows; test_make_runs_the_same_commands",
    "make test": "runs this test",
    "python3 -m venv .venv": "this environment stands for it; `make dist` makes an empty one",
    ".venv/bin/pip install featsvc*.whl": "needs a registry; `make dist` installs the wheels",
}

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


def with_grpcurl(folder: Path) -> str:
    """PATH with grpcurl; no index that we lock has it, so that a stand-in may do its part."""
    if shutil.which("grpcurl") is None:
        (folder / "grpcurl").write_text(GRPCURL.format(python=sys.executable))
        (folder / "grpcurl").chmod(0o755)
    return f"{folder}{os.pathsep}{os.environ['PATH']}"


def commands_of(page: Path) -> list[str]:
    """The commands of a page's console blocks; what they print is left out."""
    blocks = re.findall(r"^```console\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
    found: list[str] = []
    for line in "".join(blocks).splitlines():
        if line.startswith("$ "):
            found.append(re.sub(r"  +#.*", "", line[2:]).rstrip())
        elif found and goes_on(found[-1]):
            found[-1] += f"\n{line}"
    return found


def goes_on(command: str) -> bool:
    """Whether a shell would ask for another line."""
    try:
        shlex.split(command)
    except ValueError:  # an open quote, or a backslash at the end
        return True
    return command.endswith(("\\", "|"))


COMMANDS = [*commands_of(ROOT / "README.md"), *commands_of(ROOT / "proto" / "README.md")]


def is_exempt(command: str) -> bool:
    return command in EXEMPT or command.split(maxsplit=1)[0] in EXEMPT


@dataclass
class Reader:
    """Someone with a shell in `folder`, and the commands that they have run."""

    folder: Path
    environ: dict[str, str]
    address: str = ""
    done: dict[str, subprocess.CompletedProcess[str]] = field(default_factory=dict)

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command,
            cwd=self.folder,
            env=self.environ | ({"FEATSVC_SERVER": self.address} if self.address else {}),
            capture_output=True,
            text=True,
            check=False,
        )

    def paste(self, command: str) -> None:
        text = command.replace(ADDRESS, self.address)
        self.done[command] = self.run("bash", "-c", text)

    def serve(self) -> subprocess.Popen[str]:
        """Run the service in another terminal, until it serves."""
        with (self.folder / "log").open("w") as log:
            process = subprocess.Popen(
                ["bash", "-c", f"exec {SERVE}"],
                cwd=self.folder,
                env={**self.environ, "FEATSVC_SERVER_LISTEN": "127.0.0.1:0"},
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("serving on "):
                self.address = line.split()[-1]
                break
        assert self.address, (self.folder / "log").read_text()
        return process


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Reader]:
    """Runs every command that is not exempt."""
    folder, tools = tmp_path_factory.mktemp("reader"), tmp_path_factory.mktemp("tools")
    (folder / ".venv").symlink_to(sys.prefix)
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", ROOT / "client")))
    other = {key: value for key, value in os.environ.items() if not key.startswith("FEATSVC_")}
    someone = Reader(folder, {**other, **PATIENT, "PYTHONPATH": path, "PATH": with_grpcurl(tools)})
    services = []
    for command in COMMANDS:
        if command == SERVE:
            services.append(someone.serve())
        elif not is_exempt(command):
            someone.paste(command)
    yield someone
    for service in services:
        service.send_signal(signal.SIGTERM)
        assert service.wait(timeout=PATIENCE_S) == 0
        assert service.stdout is not None
        service.stdout.close()


@pytest.mark.parametrize("command", [c for c in COMMANDS if c != SERVE and not is_exempt(c)])
def test_a_command_works(reader: Reader, command: str) -> None:
    assert reader.done[command].returncode == 0, reader.done[command].stderr


def test_the_copy_matches_as_the_text_says(reader: Reader) -> None:
    (screened,) = [done for command, done in reader.done.items() if " screen " in command]
    assert "coffee.jpg" in screened.stdout
    assert "flip_y" in screened.stdout


def test_the_exemptions_are_in_use() -> None:
    programs = {command.split()[0] for command in COMMANDS}
    assert COMMANDS.count(SERVE) == 1
    assert [command for command in EXEMPT if command not in {*COMMANDS, *programs}] == []


@pytest.mark.parametrize("target", ["demo", "serve"])
def test_make_runs_the_same_commands(target: str) -> None:
    shown = subprocess.run(
        ["make", "-n", "--no-print-directory", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    last = shown.stdout.splitlines()[-1].removesuffix(" --listen 127.0.0.1:50051 --data-dir data")
    assert last in COMMANDS


@pytest.mark.parametrize(
    ("page", "action"),
    [
        ("README.md", Action.ACT),
        ("client/README.md", Action.ACT),
        ("docs/deciding.md", Action.PASS),
    ],
)
def test_the_python_example(reader: Reader, page: str, action: Action) -> None:
    # The client's page has several, which go on from each other.
    example = "".join(re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(), re.DOTALL))
    assert ADDRESS in example
    result = reader.run(".venv/bin/python", "-c", example.replace(ADDRESS, reader.address))
    assert result.returncode == 0, result.stderr
    assert result.stdout.partition(" ")[0] == action.value


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
    command = grpcurl_lines()[where].replace("localhost:50051", server.address)
    result = subprocess.run(
        [shell, "-c", command],
        cwd=tmp_path,
        env={**os.environ, "PATH": with_grpcurl(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    answer = json_format.Parse(result.stdout, screening_pb2.ScreenResponse())
    assert (answer.media.width, answer.media.height) == (1600, 1200)
    assert bool(answer.features.columns) == (where == "README")
