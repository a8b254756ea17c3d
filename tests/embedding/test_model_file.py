"""The models file, and errors that name file and key."""

from pathlib import Path

import pytest

from featsvc.embedding import read_models
from featsvc.errors import ConfigInvalid

MODEL = f"""
[[models]]
name = "one"
version = 1
path = "sub/one.onnx"
sha256 = "{"ab" * 32}"
embedding_output = "pooled"
preprocessing = {{ size = [224, 224] }}
"""


def read(folder: Path, text: str) -> str:
    """The error of reading the text as a models file."""
    file = folder / "models.toml"
    file.write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        read_models(file)
    assert str(file) in str(caught.value)
    return str(caught.value)


def test_paths_are_relative_to_the_file(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text(MODEL)
    (model,) = read_models(tmp_path / "models.toml")
    assert model.path == tmp_path / "sub" / "one.onnx"
    assert model.preprocessing.shape == (3, 224, 224)


def test_an_empty_file_declares_none(tmp_path: Path) -> None:
    (tmp_path / "models.toml").write_text("")
    assert read_models(tmp_path / "models.toml") == ()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('name = "one"', 'name = "One model"', "name"),
        ("version = 1", "version = 0", "version"),
        ("version = 1", "", "version"),
        ("abab", "xyxy", "sha256"),
        ("[224, 224]", "[0, 224]", "preprocessing.size"),
        ("[224, 224]", "[224, 224], resize = [200, 300]", "smaller than size"),
        ("[224, 224]", "[224, 224], std = [1, 0, 1]", "std"),
        ("[224, 224]", "[224, 224], layout = 'HWC'", "layout"),
        ("[224, 224]", "[224, 224], meen = [0, 0, 0]", "meen"),
        ('embedding_output = "pooled"', "", "embedding_output"),
        ('embedding_output = "pooled"', 'scores_output = "s"', "labels"),
        ('embedding_output = "pooled"', 'scores_output = "s"\nlabels = ["a", "a"]', "twice"),
        ("[[models]]", "[[model]]", "model"),
        ("version = 1", "version = ", "cannot be read"),
    ],
)
def test_a_wrong_key_is_named(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in MODEL
    assert message in read(tmp_path, MODEL.replace(old, new))


def test_a_name_may_be_declared_once(tmp_path: Path) -> None:
    assert "one" in read(tmp_path, MODEL + MODEL)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="No such file"):
        read_models(tmp_path / "none.toml")
