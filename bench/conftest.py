"""Record the versions of the measured packages with every benchmark."""

from importlib import metadata

import pytest

from featsvc.cli.kernels import prepare_kernels

MEASURED = (
    *("featsvc", "numpy", "numba", "faiss-cpu", "grpcio", "redis", "hiredis", "simplejpeg"),
    *("pillow", "pdqhash", "imagehash", "threatexchange", "onnxruntime", "datasketch"),
    "scikit-image",
)


def pytest_sessionstart() -> None:
    """Compile kernels before anything is measured."""
    prepare_kernels("serve")


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, object]
) -> None:
    """Add the packages to the machine info."""
    installed = {}
    for name in MEASURED:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "not installed"
    machine_info["packages"] = installed
