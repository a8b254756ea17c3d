"""The server and its client are two distributions: what each holds, and what the client needs."""

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from tests.photographs import ROOT
from tests.protos import descriptors

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

# What `make install` adds to a user's environment.
DEV_ONLY = ("skimage", "matplotlib", "imagehash", "grpc_tools", "hypothesis", "pytest", "hatchling")
# Writes down which files of the source tree a Python process opens, and hides `DEV_ONLY`.
TRACE = f"""
import json, os, sys
import featsvc

traced = json.loads(os.environ["TRACED"])
sys.modules |= dict.fromkeys({DEV_ONLY})
out = os.open(traced["out"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
if os.fstat(out).st_size == 0:
    os.write(out, (featsvc.__file__ + "\\n").encode())

def is_in(path, folders):
    return any(path.startswith(folder + os.sep) for folder in folders)

def opened(event, arguments):
    if event == "open" and isinstance(arguments[0], str):
        path = os.path.realpath(arguments[0])
        if is_in(path, traced["trees"]) and not is_in(path, traced["others"]):
            os.write(out, (path + "\\n").encode())

sys.addaudithook(opened)
"""

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


@BOTH
def test_a_wheel_holds_every_file_of_its_packages(
    folder: Path, packages: set[str], tmp_path: Path
) -> None:
    """Links are followed: featsvc.example.toml and proto/ have their sources at the top level."""
    (tmp_path / "out").mkdir()
    names = zipfile.ZipFile(build("wheel", folder, tmp_path / "out")).namelist()
    places = [p for name in packages for p in (folder / name, folder / "kernels" / name)]
    files = {
        str(Path(at, name).relative_to(place.parent))
        for place in places
        for at, _, names in os.walk(place, followlinks=True)
        for name in names
        if not name.endswith((".pyc", ".binpb"))
    }
    assert {name for name in names if ".dist-info" not in name} == files


@pytest.mark.slow
@BOTH
def test_an_sdist_is_enough_to_build_the_wheel(
    folder: Path, packages: set[str], tmp_path: Path
) -> None:
    with tarfile.open(build("sdist", folder, tmp_path)) as sdist:
        sdist.extractall(tmp_path / "unpacked", filter="data")
    (unpacked,) = (tmp_path / "unpacked").iterdir()
    assert_same_wheel(unpacked, folder, tmp_path)


@pytest.mark.slow
@BOTH
def test_the_image_copies_enough_to_build_the_wheel(
    folder: Path, packages: set[str], tmp_path: Path
) -> None:
    copied = tmp_path / "src"
    for line in re.findall(r"^COPY (?!--)(.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        *sources, target = line.split()
        for source in sources:
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, copied / target, symlinks=True)
            else:
                place = copied / target / source if len(sources) > 1 else copied / target
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / source, place, follow_symlinks=False)
    assert_same_wheel(copied / folder.relative_to(ROOT), folder, tmp_path)


def assert_same_wheel(copy: Path, folder: Path, tmp_path: Path) -> None:
    rebuilt, original = (
        build("wheel", source, tmp_path / name)
        for name, source in (("rebuilt", copy), ("original", folder))
    )
    assert rebuilt.name == original.name
    assert rebuilt.read_bytes() == original.read_bytes()


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The packages of both wheels in one folder, without what they depend on."""
    site = tmp_path_factory.mktemp("site")
    for folder in (ROOT, ROOT / "client"):
        wheel = build("wheel", folder, tmp_path_factory.mktemp("wheel"))
        shutil.unpack_archive(wheel, site, "zip")
    return site


@pytest.mark.slow
@pytest.mark.parametrize("command", ["demo", "serve --example-config"])
def test_the_wheels_are_enough_to_run(installed: Path, command: str, tmp_path: Path) -> None:
    """Neither the command nor its children open a file of the source tree or need a dev extra.

    Only the kernels come from the tree, because Numba would compile them anew in another place.
    """
    shutil.rmtree(installed / "featsvc_kernels", ignore_errors=True)
    opened = tmp_path / "opened"
    (tmp_path / "sitecustomize.py").write_text(TRACE)
    trees = [str(Path(path).resolve()) for path in sys.path if (Path(path) / "featsvc").is_dir()]
    others = [sys.prefix, str(ROOT / "kernels")]
    done = subprocess.run(
        [sys.executable, "-m", "featsvc", *command.split()],
        cwd=tmp_path,
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(map(str, (installed, tmp_path, ROOT / "kernels"))),
            "TRACED": json.dumps({"out": str(opened), "trees": trees, "others": others}),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    imported, *files = opened.read_text().splitlines()
    assert imported.startswith(str(installed))
    assert files == []
    if command == "serve --example-config":
        assert done.stdout == (ROOT / "featsvc.example.toml").read_text()


@pytest.mark.slow
def test_the_wheel_holds_the_contract(installed: Path) -> None:
    """It compiles without any other file but protoc's own, to what proto/ says."""
    found = descriptors(folder=installed / "featsvc_client" / "proto", comments=True)
    assert found == descriptors(comments=True)
    imported = {name for file in found.file for name in file.dependency}
    own = {file.name for file in found.file}
    assert all(name.startswith("google/protobuf/") for name in imported - own)


@pytest.mark.slow
@pytest.mark.skipif(
    not all(map(shutil.which, ("protoc", "protoc-gen-go", "protoc-gen-go-grpc"))),
    reason="needs protoc, protoc-gen-go and protoc-gen-go-grpc",
)
def test_go_stubs_come_from_the_documented_command(installed: Path, tmp_path: Path) -> None:
    proto = installed / "featsvc_client" / "proto"
    (options,) = re.findall(r"^\| Go \| `protoc (.*?)` \|", (proto / "README.md").read_text(), re.M)
    (tmp_path / "gen").mkdir()
    files = sorted(map(str, proto.glob("featsvc/v1/*.proto")))
    subprocess.run(["protoc", f"-I{proto}", *options.split(), *files], cwd=tmp_path, check=True)
    made = list((tmp_path / "gen" / "featsvc" / "v1").glob("*.go"))
    assert len(made) == 11  # six files, five of which define services
    assert all(re.search("^package featsvcv1$", p.read_text(), re.MULTILINE) for p in made)


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


@pytest.mark.slow
def test_the_client_needs_no_newer_python_than_it_says() -> None:
    project = tomllib.loads((ROOT / "client" / "pyproject.toml").read_text())["project"]
    oldest = project["requires-python"].removeprefix(">=")
    files = map(str, (ROOT / "client" / "featsvc_client").rglob("*.py"))
    options = [f"--target={oldest}-", "--violations", "--no-tips"]
    command = [sys.executable, "-c", "from vermin import main; main()", *options, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout


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
