"""What an engine is asked and what it answers."""

import importlib
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featsvc.matching.values import Ragged, Values

Arrays = Mapping[str, NDArray[Any]]

NO_HITS = np.empty(0, np.int64)
MAX_HITS = 1 << 22
"""Of several queries together (64 MB); a query alone may hit every row."""

Distances: TypeAlias = NDArray[Any]
"""int64 of whole distances, float64 of fractional ones."""


class RawHits(NamedTuple):
    """Query q hit `rows[ends[q - 1]:ends[q]]` (0 for the first) at those `distances`, in no
    particular order. A tuple: it is made for every query, in microseconds that count."""

    ends: NDArray[np.int64]
    rows: NDArray[np.int64]
    distances: Distances

    @classmethod
    def none(cls, queries: int) -> "RawHits":
        return cls(np.zeros(queries, np.int64), NO_HITS, NO_HITS)


class TooManyHits(Exception):
    """Several queries hit more than MAX_HITS rows together: ask for fewer at once."""


class Engine(Protocol):
    @property
    def name(self) -> str:
        """As `GetIndexStatus` shows it."""
        ...

    @property
    def arrays(self) -> Arrays:
        """What it can be made from again."""
        ...

    def search(self, queries: Values, radius: float) -> RawHits:
        """Every row within `radius` (inclusive; negative: none) of each of `queries`, which have
        the form of the values; an approximate engine may miss some.

        Raises TooManyHitsError, never for one query.
        """
        ...


class _ThreadState(threading.local):
    faiss = False


_thread_state = _ThreadState()


def as_rows(values: Values) -> NDArray[np.uint8]:
    """Values of one width, which Ragged ones are not."""
    if isinstance(values, Ragged):
        raise TypeError("values of different lengths, where rows were wanted")
    return values


def faiss_on_this_thread() -> Any:
    """FAISS, to be used on the thread that asks for it.

    A request runs on one thread of a bounded pool: FAISS must not start more underneath, and
    OpenMP keeps that setting for each thread. Imported when it is first needed: a service whose
    banks hold hashes starts sooner without it.
    """
    faiss = importlib.import_module("faiss")
    if not _thread_state.faiss:
        faiss.omp_set_num_threads(1)
        _thread_state.faiss = True
    return faiss


def check_room(hits: int, queries: int) -> None:
    if hits > MAX_HITS and queries > 1:
        raise TooManyHits


def ends_of(query: NDArray[np.intp], queries: int) -> NDArray[np.int64]:
    """Where each query's hits end, from the number of the query of each hit."""
    return np.cumsum(np.bincount(query, minlength=queries)).astype(np.int64)
