"""The interface of engines: queries in, raw hits out."""

import importlib
import threading
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from featsvc.matching.values import Values

Arrays: TypeAlias = Mapping[str, NDArray[Any]]

NO_HITS = np.empty(0, np.int64)
MAX_HITS = 1 << 22
"""The limit for several queries together (64 MB). A single query may hit every row."""

Distances: TypeAlias = NDArray[Any]
"""int64 for whole distances, float64 for fractional ones."""


class RawHits(NamedTuple):
    """The hits of a search before any rule is applied.

    Query q hit `rows[ends[q - 1]:ends[q]]` (from 0 for the first) at those `distances`, in no
    particular order. A NamedTuple, because one is made for every query and the time counts.
    """

    ends: NDArray[np.int64]
    rows: NDArray[np.int64]
    distances: Distances

    @classmethod
    def none(cls, queries: int) -> "RawHits":
        """Return the hits of a search in which no query hit anything."""
        return cls(np.zeros(queries, np.int64), NO_HITS, NO_HITS)


class TooManyHits(Exception):
    """Several queries hit more than MAX_HITS rows together; search fewer at a time."""


class Engine(Protocol):
    """An index of values that finds all of them within a distance of a query."""

    @property
    def name(self) -> str:
        """The name that `GetIndexStatus` shows."""
        ...

    @property
    def arrays(self) -> Arrays:
        """The arrays that `open_engine` restores the engine from."""
        ...

    def search(self, queries: Values, radius: float) -> RawHits:
        """Return every row within `radius` (inclusive; negative: none) of each query.

        `queries` have the form of the indexed values. An approximate engine may miss rows. Raises
        TooManyHits, but never for a single query.
        """
        ...


_set_up = threading.local()


def faiss_on_this_thread() -> Any:
    """Return the FAISS module, set up for use on the calling thread.

    A request runs on one thread of a bounded pool, so FAISS must not start threads of its own;
    OpenMP keeps that setting for each thread. FAISS is imported on first use: a service whose banks
    hold only hashes starts sooner without it.
    """
    faiss = importlib.import_module("faiss")
    if not hasattr(_set_up, "faiss"):
        faiss.omp_set_num_threads(1)
        _set_up.faiss = True
    return faiss


def check_hits(hits: int, queries: int) -> None:
    """Raise TooManyHits where several queries have more than MAX_HITS hits."""
    if hits > MAX_HITS and queries > 1:
        raise TooManyHits


def hit_ends(query: NDArray[np.integer], queries: int) -> NDArray[np.int64]:
    """Return the `ends` of RawHits, given the number of the query of each hit."""
    return np.cumsum(np.bincount(query, minlength=queries), dtype=np.int64)


def hit_queries(hits: RawHits) -> NDArray[np.int64]:
    """Return the number of the query of each hit."""
    if len(hits.ends) == 1:
        return np.zeros(len(hits.rows), np.int64)
    return np.repeat(np.arange(len(hits.ends)), np.diff(hits.ends, prepend=0))
