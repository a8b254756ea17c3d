"""What every benchmark records besides its times: the versions that were measured."""

from importlib import metadata

import pytest

MEASURED = (
    "featsvc", "numpy", "numba", "faiss-cpu", "grpcio", "redis", "hiredis", "simplejpeg", "pillow",
    "pdqhash", "imagehash", "threatexchange", "onnxruntime", "datasketch", "scikit-image",
)  # fmt: skip


def pytest_benchmark_update_machine_info(
    config: pytest.Config, machine_info: dict[str, object]
) -> None:
    """The machine stands there already; add the packages."""
    installed = {}
    for name in MEASURED:
        try:
            installed[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            installed[name] = "not installed"
    machine_info["packages"] = installed
