"""Generates the stubs from proto/: `python -m tests.protos` (`make protos`) writes them.

The drift test generates into a folder of its own and compares.
"""

import re
import sys
import tempfile
from importlib import resources
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).parents[1]
STUBS = Path("client/featsvc_client/v1")
_IMPORT = re.compile(r"^from featsvc\.v1 import", re.MULTILINE)


def generate(out: Path) -> None:
    """Write `client/featsvc_client/v1/*_pb2*.py*` below `out`.

    protoc derives imports from the path of the .proto; the stubs live in the client's package.
    """
    files = sorted(str(p.relative_to(ROOT)) for p in (ROOT / "proto").rglob("*.proto"))
    google = resources.files("grpc_tools") / "_proto"
    (out / STUBS).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        arguments = ["protoc", f"-I{ROOT / 'proto'}", f"-I{google}"]
        arguments += [
            f"--{kind}={scratch}" for kind in ("python_out", "pyi_out", "grpc_python_out")
        ]
        if protoc.main(arguments + [f.removeprefix("proto/") for f in files]) != 0:
            sys.exit("protoc failed; its message is above")
        for made in Path(scratch, "featsvc/v1").iterdir():
            # types.proto defines no service, so its service stub is empty.
            if made.name != "types_pb2_grpc.py":
                text = _IMPORT.sub("from featsvc_client.v1 import", made.read_text())
                (out / STUBS / made.name).write_text(text)


if __name__ == "__main__":
    generate(ROOT)
