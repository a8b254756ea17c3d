"""The examples of docs/models.md work."""

import re
from pathlib import Path

from featsvc.embedding import read_models
from tests.embedding.opennsfw import opennsfw_spec
from tests.photographs import ROOT

MODELS_FILES = re.findall(r"```toml\n(.*?)```", (ROOT / "docs" / "models.md").read_text(), re.S)


def test_the_models_file_of_open_nsfw_is_the_one_that_is_tested(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(MODELS_FILES[0])
    (model,) = read_models(tmp_path / "models.toml")
    path = tmp_path / "open-nsfw.onnx"
    assert model == opennsfw_spec(path)


def test_the_models_file_of_sscd_is_read(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(MODELS_FILES[1])
    (model,) = read_models(tmp_path / "models.toml")
    assert (model.dimensions, model.preprocessing.shape) == (512, (3, 320, 320))
