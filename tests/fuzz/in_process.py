"""The comparisons of `tests.fuzz.matching` with followers and an indexer in this process."""

import random
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from unittest import mock

import numpy as np

from featsvc.matching import engines, hits, match_builder, plans, vector_engines
from featsvc.matching import follower as follower_module
from featsvc.matching.follower import Follower
from featsvc.matching.indexer import Indexer
from featsvc.matching.matches import BatchResult, Match, MatchOptions, MatchResult
from featsvc.matching.segments import collect
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from tests.fuzz.banks import ALGORITHMS, Banks, SqliteBanks, patiently
from tests.fuzz.expected import State, expected, packed
from tests.fuzz.tally import Tally
from tests.patience import PATIENCE_S


@contextmanager
def small_limits(rng: random.Random) -> Iterator[None]:
    """Let few rows reach what else only millions do: other engines, columns, halves, rebuilds."""
    with (
        mock.patch.object(match_builder, "FEW", rng.choice((0, 16))),
        mock.patch.object(match_builder, "MANY", rng.choice((0, 30, 512))),
        mock.patch.object(hits, "MAX_HITS", rng.choice((40, 1 << 22))),
        # Hits are counted only where they do not fit the buffer of a thread.
        mock.patch.object(engines, "_FIRST_HITS", rng.choice((4, 1024))),
        mock.patch.object(engines, "_scratch", engines._Scratch()),
        mock.patch.object(vector_engines, "PROJECTED_ROWS", rng.choice((8, 16_384))),
        mock.patch.object(plans, "SCAN_BELOW_ROWS", 64),
        mock.patch.object(follower_module, "COMPACT_SIGNALS", rng.choice((30, 20_000))),
    ):
        yield


def ask(place: str, banks: Banks, snapshot: Snapshot, state: State, tally: Tally) -> None:
    """Compare one request of each kind with the brute force."""
    signals, options = banks.signals(), banks.options()
    if any(bank not in state.banks for bank in options.banks):
        options = MatchOptions()
    now_us = time.time_ns() // 1000
    right = expected(state, signals, options, now_us)
    tally.count(right)
    tally.compare(place, "match", snapshot.match(signals, options), right)
    first = signals[0]
    quick = snapshot.match_if_quick(first, options)
    if quick is not None:
        right = expected(state, [first], options, now_us)
        tally.compare(place, "match_if_quick", quick, right)
    kind = get_algorithm(banks.rng.choice(ALGORITHMS))
    values = [banks.query(kind.name) for _ in range(banks.rng.choice((1, 2, 9)))]
    answers = of_batch(snapshot.match_batch(kind, packed(values), options), values)
    for value, answer in zip(values, answers, strict=True):
        one = expected(state, [Signal(kind, value)], options, now_us)
        tally.compare(place, "match_batch", answer, without_evidence(one))


def without_evidence(result: MatchResult) -> MatchResult:
    """Return the result as a batch has it: float32 distances, and no evidence."""
    matches = (
        match._replace(evidence=(), distance=float(np.float32(match.distance)))
        for match in result.matches
    )
    return MatchResult(tuple(matches), result.truncated, result.low_quality)


def of_batch(batch: BatchResult, values: Sequence[bytes]) -> Iterator[MatchResult]:
    """Return the columns of a batch as the result of each query."""
    for i, value in enumerate(values):
        matches: list[Match] = []
        for j in range(batch.offsets.item(i), batch.offsets.item(i + 1)):
            match = batch.entries[batch.entry_index.item(j)]
            matches.append(match._replace(distance=batch.distances.item(j), query_signal=value))
        yield MatchResult(tuple(matches), i in batch.truncated_queries, low_quality=False)


def in_process(place: str, rng: random.Random, folder: Path, tally: Tally) -> None:
    """One round: a store, an indexer, and followers that restart."""
    banks = SqliteBanks(rng, folder)
    segments = rng.choice((None, folder / "segments"))
    indexer = Indexer(banks.store, folder / "segments", compact_entries=rng.choice((1, 40)))
    (folder / "segments").mkdir()

    def follow() -> Follower:
        made = Follower(banks.store, poll_interval_ms=5, segments=segments)
        patiently(made.start)
        return made

    follower = follow()
    try:
        for _ in range(rng.randint(10, 40)):
            tally.changes[banks.change()] += 1
            chance = rng.random()
            if chance < 0.2:
                built = patiently(indexer.build_if_outdated)
                tally.changes["segment built"] += built is not None
                collect(indexer.folder)
            elif chance < 0.3:
                follower.stop()
                follower = follow()
                tally.changes["follower restarted"] += 1
            if rng.random() < 0.8:
                follower.wait_for(banks.newest.head.revision, PATIENCE_S)
            for _ in range(rng.randint(1, 5)):
                snapshot = follower.snapshot
                state = banks.history.get((snapshot.revision, snapshot.commit_time))
                if state is None:
                    tally.wrong.append(f"{place}: serves a revision that no store had")
                    continue
                ask(place, banks, snapshot, state, tally)
    finally:
        follower.stop()
        banks.store.close()


def fuzz(seed: int, seconds: float, tally: Tally, *, rounds: Iterator[int] | None = None) -> None:
    """Run rounds in process until the time is over or `rounds` are."""
    deadline = time.monotonic() + seconds
    for number in rounds or count():
        if time.monotonic() > deadline:
            break
        rng = random.Random(f"{seed} {number}")
        with tempfile.TemporaryDirectory() as folder, small_limits(rng):
            place = f"--seed {seed} --round {number}"
            try:
                in_process(place, rng, Path(folder), tally)
            except Exception as exc:  # also a finding
                tally.wrong.append(f"{place}: {type(exc).__name__}: {exc}")
