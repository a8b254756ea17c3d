"""The server and its client are two distributions: what each holds, and what the client needs."""

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import Any

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


def project(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    return found


def test_both_have_one_version() -> None:
    assert project(ROOT)["version"] == project(ROOT / "client")["version"]


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


@pytest.mark.parametrize(
    ("folder", "packages"),
    [(ROOT, {"featsvc", "featsvc_kernels"}), (ROOT / "client", {"featsvc_client"})],
    ids=["server", "client"],
)
def test_a_wheel_holds_its_packages(folder: Path, packages: set[str], tmp_path: Path) -> None:
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=folder, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == packages
    for package in packages:
        assert f"{package}/py.typed" in names
