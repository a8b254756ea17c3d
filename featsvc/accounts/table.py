"""Result of a read: one row per feature, one column per entity."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from featsvc_kernels import fold_codes as codes
from numpy.typing import NDArray

from featsvc.errors import InvalidInput


class FeatureStatus(IntEnum):
    """Status of a value; the numbers are those of `FeatureStatus` on the wire."""

    PRESENT = codes.PRESENT
    NULL_VALUE = codes.NULL_VALUE
    NOT_FOUND = codes.NOT_FOUND
    OUTSIDE_MAX_AGE = codes.OUTSIDE_MAX_AGE
    SATURATED = codes.SATURATED
    DEGRADED = codes.DEGRADED
    NOT_RETAINED = codes.NOT_RETAINED
    WARMING = codes.WARMING
    DAMAGED = codes.DAMAGED


@dataclass(frozen=True, slots=True)
class Selection:
    """Feature names, or the name of a set; empty selects every feature.

    Raises InvalidInput for both.
    """

    names: tuple[str, ...] = ()
    set: str = ""

    def __post_init__(self) -> None:
        if self.names and self.set:
            raise InvalidInput("selection: give features or a set, not both", field="selection.set")


ALL = Selection()


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """F features of E entities at one moment.

    `values` (F, E) float64, NaN where the status has no value; `statuses` (F, E) uint8 of
    FeatureStatus; `freshness_ms` (E,) int64, age of the newest applied event, -1 for none.
    """

    names: Sequence[str]
    values: NDArray[np.float64]
    statuses: NDArray[np.uint8]
    freshness_ms: NDArray[np.int64]
    as_of_ms: int

    def set_damaged(self, column: int) -> None:
        """Make the values of an entity DAMAGED."""
        self.values[:, column] = np.nan
        self.statuses[:, column] = FeatureStatus.DAMAGED
        self.freshness_ms[column] = -1

    def columns(self, first: int, last: int) -> "FeatureTable":
        """Return the columns of entities first .. last - 1, as views."""
        if last - first == len(self.freshness_ms):
            return self
        part = slice(first, last)
        return FeatureTable(
            self.names,
            self.values[:, part],
            self.statuses[:, part],
            self.freshness_ms[part],
            self.as_of_ms,
        )

    def first_rows(self, number: int) -> "FeatureTable":
        """Return the first rows, as views; without names."""
        if number == len(self.values):
            return self
        return FeatureTable(
            (), self.values[:number], self.statuses[:number], self.freshness_ms, self.as_of_ms
        )


def degraded_table(names: Sequence[str], entities: int, as_of_ms: int) -> FeatureTable:
    """Return the table of a store that is unavailable: every value is DEGRADED."""
    shape = (len(names), entities)
    return FeatureTable(
        names,
        np.full(shape, np.nan),
        np.full(shape, FeatureStatus.DEGRADED, np.uint8),
        np.full(entities, -1, np.int64),
        as_of_ms,
    )
