"""A signal matches if, and only if, its exact distance is within the threshold.

Thresholds lie exactly at a distance, one step of a double below it and above. `Distance.compare`
is the oracle; `Match`, `MatchBatch` and the search of curators must agree with it.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntrySignal
from featsvc.banks.results import EntryFilter
from featsvc.banks.store import BankStore
from featsvc.matching.follower import Follower
from featsvc.matching.matches import MatchOptions
from featsvc.signals.algorithms import Algorithm, get_algorithm
from featsvc.signals.distance import ScannedDistance, _missing, distance
from featsvc.signals.signal import Signal
from featsvc.signals.text_grams import stored_values
from featsvc.signals.vectors import vector_value
from tests.texts import ENTRIES

NAMES = ("pdq", "tlsh", "pdqf@1", "sscd@3", "text")
VIEWS = [text.lower().replace(" ", "") for text in ENTRIES]


def values(name: str, rng: np.random.Generator) -> tuple[bytes, bytes]:
    """Return a query and an entry, near each other as copies are."""
    kind = get_algorithm(name)
    if name == "text":
        view = VIEWS[rng.integers(len(VIEWS))]
        at, cut = int(rng.integers(0, 30)), int(rng.integers(0, 25))
        edited = view[:at] + "zq" * (cut % 4) + view[at + cut :]
        return next(stored_values(edited)), next(stored_values(view))
    if kind.distance.fractional:
        size = kind.dimensions or 48
        entry = rng.standard_normal(size)
        query = entry + rng.standard_normal(size) * rng.choice([0, 1e-4, 0.05, 0.4])
        return vector_value(kind, query), vector_value(kind, entry)
    entry_bytes = rng.bytes(kind.bytes)
    flipped = bytearray(entry_bytes)
    for bit in rng.integers(0, 8 * kind.bytes, int(rng.integers(0, 24))):
        flipped[bit // 8] ^= 1 << (bit % 8)
    return bytes(flipped), entry_bytes


def thresholds(kind: Algorithm, exact: float) -> list[float]:
    """Return those at, just below and just above a distance that a bank may have."""
    steps = [exact - 1, exact + 1, exact - 0.5, exact + 0.5]
    if kind.distance.fractional:
        steps = [math.nextafter(exact, -1), math.nextafter(exact, 3), exact - 4e-7, exact + 4e-7]
    return [t for t in (exact, *steps) if 0 <= t <= kind.largest_distance]


@pytest.mark.parametrize("name", NAMES)
@settings(
    max_examples=15,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 2**32))
def test_a_match_is_within_the_threshold_exactly(bank: BankStore, name: str, seed: int) -> None:
    kind, rng = get_algorithm(name), np.random.default_rng(seed)
    pairs = [values(name, rng) for _ in range(5)]
    bank_id = f"b{bank.head().revision}"
    bank.create_bank(bank_id)
    rows = [
        ImportRow(n, (EntrySignal(name, entry),), f"x{n}") for n, (_, entry) in enumerate(pairs)
    ]
    bank.add_entries(bank_id, rows)
    follower = Follower(bank)
    follower.start()
    follower.stop()
    every = MatchOptions(banks=(bank_id,), max_results=1000)
    for query, entry in pairs[:2]:
        signal = Signal(kind, query)
        exact = _to_entry(signal, Signal(kind, entry))
        for threshold in thresholds(kind, exact):
            options = replace(every, thresholds={name: threshold})
            expected = {
                f"x{n}"
                for n, (_, other) in enumerate(pairs)
                if _to_entry(signal, Signal(kind, other)) <= threshold
            }
            found = follower.snapshot.match([signal], options).matches
            assert {match.external_id for match in found} == expected, (exact, threshold)
            if kind.distance.rows:
                packed = np.frombuffer(query * 3, np.uint8).reshape(3, -1)
                batch = follower.snapshot.match_batch(kind, packed, options)
                assert np.diff(batch.offsets).tolist() == [len(expected)] * 3
            if isinstance(kind.distance, ScannedDistance):
                near = EntryFilter(near=EntrySignal(name, query), max_distance=threshold)
                page = bank.list_entries(bank_id, near)
                assert {e.external_id for e in page.entries} == expected


def _to_entry(query: Signal, entry: Signal) -> float:
    """Return the distance of a query to an entry; that of texts has a direction."""
    if query.algorithm.name != "text":
        return distance(query, entry)
    return _missing(query.value, entry.value)
