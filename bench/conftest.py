"""Record the versions of the measured packages with every benchmark."""

from importlib import metadata

import pytest

MEASURED = (
    *("featsvc", "numpy", "numba", "faiss-cpu", "grpcio", "redis", "hiredis", "simplejpeg"),
    *("pillow", "pdqhash", "imagehash", "threatexchange", "onnxruntime", "datasketch"),
    "scikit-image",
)


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
