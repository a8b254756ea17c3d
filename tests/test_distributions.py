"""The server and its client are two distributions: what each holds, and what the client needs."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.photographs import ROOT

SERVER_ONLY = (
    "featsvc",
    "featsvc_kernels",
    "numpy",
    "numba",
    "faiss",
    "PIL",
    "sqlalchemy",
    "redis",
)


VERSION = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]["version"]
BOTH = pytest.mark.parametrize(
    ("folder", "packages"),
    [(ROOT, {"featsvc", "featsvc_kernels"}), (ROOT / "client", {"featsvc_client"})],
    ids=["server", "client"],
)


def build(target: str, folder: Path, out: Path) -> Path:
    """Build the "wheel" or "sdist" of the distribution in `folder`; return its file."""
    command = [sys.executable, "-m", "hatchling", "build", "-t", target, "-d", str(out)]
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    (built,) = out.glob("*.whl" if target == "wheel" else "*.tar.gz")
    return built


@BOTH
def test_a_wheel_holds_its_packages(folder: Path, packages: set[str], tmp_path: Path) -> None:
    names = zipfile.ZipFile(build("wheel", folder, tmp_path)).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == packages
    for package in packages:
        assert f"{package}/py.typed" in names


@pytest.mark.slow
@BOTH
def test_an_sdist_is_enough_to_build_the_wheel(
    folder: Path, packages: set[str], tmp_path: Path
) -> None:
    with tarfile.open(build("sdist", folder, tmp_path)) as sdist:
        sdist.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    rebuilt, original = (build("wheel", f, tmp_path / f.name) for f in (unpacked, folder))
    assert rebuilt.name == original.name
    assert rebuilt.read_bytes() == original.read_bytes()


def test_both_have_the_version_of_the_client(tmp_path: Path) -> None:
    assert build("wheel", ROOT, tmp_path).name.startswith(f"featsvc-{VERSION}-")


def test_the_changelog_leads_with_this_version_or_the_next() -> None:
    (first, *_) = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first in ("Unreleased", VERSION)


def test_the_server_requires_a_client_that_knows_its_contract() -> None:
    """A patch release adds nothing to the contract, so major and minor version are the floor."""
    server = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    major, minor, _ = VERSION.split(".")
    assert f"featsvc-client>={major}.{minor}" in server["dependencies"]


def test_the_client_needs_nothing_of_the_server() -> None:
    program = f"""
import sys, featsvc_client
from featsvc_client.v1 import banks_pb2, features_pb2, hashing_pb2, matching_pb2, screening_pb2
with featsvc_client.Client("127.0.0.1:1"):
    pass
found = {{name.split(".")[0] for name in sys.modules}} & set({SERVER_ONLY!r})
sys.exit(f"loaded: {{sorted(found)}}" if found else 0)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
