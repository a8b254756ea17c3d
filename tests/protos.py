"""Compiles proto/: `python -m tests.protos` (`make protos`) writes the client's stubs.

With `--check` it writes nothing, and fails if the stubs are not what proto/ says.

The stubs run with older protobuf and grpcio than protoc writes them for (ADR 7). What it writes is
a serialized descriptor for the runtime's builder, which even protobuf 4.21 has, and a check of the
runtime's version, which `_for_every_runtime` leaves out. tests/integration/test_runtimes.py runs
them with real old runtimes.
"""

import re
import sys
import sysconfig
import tempfile
from importlib import resources
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
PROTO = ROOT / "proto"
STUBS = Path("client/featsvc_client/v1")
_IMPORT = re.compile(r"^from featsvc\.v1 import", re.MULTILINE)

# What changes in files whose names end so: a pattern that must be there, and its replacement.
_MESSAGES = (
    (r"^from google\.protobuf import runtime_version as _runtime_version\n", ""),
    (r"^_runtime_version\.ValidateProtobufRuntimeVersion\(\n(?: .*\n)+\)\n", ""),
)
_SERVICES = (
    (
        r"^GRPC_GENERATED_VERSION = (?:.*\n)+?    \)\n",
        "# Registered methods came with grpcio 1.63; they make a call cheaper.\n"
        "_REGISTERED = (\n"
        "    {'_registered_method': True}\n"
        "    if '_registered_method' in grpc.Channel.unary_unary.__code__.co_varnames\n"
        "    else {}\n"
        ")\n",
    ),
    (r"^import warnings\n", ""),
    (r"\n\n # This class is part of an EXPERIMENTAL API\.\nclass (?:.*\n)+?(?=\n\nclass |\Z)", ""),
    (r"\b_registered_method=True\b", "**_REGISTERED"),
    (
        r"^    (server\.add_registered_method_handlers\()",
        r"    if hasattr(server, 'add_registered_method_handlers'):\n        \1",
    ),
)
_SERVICE_TYPES = ((r"^GRPC_(?:GENERATED_)?VERSION: str\n", ""),)
_FOR_EVERY_RUNTIME = {
    "_pb2.py": _MESSAGES,
    "_pb2_grpc.py": _SERVICES,
    "_pb2_grpc.pyi": _SERVICE_TYPES,
}
# protoc types the messages only; this plugin types the service stubs, blocking and asyncio.
_PLUGIN = Path(sysconfig.get_path("scripts"), "protoc-gen-mypy_grpc")


def generate(out: Path) -> None:
    """Write `client/featsvc_client/v1/*_pb2*.py*` below `out`.

    protoc derives imports from the path of the .proto; the stubs live in the client's package.
    """
    (out / STUBS).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        _protoc(
            f"--python_out={scratch}",
            f"--pyi_out={scratch}",
            f"--grpc_python_out={scratch}",
            f"--plugin={_PLUGIN}",
            f"--mypy_grpc_out=quiet:{scratch}",
        )
        for made in Path(scratch, "featsvc/v1").iterdir():
            # types.proto defines no service, so its service stubs are empty.
            if made.stem != "types_pb2_grpc":
                text = _IMPORT.sub("from featsvc_client.v1 import", made.read_text())
                text = _for_every_runtime(made.name, text)
                (out / STUBS / made.name).write_text(text)


def _for_every_runtime(name: str, text: str) -> str:
    """Return the text of a stub without its demands on the version of its runtime."""
    for end, changes in _FOR_EVERY_RUNTIME.items():
        if name.endswith(end):
            for pattern, replacement in changes:
                text, count = re.subn(pattern, replacement, text, flags=re.MULTILINE)
                if not count:
                    sys.exit(f"{name}: protoc no longer writes {pattern!r}; change tests/protos.py")
    return text


def drifted() -> list[str]:
    """Names of stubs that are missing, left over or not what proto/ says."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh, committed = _stubs(Path(scratch)), _stubs(ROOT)
    names = fresh.keys() | committed.keys()
    return sorted(name for name in names if fresh.get(name) != committed.get(name))


def _stubs(folder: Path) -> dict[str, str]:
    return {p.name: p.read_text() for p in (folder / STUBS).glob("*_pb2*")}


def descriptors(*, comments: bool = False, folder: Path = PROTO) -> FileDescriptorSet:
    """The files of `folder` without what they import, with or without their comments."""
    with tempfile.TemporaryDirectory() as scratch:
        out = Path(scratch, "set")
        options = [f"--descriptor_set_out={out}", *(["--include_source_info"] if comments else [])]
        _protoc(*options, folder=folder)
        return FileDescriptorSet.FromString(out.read_bytes())


def _protoc(*options: str, folder: Path = PROTO) -> None:
    files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*.proto"))
    google = resources.files("grpc_tools") / "_proto"
    if protoc.main(["protoc", f"-I{folder}", f"-I{google}", *options, *files]) != 0:
        sys.exit("protoc failed; its message is above")


if __name__ == "__main__":
    if sys.argv[1:] != ["--check"]:
        generate(ROOT)
    elif names := drifted():
        sys.exit(f"{', '.join(names)}: not what proto/ says; run `make protos` and commit {STUBS}")
