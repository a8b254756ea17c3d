"""Models and their results: vectors and scores."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Model:
    """A model of vectors, of classifier scores, or of both.

    Vectors of different versions do not compare. `dimensions` is the length of a vector, 0 for a
    model without vectors; `labels` name the scores, empty for a model without scores.
    """

    name: str
    version: int
    dimensions: int
    description: str
    labels: tuple[str, ...] = ()

    @property
    def id(self) -> str:
        """Name and version, for example `pdqf@1`."""
        return f"{self.name}@{self.version}"


@dataclass(frozen=True, slots=True, eq=False)
class Embedding:
    """A vector: `values` float32 of Euclidean length 1; `model` is a `Model.id`."""

    model: str
    values: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Score:
    """A classifier score, 0 to 1; `model` is a `Model.id`."""

    model: str
    label: str
    score: float
