"""Generates the stubs from proto/: `python -m tests.protos` (`make protos`) writes them.

The drift test generates into a folder of its own and compares.
"""

import sys
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
STUBS = Path("featsvc/v1")


def generate(out: Path) -> None:
    """Write `featsvc/v1/*_pb2*.py*` below `out`."""
    files = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "proto").rglob("*.proto"))
    google = resources.files("grpc_tools") / "_proto"
    arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{google}"]
    arguments += [f"--{kind}={out}" for kind in ("python_out", "pyi_out", "grpc_python_out")]
    if protoc.main(arguments + [f.removeprefix("proto/") for f in files]) != 0:
        sys.exit("protoc failed; its message is above")
    # It defines no service, so its service stub is empty.
    (out / STUBS / "types_pb2_grpc.py").unlink()


if __name__ == "__main__":
    generate(ROOT)
