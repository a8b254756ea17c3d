"""Matches, and the options of a request for them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from featsvc.banks.records import BankMode, check_labels, check_threshold
from featsvc.errors import InvalidInput, shown
from featsvc.signals.algorithms import Algorithm

DEFAULT_MAX_RESULTS = 100
MAX_RESULTS = 1000
MAX_EVIDENCE = 32
MAX_BATCH = 65_536
MAX_BATCH_MATCHES = 1 << 20
"""The limit for all queries of a batch together: an answer of about 300 MB."""


class Variants(Enum):
    """The variants of the query that are matched besides the original."""

    NONE = "none"
    DEFAULT = "default"
    """Those in the settings of each bank."""
    ALL = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class MatchOptions:
    """The banks to search and the matches to return. Raises InvalidInput or UnknownAlgorithm.

    - `banks`: ids of the banks whose matches are returned; empty for every bank that is not OFF.
    - `labels`: only entries with all of these labels match.
    - `thresholds`: algorithm -> largest distance, instead of the thresholds of the banks.
    - `ignore_safe_lists`: whether enforced safe lists are like any other bank. Otherwise they are
      consulted whatever `banks` and `labels` are, at their own thresholds, and suppress matches.
    - `max_results`: 1 to 1,000, 0 for the default.
    - `top_k`: at most this number of entries for each algorithm, 0 for all.
    """

    banks: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    thresholds: Mapping[str, float] = field(default_factory=dict)
    max_results: int = 0
    match_low_quality: bool = False
    variants: Variants = Variants.DEFAULT
    top_k: int = 0
    ignore_safe_lists: bool = False

    def __post_init__(self) -> None:
        check_labels(self.labels)
        for algorithm, threshold in self.thresholds.items():
            check_threshold(algorithm, threshold, field=f"options.thresholds[{shown(algorithm)}]")
        if not 0 <= self.max_results <= MAX_RESULTS:
            raise InvalidInput(
                f"options.max_results: {self.max_results} is not within 1 to {MAX_RESULTS}",
                field="options.max_results",
            )
        if self.top_k < 0:
            raise InvalidInput(
                f"options.top_k: must be 0 or more, not {self.top_k}", field="options.top_k"
            )

    @property
    def limit(self) -> int:
        """`max_results`, or the default."""
        return self.max_results or DEFAULT_MAX_RESULTS


DEFAULT_OPTIONS = MatchOptions()


class Evidence(NamedTuple):
    """Another signal of an entry that matched.

    A NamedTuple, as `Match` is, because some are made for every match and the time counts.
    """

    algorithm: Algorithm
    distance: float
    threshold: float
    query_variant: str
    entry_variant: str
    entry_signal: bytes


class Match(NamedTuple):
    """An entry that the content matched, with its nearest signal.

    `distance` is bits for Hamming, 0 for byte hashes, 1 - cosine for vectors, the share that the
    query lacks for texts; smaller is nearer. `threshold` is the one that applied,
    `threshold_overridden` whether the request set it. `suppressed`: a safe list has this content,
    so do not act on this match. `frame`: the frame of the query signal, in an animation.
    """

    bank: str
    entry_id: int
    external_id: str
    algorithm: Algorithm
    distance: float
    threshold: float
    threshold_overridden: bool
    query_variant: str
    entry_variant: str
    mode: BankMode
    labels: tuple[str, ...]
    source: str
    entry_signal: bytes
    query_signal: bytes
    safe: bool
    suppressed: bool
    evidence: tuple[Evidence, ...]
    frame: int = 0


@dataclass(frozen=True, slots=True)
class MatchResult:
    """Matches, nearest first.

    `truncated`: there were more than `max_results`. `low_quality`: a signal below its quality floor
    was not matched, which does not mean "no match".
    """

    matches: tuple[Match, ...]
    truncated: bool
    low_quality: bool


class SignalBatch(NamedTuple):
    """Signals of one algorithm, each of another piece of content: values uint8 (q, bytes).

    `qualities` (q,) are 0 to 100, None where they are unknown. `unstable` are indexes of signals
    that find exact copies only (`Signal.unstable`).
    """

    kind: Algorithm
    values: NDArray[np.uint8]
    qualities: NDArray[np.uint8] | None = None
    unstable: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchResult:
    """Matches of many queries, in columns.

    Query i has the matches `offsets[i]` to `offsets[i + 1]`, nearest first; match j is
    `entries[entry_index[j]]` at `distances[j]`. `entries` hold what does not depend on the query:
    their `distance` is that of the first query that matched, their `query_signal` is empty.
    `distances` are uint32, float32 where they are fractional. `truncated_queries` had more matches
    than `max_results`. Queries in `low_quality`, bool (q,), were not matched, which does not mean
    "no match".
    """

    offsets: NDArray[np.uint32]
    distances: NDArray[Any]
    entry_index: NDArray[np.uint32]
    entries: tuple[Match, ...]
    truncated_queries: tuple[int, ...]
    low_quality: NDArray[np.bool_]
