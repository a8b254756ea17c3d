"""All commands of docs/curators.md work, run from the first to the last."""

import csv
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from tests.integration.running import Running
from tests.photographs import ROOT, edited, jpeg, photograph

GUIDE = (ROOT / "docs" / "curators.md").read_text()
SAID = {
    "import": ("row", "entr"),
    "find": ("case-12",),
    "diff": ("withdrawn", "5 changes"),
    "rollback": ("restored",),
    "log": ("full list of May", "first delivery"),
    "decisions": ("withdrawn", "labels: x, checked (list: x)", "opinion: disputed (list: none)"),
    "edit": ("1 entry edited, revision",),
    "restore": ("1 entry restored, revision",),
    "overlap": ("holds 0 of the",),
    "list": ("known-good",),
}
"""What people are to read, for commands of the guide on its own files."""
COMMANDS = re.findall(r"^\$ (featsvc .*)$", GUIDE, re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, server: Running) -> Path:
    """A folder with the files that the guide uses."""
    header = "algorithm,signal,external_id,labels\n"
    rows = [f"pdq,{i * 0x1234567 + 2**255:064x},p{i},x\n" for i in range(20)]
    (tmp_path / "partner-a.csv").write_text(header + "".join(rows))
    (tmp_path / "partner-a-full.csv").write_text(header + "".join(rows[5:]))
    (tmp_path / "sha256-list.txt").write_text(f"{7:064x}\n{8:064x}\n")
    (tmp_path / "delivery.csv").write_text(f"kind;fingerprint\nmd5;{9:032x}\n")
    (tmp_path / "picture.jpg").write_bytes(photograph("rocket.jpg").read_bytes())
    (tmp_path / "copy.jpg").write_bytes(edited("rocket.jpg"))
    for kind in ("bad", "good"):
        (tmp_path / "samples" / kind).mkdir(parents=True)
    (tmp_path / "samples" / "bad" / "copy.jpg").write_bytes(edited("rocket.jpg"))
    for name in ("coffee.png", "astronaut.png", "chelsea.png"):
        with Image.open(photograph(name)) as image:
            (tmp_path / "samples" / "good" / f"{name}.jpg").write_bytes(jpeg(image))
    (tmp_path / "samples" / "good" / "notes.txt").write_text("no picture")
    for kind, name, content in (
        ("pictures", "copy.jpg", edited("coffee.png")),
        ("texts", "lure.txt", b"Claim your gift card within the next 24 hours, dear friend."),
    ):
        (tmp_path / kind).mkdir()
        (tmp_path / kind / name).write_bytes(content)
    return tmp_path


def run(
    server: Running, folder: Path, *arguments: str, stdin: str = ""
) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join(map(str, (ROOT, ROOT / "kernels", ROOT / "client")))
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=folder,
        env={**os.environ, "FEATSVC_SERVER": server.address, "PYTHONPATH": path},
        input=stdin,
        capture_output=True,
        text=True,
        check=False,
    )


def bank(server: Running, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return run(server, folder, "featsvc", "bank", *arguments)


def test_the_commands(server: Running, folder: Path) -> None:
    assert len(COMMANDS) >= 25
    numbers: list[str] = []
    seen = {}
    for written in COMMANDS:
        command = _shifted(server, folder, written)
        if re.search(r" (quarantine|edit|restore|--entry) ", command):
            # The numbers of entries depend on what other tests imported before.
            if not numbers:
                listed = bank(server, folder, "entries", "partner-a", "--json")
                numbers = re.findall(r'"entry_id":"(\d+)"', listed.stdout)
            named = dict(zip(("21", "22", "23"), numbers, strict=False))
            command = re.sub(
                r"(?<=partner-a )\d+|(?<=--entry )\d+",
                lambda name, named=named: named[name.group()],  # type: ignore[misc]
                command,
            )
        piped = ""
        for part in command.split(" | "):
            result = run(server, folder, *shlex.split(part), stdin=piped)
            assert result.returncode == 0, f"{part}\n{result.stdout}\n{result.stderr}"
            piped = result.stdout
        assert result.stdout + result.stderr, f"{command} says nothing"
        seen[written] = result.stdout
        if command.startswith("featsvc bank evaluate"):
            assert "<- suggested" in result.stdout
            assert "left out 1 sample that could not be read\n" in result.stderr
    for written, shown in seen.items():
        for words in SAID.get(written.split()[2], ()):
            assert words in shown, f"{written} does not say {words!r}"
    with (folder / "thresholds.csv").open() as file:
        table = list(csv.DictReader(file))
    assert len(table) > 31
    assert float(table[31]["recall"]) == 1
    assert (folder / "thresholds.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "partner-a.jsonl").read_text().count("\n") >= 15


def _shifted(server: Running, folder: Path, command: str) -> str:
    """Replace the revisions of the guide by those of the bank: the second one for 2."""
    if not re.search(r"diff|rollback|--revision", command):
        return command
    listed = bank(server, folder, "log", "partner-a", "--json")
    numbers = sorted(int(n) for n in re.findall(r'"revision":(\d+)', listed.stdout))
    return re.sub(r"(?<= )(\d+)\b", lambda m: str(numbers[int(m.group()) - 1]), command)
