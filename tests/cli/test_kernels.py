"""Kernels are compiled before a command needs them, and stderr says so."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from featsvc_kernels.compiling import SECONDS

from featsvc.cli.kernels import NEEDED
from tests.photographs import ROOT

pytestmark = pytest.mark.slow

USED = """
import sys
from featsvc.cli.main import cli
cli(sys.argv[1:], standalone_mode=False)
print(*(m.partition(".")[2] for m in sys.modules if m.startswith("featsvc_kernels.")))
"""
DEFINITIONS = str(ROOT / "featsvc/accounts/features.toml")


def command(
    *arguments: str, program: str = "", **environ: str
) -> "subprocess.CompletedProcess[str]":
    start = ["-c", program] if program else ["-m", "featsvc"]
    return subprocess.run(
        [sys.executable, *start, *arguments],
        env={**os.environ, **environ},
        capture_output=True,
        text=True,
        check=True,
    )


@pytest.mark.parametrize("name", ["hash", "features"])
def test_a_command_needs_the_kernels_that_it_uses(name: str) -> None:
    picture = str(ROOT / "tests/cli/test_kernels.py")
    arguments = {
        "hash": ["--as-text", picture],
        "features": ["validate", DEFINITIONS],
    }[name]
    load_all = "import featsvc.hashing.warm\nfeatsvc.hashing.warm.warm()\n"
    program = USED.replace("print(", load_all + "print(") if name != "features" else USED
    done = command(name, *arguments, program=program)
    assert {*done.stdout.splitlines()[-1].split()} & SECONDS.keys() == {*NEEDED[name]}


def test_only_a_first_start_compiles_and_says_so(tmp_path: Path) -> None:
    environ = {name: str(tmp_path) for name in ("NUMBA_CACHE_DIR", "XDG_CACHE_HOME")}
    assert "compiling" not in command("features", "--help", **environ).stderr
    first = command("features", "validate", "--json", DEFINITIONS, **environ)
    assert json.loads(first.stdout)["valid"] is True
    said, *progress = first.stderr.splitlines()
    assert said.startswith("compiling kernels once, about ")
    assert progress[-1].split(" in ")[0] == "compiled 100% of the kernels"
    again = command("features", "validate", "--json", DEFINITIONS, **environ)
    assert (again.stdout, again.stderr) == (first.stdout, "")


def test_a_start_without_a_writable_folder_says_what_to_do(tmp_path: Path) -> None:
    nowhere = {"NUMBA_CACHE_DIR": "/proc/1", "XDG_CACHE_HOME": "/proc/1", "TMPDIR": str(tmp_path)}
    done = command("features", "validate", DEFINITIONS, **nowhere)
    assert "compiling kernels for this run only" in done.stderr
    assert "set NUMBA_CACHE_DIR" in done.stderr
    assert list(tmp_path.iterdir()) == []
