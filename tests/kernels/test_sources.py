"""Dependencies of kernel modules, against `grimp` and for each form of import."""

import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import grimp
import pytest
from featsvc_kernels import sources

Package = dict[str, tuple[Path, bytes]]

CALLER, CALLEE = "featsvc_kernels.caller", "featsvc_kernels.callee"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Package]:
    """Replace the real package by one of four empty modules."""
    modules: Package = {}
    for name in ("featsvc_kernels", CALLER, CALLEE, "featsvc_kernels.other"):
        stem = "__init__" if name == "featsvc_kernels" else name.rpartition(".")[2]
        path = tmp_path / f"{stem}.py"
        path.write_bytes(b"")
        modules[name] = path, b""
    monkeypatch.setattr(sources, "_SOURCES", modules)
    sources._imported_names.cache_clear()
    yield modules
    sources._imported_names.cache_clear()


def test_dependencies_are_those_of_the_import_graph() -> None:
    graph = grimp.build_graph("featsvc_kernels", cache_dir=None)
    around = {"featsvc_kernels", "featsvc_kernels.sources"}
    for module in graph.modules - around:
        expected = {module, *graph.find_upstream_modules(module), *around}
        assert sources.find_dependencies(module) == expected
        assert sources.fingerprint(module) is not None


def test_no_kernel_depends_on_a_twin() -> None:
    modules = grimp.build_graph("featsvc_kernels", cache_dir=None).modules
    for module in modules - {"featsvc_kernels"}:
        if "reference_" not in module:
            assert not any("reference_" in name for name in sources.find_dependencies(module) or ())


@pytest.mark.parametrize(
    "statement",
    [
        "from featsvc_kernels.callee import CONSTANT",
        "from featsvc_kernels.callee import *",
        "from featsvc_kernels import callee",
        "from featsvc_kernels import *",
        "from .callee import CONSTANT",
        "from . import callee",
        "import featsvc_kernels.callee as short",
        "import featsvc_kernels.callee",
        "import featsvc_kernels",
        "import math, featsvc_kernels.callee as short",
        "def late():\n    from .callee import CONSTANT",
        "try:\n    pass\nexcept ImportError:\n    from . import callee",
        "match 1:\n    case 1:\n        while True:\n            from . import callee",
    ],
)
def test_every_form_of_import_counts(package: Package, statement: str) -> None:
    package[CALLER] = package[CALLER][0], statement.encode()
    dependencies = sources.find_dependencies(CALLER)
    assert dependencies is not None
    assert dependencies >= {CALLER, CALLEE, "featsvc_kernels"}
    names_one_module = "callee" in statement and statement != "import featsvc_kernels.callee"
    assert ("featsvc_kernels.other" in dependencies) != names_one_module


def test_indirect_and_circular_imports_count(
    package: Package,
) -> None:
    package[CALLER] = package[CALLER][0], b"from . import callee"
    package[CALLEE] = package[CALLEE][0], b"from .other import X\nfrom .caller import Y"
    assert sources.find_dependencies(CALLER) == set(package)


def test_a_module_without_a_readable_source_has_no_fingerprint(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    binary = "featsvc_kernels.binary"
    package[CALLER] = package[CALLER][0], b"from featsvc_kernels import binary"
    package[CALLER][0].write_bytes(package[CALLER][1])
    monkeypatch.setitem(sys.modules, binary, ModuleType(binary))
    assert sources.fingerprint(CALLER) is None
    assert sources.fingerprint(binary) is None


def test_a_source_that_changed_since_the_start_has_no_fingerprint(
    package: Package,
) -> None:
    package[CALLER] = package[CALLER][0], b"from featsvc_kernels import callee"
    package[CALLER][0].write_bytes(package[CALLER][1])
    assert sources.fingerprint(CALLER) is not None
    package[CALLEE][0].write_bytes(b"CONSTANT = 2")
    assert sources.fingerprint(CALLER) is None
    assert sources.fingerprint("featsvc_kernels.other") is not None
    package[CALLEE][0].unlink()
    assert sources.fingerprint(CALLER) is None
