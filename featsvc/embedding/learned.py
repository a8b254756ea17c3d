"""Learned models in ONNX format, run by ONNX Runtime (the extra `embed`).

A model is a local file with its SHA-256 and preprocessing. Nothing is downloaded, and only a file
with the declared checksum is loaded. It is read once, so the checked bytes are the loaded ones.
Weights in further files are refused, since no checksum covers them.

Loading runs the model on a grey, a black and a white picture and checks input and output shapes,
batches, NaN, and scores outside 0 to 1.
"""

import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from featsvc_kernels import embedding as kernels
from numpy.typing import NDArray

from featsvc.embedding.model_file import Activation, ModelSpec
from featsvc.embedding.models import Model
from featsvc.embedding.onnx_outputs import with_output
from featsvc.errors import ConfigInvalid, DataCorrupt, FeatsvcError

MAX_MODEL_BYTES = 2**31 - 1
"""Protobuf's own limit on one message."""
MAX_DIMENSIONS = 16_384

_SCORE_SLACK = 1e-3


@dataclass(frozen=True, slots=True, eq=False)
class Inference:
    """Result of a model for one picture.

    `vector` is float32 of length 1, or None where the model has none or it was all zeros; `scores`
    are in the order of the model's labels.
    """

    vector: NDArray[np.float32] | None
    scores: tuple[float, ...]


