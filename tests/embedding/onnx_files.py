"""Small ONNX files, written byte by byte so that tests need no exporter.

Field numbers are from `onnx.proto`.
"""

import hashlib
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from featsvc.embedding import ModelSpec, Preprocessing

Dim = int | str
FLOAT, DOUBLE = 1, 11

needs_onnxruntime = pytest.mark.skipif(
    find_spec("onnxruntime") is None, reason="needs the extra `embed`"
)


def varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def integer(field: int, value: int) -> bytes:
    return varint(field << 3) + varint(value)


def message(field: int, content: bytes | str) -> bytes:
    data = content.encode() if isinstance(content, str) else content
    return varint(field << 3 | 2) + varint(len(data)) + data


def tensor_info(name: str, shape: Sequence[Dim], kind: int = FLOAT) -> bytes:
    dims = b"".join(
        message(1, integer(1, d) if isinstance(d, int) else message(2, d)) for d in shape
    )
    return message(1, name) + message(2, message(1, integer(1, kind) + message(2, dims)))


def node(op: str, inputs: Sequence[str], output: str, **ints: Sequence[int] | int) -> bytes:
    attributes = b""
    for name, value in ints.items():
        if isinstance(value, int):
            attribute = integer(3, value) + integer(20, 2)
        else:
            attribute = b"".join(integer(8, v) for v in value) + integer(20, 7)
        attributes += message(5, message(1, name) + attribute)
    names = b"".join(message(1, name) for name in inputs)
    return names + message(2, output) + message(4, op) + attributes


def constant(name: str, values: NDArray[np.float32]) -> bytes:
    dims = b"".join(integer(1, d) for d in values.shape)
    return dims + integer(2, FLOAT) + message(8, name) + message(9, values.tobytes())


def onnx_file(
    nodes: Sequence[bytes],
    inputs: Sequence[bytes],
    outputs: Sequence[bytes],
    constants: Sequence[bytes] = (),
    opset: int = 13,
) -> bytes:
    graph = b"".join(message(1, n) for n in nodes) + message(2, "graph")
    graph += b"".join(message(5, c) for c in constants)
    graph += b"".join(message(11, i) for i in inputs) + b"".join(message(12, o) for o in outputs)
    return integer(1, 7) + message(7, graph) + message(8, integer(2, opset))


def channel_means(*, batch: Dim = "batch", side: Dim = 8, opset: int = 13) -> bytes:
    """A model with the channel means as an inner tensor `pooled`, and their softmax as `scores`."""
    return onnx_file(
        [
            node("ReduceMean", ["pixels"], "pooled", axes=[2, 3], keepdims=0),
            node("Softmax", ["pooled"], "scores", axis=1),
        ],
        [tensor_info("pixels", [batch, 3, side, side])],
        [tensor_info("scores", [batch, 3])],
        opset=opset,
    )


def root_of_red_minus_green() -> bytes:
    """A model of sqrt(red - green), twice: NaN for a picture with more green than red."""
    return onnx_file(
        [
            node("ReduceMean", ["pixels"], "means", axes=[2, 3], keepdims=0),
            node("MatMul", ["means", "difference"], "gap"),
            node("Sqrt", ["gap"], "pooled"),
        ],
        [tensor_info("pixels", ["batch", 3, 8, 8])],
        [tensor_info("pooled", ["batch", 2])],
        [constant("difference", np.array([[1, 1], [-1, -1], [0, 0]], np.float32))],
    )


def two_layers(hidden: int, outputs: int) -> bytes:
    """Two dense layers over 3 x 32 x 32 pixels, which spend their time on reading weights."""
    rng = np.random.default_rng(0)
    layers = [
        rng.normal(0, size[0] ** -0.5, size).astype(np.float32)
        for size in ((3 * 32 * 32, hidden), (hidden, outputs))
    ]
    return onnx_file(
        [
            node("Flatten", ["pixels"], "flat", axis=1),
            node("MatMul", ["flat", "first"], "hidden"),
            node("Relu", ["hidden"], "bent"),
            node("MatMul", ["bent", "second"], "pooled"),
        ],
        [tensor_info("pixels", ["batch", 3, 32, 32])],
        [tensor_info("pooled", ["batch", outputs])],
        [constant("first", layers[0]), constant("second", layers[1])],
    )


def write(folder: Path, content: bytes, name: str = "model.onnx") -> tuple[Path, str]:
    """Write a file; return its path and SHA-256."""
    file = folder / name
    file.write_bytes(content)
    return file, hashlib.sha256(content).hexdigest()


def means_spec(folder: Path, content: bytes | None = None, **changes: object) -> ModelSpec:
    """A spec of `channel_means` or of other content, with changes."""
    path, sha256 = write(folder, channel_means() if content is None else content)
    values: dict[str, object] = {
        "name": "means",
        "version": 1,
        "path": path,
        "sha256": sha256,
        "preprocessing": Preprocessing(size=(8, 8)),
        "embedding_output": "pooled",
        "scores_output": "scores",
        "labels": ("red", "green", "blue"),
    }
    return ModelSpec(**(values | changes))  # type: ignore[arg-type]


def models_file(folder: Path, sha256: str = "") -> Path:
    """Declare `means`, with a vector and scores, and `odd`, with a vector or NaN."""
    means, means_sha256 = write(folder, channel_means(), "means.onnx")
    odd, odd_sha256 = write(folder, root_of_red_minus_green(), "odd.onnx")
    file = folder / "models.toml"
    file.write_text(f"""
[[models]]
name = "means"
version = 3
path = "{means.name}"
sha256 = "{sha256 or means_sha256}"
embedding_output = "pooled"
scores_output = "scores"
labels = ["red", "green", "blue"]
preprocessing = {{ size = [8, 8] }}

[[models]]
name = "odd"
version = 1
path = "{odd.name}"
sha256 = "{odd_sha256}"
embedding_output = "pooled"
preprocessing = {{ size = [8, 8] }}
""")
    return file
