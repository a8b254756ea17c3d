"""The client's wheel with old and new protobuf and grpcio, as callers have them, against a service.

pip installs them into folders of their own; without a package index the tests are skipped.
"""

import os
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest
from featsvc_client.v1 import banks_pb2, types_pb2

from featsvc.errors import Overloaded
from tests.client.scripted import scripted
from tests.integration.running import Running
from tests.photographs import ROOT, photograph
from tests.test_distributions import build

PROGRAM = Path(__file__).with_name("runtime_program.py")
# (grpcio, protobuf): the floors, what long-lived platforms hold, and each major version since. The
# first two are tried by default (test_examples.py has 1.49 with 4.25), all with TEST_RUNTIMES=all.
RUNTIMES = [
    ("1.49.1", "4.21.12"),
    ("1.66.2", "5.27.5"),
    ("1.49.1", "4.25.8"),
    ("1.62.3", "4.25.8"),
    ("1.76.0", "6.33.6"),
]
if os.environ.get("TEST_RUNTIMES") != "all":
    RUNTIMES = RUNTIMES[:2]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT / "client", tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def service(server: Running) -> Iterator[str]:
    """The address of a service that has the picture in a bank."""
    with server.client() as client:
        bank = client.banks.CreateBank(banks_pb2.CreateBankRequest(bank_id="runtimes"))
        client.banks.UpdateBank(
            banks_pb2.UpdateBankRequest(
                bank=banks_pb2.Bank(name=bank.name, mode=types_pb2.BANK_MODE_ENFORCE),
                update_mask={"paths": ["mode"]},
            )
        )
        client.banks.AddEntries(
            banks_pb2.AddEntriesRequest(
                parent=bank.name,
                entries=[banks_pb2.Entry(external_id="rocket")],
                contents=[types_pb2.Content(data=photograph("rocket.jpg").read_bytes())],
            )
        )
        yield server.address
        client.banks.DeleteBank(banks_pb2.DeleteBankRequest(name=bank.name, force=True))


def run_program(service: str, *libraries: Path | str, **environ: str) -> str:
    """Run the program with the libraries of these folders only; return the versions it prints."""
    with scripted() as server:
        # Once per flavour, each time after two failures.
        overloaded = Overloaded("full", retry_after_ms=1)
        server.script[:] = [overloaded, overloaded, None, overloaded, overloaded, None]
        done = subprocess.run(
            [
                *(sys.executable, "-S", "-W", "error"),
                *(PROGRAM, service, server.address, photograph("rocket.jpg")),
            ],
            env={"PYTHONPATH": os.pathsep.join(map(str, libraries)), **environ},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        assert server.script == []
        assert len(server.seen) == 6
    return done.stdout


@pytest.mark.parametrize(("grpcio", "protobuf"), RUNTIMES)
def test_the_client_runs_with(
    service: str, wheel: Path, tmp_path: Path, grpcio: str, protobuf: str
) -> None:
    install = [sys.executable, "-m", "pip", "install", "--only-binary", ":all:"]
    pinned = [f"grpcio=={grpcio}", f"protobuf=={protobuf}"]
    done = subprocess.run(
        [*install, "--target", tmp_path, wheel, *pinned],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"pip cannot install {' '.join(pinned)}: {done.stderr.strip()[-300:]}")
    assert run_program(service, tmp_path) == f"{grpcio} {protobuf}\n"
    # The implementation that is used where there is no wheel for the platform.
    pure = run_program(service, tmp_path, PROTOCOL_BUFFERS_PYTHON_IMPLEMENTATION="python")
    assert pure == f"{grpcio} {protobuf}\n"


def test_the_client_runs_with_the_newest(service: str) -> None:
    libraries = (ROOT / "client", sysconfig.get_path("purelib"), sysconfig.get_path("platlib"))
    run_program(service, *libraries)
