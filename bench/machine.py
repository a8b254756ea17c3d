"""Which machine measured: processor, cores, Python, packages and commit."""

import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path

from bench.size import SIZE

PACKAGES = (
    *("numpy", "numba", "faiss-cpu", "grpcio", "redis", "hiredis", "simplejpeg", "pillow"),
    *("onnxruntime", "scikit-image", "imagehash", "pdqhash", "threatexchange", "datasketch"),
    "py-tlsh",
)
ROOT = Path(__file__).parents[1]


def processor() -> str:
    """The model, and the widest vectors that kernels may use."""
    facts: dict[str, str] = {}
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    flags = facts.get("flags", "").split()
    vectors = next((v for v in ("avx512f", "avx2", "avx") if v in flags), "no AVX")
    return f"{facts.get('model name', platform.machine())} ({vectors})"


def commit() -> str:
    """The commit of this checkout, with `+changes` where files differ from it."""
    command = ("git", "describe", "--always", "--dirty=+changes", "--exclude=*")
    try:
        found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "not a checkout"
    return found.stdout.strip()


def packages() -> dict[str, str]:
    """Versions of the packages that are measured and installed."""
    installed = {}
    for name in PACKAGES:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return installed


def machine() -> dict[str, object]:
    """What pytest-benchmark does not tell of a machine, and a figure needs to mean something."""
    return {
        "processor": processor(),
        "cores": len(os.sched_getaffinity(0)),
        "size": SIZE,
        "packages": packages(),
    }


def load() -> float:
    """Processes that ran in the last minute; it tells how far times can be trusted."""
    return round(os.getloadavg()[0], 1)


def headline() -> str:
    """Machine and software in two lines."""
    busy = f", load {load()}" if load() else ""
    versions = ", ".join(f"{name} {packages()[name]}" for name in ("numpy", "numba"))
    return (
        f"machine: {len(os.sched_getaffinity(0))} cores of {processor()}{busy}\n"
        f"python {platform.python_version()}, {versions}, commit {commit()}, size {SIZE}"
    )
