"""The programs of examples/ decide as `decide` does, set up and run as their README says.

Most answers are canned, since no service can be brought to give them all: every outcome, mode and
pair of matches, those of newer servers included.
"""

import hashlib
import os
import random
import re
import shutil
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from concurrent import futures
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import combinations_with_replacement, pairwise, product
from pathlib import Path
from typing import Any, NoReturn

import grpc
import pytest
from featsvc_client import Client, decide
from featsvc_client.errors import STATUS_DETAILS_KEY
from featsvc_client.v1 import banks_pb2, screening_pb2, screening_pb2_grpc, types_pb2
from google.protobuf import text_format
from PIL import Image

from featsvc import errors
from featsvc.service.status import code_of, status_of
from tests.integration.running import Running, running
from tests.integration.test_bad_input import png_bomb
from tests.patience import PATIENCE_MS, PATIENCE_S
from tests.photographs import ROOT, edited, jpeg
from tests.service.test_status import tree

README = (ROOT / "examples/README.md").read_text()
BLOCKS = [
    re.findall(r"^\$ (.*)$", block, re.MULTILINE)
    for block in re.findall(r"```console\n(.*?)```", README, re.DOTALL)
]
MAX_TRIES = 4
RETRIED = (errors.Overloaded, errors.Unavailable)
NEW_VALUE = 1000
"""An enum value of a newer server."""
BROKEN = edited("chelsea.png")[:-9]
"""A picture that does not decode, whose SHA-256 is in a bank that acts."""
# What a package client says where its registry cannot be reached.
UNREACHABLE = re.compile(
    "ENOTFOUND|EAI_AGAIN|ECONN|ETIMEDOUT|ENETUNREACH|NewConnectionError|no such host"
    "|connection refused|i/o timeout|Failed to establish"
)
DEBIAN_GO = Path("/usr/share/gocode/src")
# What the example needs of grpc-go 1.63 and Debian 12 (1.33) lacks.
OLD_GRPC_GO = {
    "newclient.go": """package grpc

func NewClient(target string, options ...DialOption) (*ClientConn, error) {
	return Dial(target, append(options, WithInsecure())...)
}
""",
    "credentials/insecure/insecure.go": """package insecure

import "google.golang.org/grpc/credentials"

func NewCredentials() credentials.TransportCredentials { return nil }
""",
}