class OnnxEmbedder:
    """A loaded and checked model. Thread-safe: several threads may call `run`."""

    def __init__(self, spec: ModelSpec) -> None:
        """Load and check the model.

        Raises ConfigInvalid (extra or file missing, wrong shapes or names) and DataCorrupt
        (checksum, damaged file, NaN); both name the model and the file.
        """
        self._spec = spec
        self._where = f"model {spec.name} ({spec.path})"
        self.preprocessing = spec.preprocessing
        content = _read_checked(spec.path, spec.sha256, self._where)
        for name in self._output_names():
            content = with_output(content, name)
        self._session = _open_session(content, self._where)
        self._input, fixed_rows = self._check_input()
        self.max_batch = fixed_rows or None
        """1 where the file does not support batches, otherwise None."""
        self.row_s = 0.0
        """Seconds that one picture took in the probe."""
        self.model = Model(
            spec.name, spec.version, self._probe(), spec.description, tuple(spec.labels)
        )

    def run(self, batch: NDArray[np.float32]) -> Sequence[Inference | FeatsvcError]:
        """Run a batch (N, *preprocessing.shape); the result of a row with NaN is an error.

        Raises DataCorrupt where the whole batch fails.
        """
        arrays = self._forward(batch)
        vectors = arrays.pop(0) if self._spec.embedding_output else None
        scores = _activate(arrays.pop(0), self._spec.activation) if self._spec.labels else None
        return [
            self._row(
                vectors[i] if vectors is not None else None,
                scores[i] if scores is not None else None,
            )
            for i in range(len(batch))
        ]

    def _output_names(self) -> list[str]:
        return [n for n in (self._spec.embedding_output, self._spec.scores_output) if n]

    def _forward(self, batch: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Return the declared outputs, each (N, D) float32."""
        try:
            outputs = self._session.run(self._output_names(), {self._input: batch})
        except _runtime_errors() as exc:
            raise DataCorrupt(
                f"{self._where} failed on a batch of {len(batch)}: {_first_line(exc)}"
            ) from exc
        arrays = []
        for name, output in zip(self._output_names(), outputs, strict=True):
            if output.dtype.kind != "f" or not output.shape or output.shape[0] != len(batch):
                raise ConfigInvalid(
                    f"{self._where}: output {name!r} is {output.dtype} {output.shape} for a batch "
                    f"of {len(batch)}; name a float output whose first axis is the batch"
                )
            arrays.append(output.reshape(len(batch), -1).astype(np.float32, copy=False))
        return arrays

    def _row(
        self, vector: NDArray[np.float32] | None, scores: NDArray[np.float32] | None
    ) -> Inference | FeatsvcError:
        for values in (vector, scores):
            if values is not None and not np.isfinite(values).all():
                return DataCorrupt(
                    f"{self._where} returned NaN or infinity for this picture; check its file and "
                    "its preprocessing"
                )
        if scores is not None and not _within_unit(scores):
            return DataCorrupt(
                f"{self._where} returned scores outside 0 to 1; for logits, declare activation = "
                "softmax or sigmoid"
            )
        if vector is not None:
            # The array of the batch is shared and may belong to the runtime.
            vector = vector.copy()
            if not kernels.normalise(vector):
                vector = None
        unit = () if scores is None else tuple(float(s) for s in np.clip(scores, 0, 1))
        return Inference(vector, unit)

    def _check_input(self) -> tuple[str, int]:
        """Return the name of the only input, and its fixed number of rows (0: any)."""
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            types = ", ".join(f"{i.name}: {i.type}" for i in inputs)
            raise ConfigInvalid(
                f"{self._where} takes {types}; featsvc runs models with one tensor(float) input"
            )
        shape, tensor_shape = inputs[0].shape, self.preprocessing.shape
        fits = len(shape) == 1 + len(tensor_shape) and all(
            not isinstance(declared, int) or declared == actual
            for declared, actual in zip(shape[1:], tensor_shape, strict=True)
        )
        if not fits:
            raise ConfigInvalid(
                f"{self._where} takes {shape}, but the preprocessing produces (batch, "
                f"{', '.join(map(str, tensor_shape))}); correct its size or layout"
            )
        rows = shape[0] if isinstance(shape[0], int) else 0
        if rows > 1:
            raise ConfigInvalid(
                f"{self._where} takes batches of exactly {rows} pictures; export it with a dynamic "
                "batch axis"
            )
        return str(inputs[0].name), rows

    def _probe(self) -> int:
        """Run one picture, then a batch; return the length of a vector, 0 for none."""
        greys = [np.full((8, 8), level, np.uint8) for level in (128, 0, 255)]
        pictures = np.stack([self.preprocessing.apply(grey) for grey in greys])
        dimensions = self._check_lengths(self._forward(pictures[:1]))
        started = time.monotonic()
        results = list(self.run(pictures[:1]))
        self.row_s = time.monotonic() - started
        if self.max_batch is None:
            results += self.run(pictures)
        for result in results:
            if isinstance(result, FeatsvcError):
                raise result
        return dimensions

    def _check_lengths(self, arrays: list[NDArray[np.float32]]) -> int:
        dimensions = 0
        if self._spec.embedding_output:
            dimensions = arrays[0].shape[1]
            declared = self._spec.dimensions
            if dimensions != (declared or dimensions) or not 0 < dimensions <= MAX_DIMENSIONS:
                raise ConfigInvalid(
                    f"{self._where}: output {self._spec.embedding_output!r} has {dimensions} "
                    f"values, not {declared or f'1 to {MAX_DIMENSIONS}'}"
                )
        if self._spec.labels and arrays[-1].shape[1] != len(self._spec.labels):
            raise ConfigInvalid(
                f"{self._where}: output {self._spec.scores_output!r} has {arrays[-1].shape[1]} "
                f"values for {len(self._spec.labels)} labels"
            )
        return dimensions


def _read_checked(path: Path, sha256: str, where: str) -> bytes:
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise ConfigInvalid(f"{where}: the file is larger than {MAX_MODEL_BYTES:,} bytes")
        content = path.read_bytes()
    except OSError as exc:
        raise ConfigInvalid(f"{where}: cannot be read: {exc.strerror}") from exc
    actual = hashlib.sha256(content).hexdigest()
    if actual != sha256.lower():
        raise DataCorrupt(
            f"{where}: SHA-256 is {actual}, not {sha256.lower()} as declared; get the file again, "
            "or correct sha256 if you trust this one"
        )
    return content


def _open_session(content: bytes, where: str) -> Any:
    """Open an InferenceSession that computes on the calling thread only.

    Raises ConfigInvalid, DataCorrupt.
    """
    if find_spec("onnxruntime") is None:
        raise ConfigInvalid(
            f"{where} needs ONNX Runtime, which is not installed: pip install 'featsvc[embed]'"
        )
    runtime = import_module("onnxruntime")
    options = runtime.SessionOptions()
    # The batcher's threads run in parallel. A pool in every session would oversubscribe the cores
    # as soon as two batches, models or workers run, and spin while it waits.
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = runtime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    try:
        return runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except _runtime_errors() as exc:
        kind = DataCorrupt if type(exc).__name__ == "InvalidProtobuf" else ConfigInvalid
        raise kind(
            f"{where}: ONNX Runtime {runtime.__version__} cannot load it: {_first_line(exc)}; "
            "export it with an opset that this runtime supports and all weights in the file"
        ) from exc


def _runtime_errors() -> tuple[type[Exception], ...]:
    """Return the exceptions of ONNX Runtime, which have no common base."""
    state = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    names = (
        "EPFail Fail InvalidArgument InvalidGraph InvalidProtobuf ModelLoaded NoModel NoSuchFile "
        "NotImplemented RuntimeException"
    )
    own = (getattr(state, name) for name in names.split() if hasattr(state, name))
    # pybind converts some of the runtime's C++ exceptions to RuntimeError.
    return (*own, RuntimeError, ValueError)


def _first_line(exc: Exception) -> str:
    return str(exc).strip().split("\n")[0][:300]


def _activate(values: NDArray[np.float32], activation: Activation) -> NDArray[np.float32]:
    if activation == "softmax":
        powers = np.exp(values - values.max(axis=1, keepdims=True))
        return np.asarray(powers / powers.sum(axis=1, keepdims=True))
    if activation == "sigmoid":
        return np.asarray(0.5 * (1 + np.tanh(values / 2)))
    return values


def _within_unit(scores: NDArray[np.float32]) -> bool:
    return bool(scores.min() >= -_SCORE_SLACK and scores.max() <= 1 + _SCORE_SLACK)
