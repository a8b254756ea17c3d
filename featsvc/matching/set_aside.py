"""Signals of live entries that an index cannot hold: they are set aside, counted and named.

A signal that is set aside is not searched, so every status names it: "could not look" must not read
as "no match". The entry's other signals are searched as usual.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

UNKNOWN_ALGORITHM = "UNKNOWN_ALGORITHM"
"""This build does not know the algorithm."""
OTHER_VERSION = "OTHER_VERSION"
"""The value is of another version of the algorithm than this build's, and does not compare."""
WRONG_LENGTH = "WRONG_LENGTH"
"""The value has another length than all values of its algorithm."""
BAD_VALUE = "BAD_VALUE"
"""The value is not one of its algorithm: a vector with NaN or not of length 1, unsorted grams."""
DAMAGED_ROW = "DAMAGED_ROW"
"""A column of the entry or the signal holds something of another type."""
NOT_INDEXED = "NOT_INDEXED"
"""The engine could not be built, though each value is right; the log has the error."""

_EXAMPLES = 3


class SetAside(NamedTuple):
    """The signals of one algorithm that are set aside for one reason.

    `examples` are the banks and ids of at most three of their entries, the oldest first.
    """

    algorithm: str
    reason: str
    signals: int
    examples: tuple[tuple[str, int], ...]

    def __str__(self) -> str:
        names = ", ".join(f"banks/{bank}/entries/{number}" for bank, number in self.examples)
        return f"{self.signals} of {self.algorithm}: {self.reason}, such as {names}"


@dataclass(frozen=True, slots=True)
class SetAsideColumns:
    """One row for each signal of a part that is set aside.

    `version` and `id` are those of its entry; `bank` and `cause` are indexes into the SharedStrings
    of the part.
    """

    version: NDArray[np.int64]
    id: NDArray[np.int64]
    bank: NDArray[np.uint32]
    cause: NDArray[np.uint32]

    @classmethod
    def of(cls, rows: Iterable[tuple[int, int, int, int]]) -> "SetAsideColumns":
        """Make columns of rows (version, id, bank, cause)."""
        table = np.array(list(rows), np.int64).reshape(-1, 4)
        version, number, bank, cause = (np.ascontiguousarray(column) for column in table.T)
        return cls(version, number, bank.astype(np.uint32), cause.astype(np.uint32))

    def __len__(self) -> int:
        return len(self.version)

    def split(self, versions: Sequence[int]) -> tuple["SetAsideColumns", "SetAsideColumns"]:
        """Return the rows of entries that are not of these versions, and of those that are."""
        gone = np.isin(self.version, np.array(versions, np.int64))
        if not gone.any():
            return self, NONE
        return self._rows(~gone), self._rows(gone)

    def _rows(self, chosen: NDArray[np.bool_]) -> "SetAsideColumns":
        return SetAsideColumns(
            self.version[chosen], self.id[chosen], self.bank[chosen], self.cause[chosen]
        )


NONE = SetAsideColumns.of([])


def summed(
    parts: Iterable[tuple[SetAsideColumns, Sequence[str], Sequence[tuple[str, str]]]],
) -> tuple[SetAside, ...]:
    """Join the rows of parts, each with its `banks` and `causes`, by algorithm and reason."""
    joined: dict[tuple[str, str], SetAside] = {}
    for columns, banks, causes in parts:
        for number, (algorithm, reason) in enumerate(causes):
            rows = np.flatnonzero(columns.cause == number)
            if not len(rows):
                continue
            before = joined.get((algorithm, reason), SetAside(algorithm, reason, 0, ()))
            pairs = [(banks[columns.bank[row]], columns.id.item(row)) for row in rows[:16]]
            examples = tuple(dict.fromkeys((*before.examples, *pairs)))[:_EXAMPLES]
            joined[algorithm, reason] = SetAside(
                algorithm, reason, before.signals + len(rows), examples
            )
    return tuple(joined[key] for key in sorted(joined))


class ChangeLog:
    """Logs what is set aside when it changes, and nothing in between."""

    def __init__(self, log: Callable[[str], None]) -> None:
        self._log = log
        self._last: tuple[SetAside, ...] = ()

    def note(self, set_aside: tuple[SetAside, ...]) -> None:
        if set_aside != self._last:
            shown = "; ".join(map(str, set_aside)) or "none"
            self._log(f"signals that are set aside and not searched: {shown}")
        self._last = set_aside