@dataclass(frozen=True)
class Example:
    """A program that is ready to run. `line` is how the README runs it, in `folder`."""

    name: str
    folder: Path
    line: str
    environ: Mapping[str, str]

    def run(self, address: str, files: Sequence[Path], account: str = "a1") -> list[str]:
        """Screen files; return what follows the name of each in the output."""
        flag = {"node": f"--timeout-ms {PATIENCE_MS}", "go": f"--timeout {PATIENCE_S}s"}
        options = f"--server {address} {flag.get(self.name, f'--timeout {PATIENCE_S}')}"
        command, _, upload = self.line.replace("a1", account).rpartition(" ")
        assert upload.endswith("upload.jpg")
        done = subprocess.run(
            [*command.split(), *options.split(), *(f.name for f in files)],
            cwd=files[0].parent,
            env={**os.environ, **self.environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        lines = done.stdout.splitlines()
        assert [line.partition(": ")[0] for line in lines] == [f.name for f in files]
        return [line.partition(": ")[2] for line in lines]


def actions(lines: Sequence[str]) -> list[str]:
    return [line.partition(" - ")[0] for line in lines]


EXAMPLES = dict(zip(("node", "go", "python", "python-old"), BLOCKS, strict=True))
TOOLS = {"node": ("node", "npm"), "go": ("go", "protoc-gen-go", "protoc-gen-go-grpc")}


@pytest.fixture(scope="module", params=list(EXAMPLES))
def example(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Example:
    """An example, set up in a copy of the checkout by the commands of the README."""
    name: str = request.param
    if missing := [tool for tool in TOOLS.get(name, ()) if shutil.which(tool) is None]:
        pytest.skip(f"{', '.join(missing)}: not installed")
    root = tmp_path_factory.mktemp(name)
    ignored = shutil.ignore_patterns("node_modules", ".venv", "featsvc", "decide", "__pycache__")
    shutil.copytree(ROOT / "examples", root / "examples", ignore=ignored)
    shutil.copytree(ROOT / "proto", root / "proto")
    shutil.copytree(ROOT / "client", root / "client")
    environ = {"PATH": f"{python_tools(root / 'bin')}{os.pathsep}{os.environ['PATH']}"}
    change, *commands, last = EXAMPLES[name]
    folder = root / change.removeprefix("cd ")
    if name == "go" and has_debian_go():
        environ |= debian_go(root / "go", folder)
        commands.remove("go mod tidy")
    for command in commands:
        run_or_skip(command, folder, environ)
    # Tests run it in folders of theirs.
    line = re.sub(r"(?<!\S)(\./|\.venv/|decide\.)", rf"{folder}/\1", last)
    return Example(name, folder, line, environ)


def python_tools(folder: Path) -> Path:
    """A folder with `python3` and `protoc`, by this environment."""
    folder.mkdir()
    for name, options in (("python3", ""), ("protoc", "-m grpc_tools.protoc ")):
        tool = folder / name
        tool.write_text(f'#!/bin/sh\nexec "{sys.executable}" {options}"$@"\n')
        tool.chmod(0o755)
    return folder


def has_debian_go() -> bool:
    """Whether Debian's packages are here, and protobuf's not in version 1.3, which is older."""
    module = DEBIAN_GO / "github.com/golang/protobuf/go.mod"
    grpc_go = DEBIAN_GO / "google.golang.org/grpc"
    return grpc_go.is_dir() and "google.golang.org/protobuf" in module.read_text()


def debian_go(path: Path, folder: Path) -> dict[str, str]:
    """The environment for Debian's Go packages, which need neither modules nor their proxy."""
    package = path / "src/example.com/decide"
    package.parent.mkdir(parents=True)
    package.symlink_to(folder)
    debian = DEBIAN_GO / "google.golang.org/grpc"
    if "func NewClient(" not in (debian / "clientconn.go").read_text():
        ours = path / "src/google.golang.org/grpc"
        shutil.copytree(debian, ours)
        for name, source in OLD_GRPC_GO.items():
            (ours / name).parent.mkdir(exist_ok=True)
            (ours / name).write_text(source)
    gopath = f"{path}{os.pathsep}{DEBIAN_GO.parent}"
    return {"GO111MODULE": "off", "GOPATH": gopath, "GOFLAGS": "-trimpath"}


def run_or_skip(command: str, folder: Path, environ: Mapping[str, str]) -> None:
    """Run a command of the README; skip if it needs a registry that cannot be reached."""
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=False,
    )
    said = done.stdout + done.stderr
    if done.returncode and (found := UNREACHABLE.search(said)):
        pytest.skip(f"{command}: its registry cannot be reached ({found[0]})")
    assert done.returncode == 0, f"{command}\n{said}"


Failure = errors.FeatsvcError | grpc.StatusCode | bytes
"""An error of the service, a code without details, or details that are no status."""


@dataclass
class Case:
    """Failures, then an answer."""

    answer: screening_pb2.ScreenResponse = field(default_factory=screening_pb2.ScreenResponse)
    failures: Sequence[Failure] = ()


class CannedServicer(screening_pb2_grpc.ScreeningServiceServicer):
    """Answers with the case whose number the content is, and keeps when it was asked."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self.cases = cases
        self.asked: dict[int, list[float]] = defaultdict(list)
        self.deadlines_s: list[float | None] = []

    def Screen(  # noqa: N802 (named as in the contract)
        self, request: screening_pb2.ScreenRequest, context: grpc.ServicerContext
    ) -> screening_pb2.ScreenResponse:
        assert [(e.entity, e.id) for e in request.entities] == [("account", "a1")]
        number = int(request.content.data)
        case, times = self.cases[number], self.asked[number]
        times.append(time.monotonic())
        self.deadlines_s.append(context.time_remaining())
        if len(times) > len(case.failures):
            return case.answer
        failure = case.failures[len(times) - 1]
        if isinstance(failure, grpc.StatusCode):
            context.abort(failure, "a proxy says no")
        if isinstance(failure, bytes):
            context.set_trailing_metadata(((STATUS_DETAILS_KEY, failure),))
            context.abort(grpc.StatusCode.INTERNAL, "a proxy cuts headers")
        status = status_of(failure)
        context.set_trailing_metadata(((STATUS_DETAILS_KEY, status.SerializeToString()),))
        context.abort(code_of(failure), status.message)
        raise AssertionError("unreachable")

    def ScreenStream(self, request_iterator: object, context: grpc.ServicerContext) -> NoReturn:  # noqa: N802
        raise NotImplementedError


@contextmanager
def canned_server(cases: Sequence[Case]) -> Iterator[tuple[CannedServicer, str]]:
    """A server that gives these answers, and its address."""
    servicer = CannedServicer(cases)
    server = grpc.server(futures.ThreadPoolExecutor(4))
    screening_pb2_grpc.add_ScreeningServiceServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield servicer, f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait(PATIENCE_S)


def numbered(folder: Path, count: int) -> list[Path]:
    files = [folder / f"{number}.jpg" for number in range(count)]
    for number, file in enumerate(files):
        file.write_text(str(number))
    return files


def answers() -> Iterator[screening_pb2.ScreenResponse]:
    """Every outcome and up to two matches of every kind: the table knows no more of an answer."""
    modes: list[Any] = [*types_pb2.BankMode.values(), NEW_VALUE]
    kinds = [
        types_pb2.Match(bank="banks/b", entry="banks/b/entries/1", mode=m, safe=s, suppressed=u)
        for m, s, u in product(modes, (False, True), (False, True))
    ]
    found = [pair for n in range(3) for pair in combinations_with_replacement(kinds, n)]
    outcomes: list[Any] = [*types_pb2.Outcome.values(), NEW_VALUE]
    for outcome, truncated, matches in product(outcomes, (False, True), found):
        yield screening_pb2.ScreenResponse(
            content_outcome=outcome, matches_truncated=truncated, matches=matches
        )


def test_every_answer_is_decided_alike(example: Example, tmp_path: Path) -> None:
    cases = [Case(answer) for answer in answers()]
    with canned_server(cases) as (servicer, address):
        said = actions(example.run(address, numbered(tmp_path, len(cases))))
    expected = [decide(case.answer).action.value for case in cases]
    assert set(expected) == {"act", "hold", "watch", "pass"}
    wrong = [
        f"{action}: {text_format.MessageToString(case.answer, as_one_line=True)}"
        for case, action, right in zip(cases, said, expected, strict=True)
        if action != right
    ]
    assert wrong == []
    # A deadline travels as a timeout, which gRPC rounds up.
    assert all(s is not None and s < 2 * PATIENCE_S for s in servicer.deadlines_s)


def failures() -> list[errors.FeatsvcError | grpc.StatusCode]:
    """Every error of the service, with and without a field, and every code without details."""
    codes = [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK]
    found: list[errors.FeatsvcError | grpc.StatusCode] = [*codes]
    for kind, path in product(tree(errors.FeatsvcError), ("", "content.data")):
        error = kind("what is wrong, and what to do")
        error.field = path
        if isinstance(error, RETRIED):
            error.retry_after_ms = 10
        found.append(error)
    return found


def test_every_failure_is_held_and_explained(example: Example, tmp_path: Path) -> None:
    failing = failures()
    cases = [Case(failures=[failure] * MAX_TRIES) for failure in failing]
    with canned_server(cases) as (servicer, address):
        lines = example.run(address, numbered(tmp_path, len(cases)))
    for number, (failure, line) in enumerate(zip(failing, lines, strict=True)):
        assert line.startswith("hold - "), line
        tries = len(servicer.asked[number])
        if isinstance(failure, errors.FeatsvcError):
            assert str(failure) in line
            assert re.search(rf"\b{failure.reason}\b", line)
            assert ("field content.data" in line) == bool(failure.field)
            assert tries == (MAX_TRIES if isinstance(failure, RETRIED) else 1), line
        elif not (example.name.startswith("python") and failure is grpc.StatusCode.UNAVAILABLE):
            # The Python client also retries what it could not reach.
            assert tries == 1, line


def test_details_that_were_cut_are_a_failure_like_any_other(
    example: Example, tmp_path: Path
) -> None:
    whole = status_of(errors.Overloaded("the queue is full", retry_after_ms=10)).SerializeToString()
    rng = random.Random(4)
    details = [whole[:length] for length in range(1, len(whole), 3)]
    details += [rng.randbytes(length) for length in range(1, 40)]
    cases = [Case(failures=[cut] * MAX_TRIES) for cut in details]
    with canned_server(cases) as (_, address):
        lines = example.run(address, numbered(tmp_path, len(cases)))
    assert [line for line in lines if not line.startswith("hold - ")] == []
    if example.name != "go":  # grpc-go takes the message from the details, or refuses them
        assert [line for line in lines if "a proxy cuts headers" not in line] == []


def test_a_retry_waits_as_advised_and_decides(example: Example, tmp_path: Path) -> None:
    delay_s = 0.1
    busy = errors.Overloaded("the queue is full", retry_after_ms=100)
    searched = screening_pb2.ScreenResponse(content_outcome=types_pb2.OUTCOME_OK)
    cases = [Case(searched, [busy] * count) for count in range(MAX_TRIES + 1)]
    with canned_server(cases) as (servicer, address):
        said = actions(example.run(address, numbered(tmp_path, len(cases))))
    assert said == ["pass"] * MAX_TRIES + ["hold"]
    for number in range(len(cases)):
        times = servicer.asked[number]
        assert len(times) == min(number + 1, MAX_TRIES)
        waits = [after - before for before, after in pairwise(times)]
        assert all(wait > 0.9 * delay_s for wait in waits), "before the server can answer"


def test_no_retry_outlasts_the_deadline(example: Example, tmp_path: Path) -> None:
    busy = errors.Overloaded("the queue is full", retry_after_ms=PATIENCE_MS + 1000)
    with canned_server([Case(failures=[busy])]) as (servicer, address):
        (line,) = example.run(address, numbered(tmp_path, 1))
    assert line.startswith("hold - ")
    assert busy.reason in line, "it waited for its deadline"
    assert len(servicer.asked[0]) == 1


def test_a_server_that_is_not_there_is_held(example: Example, tmp_path: Path) -> None:
    (line,) = example.run("127.0.0.1:1", numbered(tmp_path, 1))
    assert line.startswith("hold - ")
    assert "127.0.0.1:1" in line


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service without banks, which takes small files only."""
    environ = {"FEATSVC_MEDIA_MAX_CONTENT_BYTES": "1000000"}
    with running(tmp_path_factory.mktemp("serve"), environ=environ) as service:
        yield service
        service.check_healthy()


@pytest.fixture
def uploads(tmp_path: Path) -> dict[str, Path]:
    """Files by what is to happen with them once there are banks."""
    contents = {
        "act": edited("rocket.jpg"),
        "watch": edited("coffee.png"),
        "pass-forgiven": edited("astronaut.png"),
        "pass-unknown": edited("chelsea.png"),
        "hold-plain": jpeg(Image.new("RGB", (512, 512), "grey")),
        "hold-document": b"%PDF-1.7",
        "hold-broken": edited("rocket.jpg")[:1000],
        "hold-bomb": png_bomb(20_000),
        "act-broken": BROKEN,
        "hold-empty": b"",
        "hold-large": bytes(3_000_000),
    }
    files = {name: tmp_path / f"{name}.jpg" for name in contents}
    for name, file in files.items():
        file.write_bytes(contents[name])
    return files


@contextmanager
def banks(client: Client) -> Iterator[None]:
    """Photographs in a bank that acts, one that is watched, and a safe list."""
    enforce, shadow = types_pb2.BANK_MODE_ENFORCE, types_pb2.BANK_MODE_SHADOW
    settings = {
        "acting": (enforce, False, ("rocket.jpg", "astronaut.png")),
        "watched": (shadow, False, ("coffee.png",)),
        "safe": (enforce, True, ("astronaut.png",)),
    }
    made = []
    for bank_id, (mode, safe, names) in settings.items():
        bank = banks_pb2.Bank(mode=mode, safe=safe)
        request = banks_pb2.CreateBankRequest(bank_id=bank_id, bank=bank)
        made.append(client.banks.CreateBank(request).name)
        add = banks_pb2.AddEntriesRequest(
            parent=made[-1],
            entries=[banks_pb2.Entry(external_id=name) for name in names],
            contents=[types_pb2.Content(data=edited(name, quality=90)) for name in names],
        )
        if bank_id == "acting":
            digest = hashlib.sha256(BROKEN).hexdigest()
            add.entries.add(external_id="broken").signals.add(algorithm="sha256", value=digest)
        client.banks.AddEntries(add)
    try:
        yield
    finally:
        for name in made:
            client.banks.DeleteBank(banks_pb2.DeleteBankRequest(name=name, force=True))


def decided(client: Client, file: Path) -> str:
    content = types_pb2.Content(data=file.read_bytes())
    try:
        answer = client.screening.Screen(screening_pb2.ScreenRequest(content=content))
    except grpc.RpcError as exc:
        return decide(exc).action.value
    return decide(answer).action.value


def test_uploads_to_a_service(example: Example, service: Running, uploads: dict[str, Path]) -> None:
    files = list(uploads.values())
    with service.client() as client, banks(client):
        lines = dict(zip(uploads, example.run(service.address, files), strict=True))
        assert actions(list(lines.values())) == [decided(client, file) for file in files]
    assert actions(list(lines.values())) == [name.partition("-")[0] for name in uploads]
    assert "quality" in lines["hold-plain"]
    assert "does not decode" in lines["hold-broken"]
    assert "media.max_pixels" in lines["hold-bomb"]
    assert "CONTENT_EMPTY" in lines["hold-empty"]
    # Without banks nothing was searched, which no upload passes.
    assert set(actions(example.run(service.address, files))) == {"hold"}


def test_an_account_that_is_none_is_held(
    example: Example, service: Running, uploads: dict[str, Path]
) -> None:
    (line,) = example.run(service.address, [uploads["pass-unknown"]], account="a" * 300)
    assert line.startswith("hold - ")
    assert "INVALID_INPUT" in line
    assert "field entities[0].id" in line


@pytest.mark.parametrize("example", ["go"], indirect=True)
def test_the_go_is_formatted_and_vetted(example: Example) -> None:
    run_or_skip('test -z "$(gofmt -l main.go)" && go vet', example.folder, example.environ)
