"""Read the models file: one `[[models]]` table a learned model. See docs/models.md."""

import tomllib
from pathlib import Path
from typing import Annotated, Literal, TypeAlias

import msgspec

from featsvc.embedding.preprocessing import Preprocessing
from featsvc.errors import ConfigInvalid

Activation: TypeAlias = Literal["none", "softmax", "sigmoid"]
Label = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]

MAX_MODELS = 16


class ModelSpec(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The declaration of a learned model."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}$")]
    version: Annotated[int, msgspec.Meta(ge=1, le=2**31 - 1)]
    """Increase it when file or preprocessing change: vectors of two versions do not compare."""
    path: Path
    """Relative to the models file."""
    sha256: Annotated[str, msgspec.Meta(pattern=r"^[0-9a-fA-F]{64}$")]
    preprocessing: Preprocessing
    description: Annotated[str, msgspec.Meta(max_length=200)] = ""
    embedding_output: str = ""
    """Name of the tensor with the vector, possibly an inner one; empty means no vector."""
    dimensions: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Length of the vector, checked against the file; 0 accepts any."""
    scores_output: str = ""
    """Name of the tensor with one score per label; empty means no scores."""
    labels: tuple[Label, ...] = ()
    activation: Activation = "none"
    """Converts logits to scores."""

    def __post_init__(self) -> None:
        if not self.embedding_output and not self.scores_output:
            raise ValueError("set embedding_output, scores_output or both")
        if bool(self.scores_output) != bool(self.labels):
            raise ValueError("set scores_output and labels together")
        if len(set(self.labels)) != len(self.labels):
            raise ValueError("labels contains one twice")


class _ModelsFile(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    models: Annotated[tuple[ModelSpec, ...], msgspec.Meta(max_length=MAX_MODELS)] = ()


def _to_path(kind: type, value: object) -> Path:
    """Convert text to a path, the one type that msgspec does not support."""
    if kind is not Path or not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a path")
    return Path(value)


def read_models(file: Path) -> tuple[ModelSpec, ...]:
    """Read the declared models and make their paths absolute.

    Raises ConfigInvalid, naming file and key.
    """
    try:
        tree = tomllib.loads(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        raise ConfigInvalid(f"{file}: cannot be read: {exc}") from exc
    try:
        models = msgspec.convert(tree, _ModelsFile, dec_hook=_to_path).models
    except msgspec.ValidationError as exc:
        message = str(exc).replace("`$.", "`").replace(" - at ", " at ")
        raise ConfigInvalid(f"{file}: {message}; see docs/models.md") from exc
    names = [model.name for model in models]
    if twice := {name for name in names if names.count(name) > 1}:
        raise ConfigInvalid(f"{file}: `models` declares {', '.join(sorted(twice))} more than once")
    root = file.resolve().parent
    return tuple(msgspec.structs.replace(model, path=root / model.path) for model in models)
