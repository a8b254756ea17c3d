"""Invented signal rows, and readers of hits and snapshots."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import numpy as np

from featsvc.banks.records import StoreHead
from featsvc.banks.sql.stored import SignalRow
from featsvc.banks.sql.times import from_us
from featsvc.matching.hits import RawHits
from featsvc.matching.matches import MatchOptions
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.vectors import vector_value

PDQ = get_algorithm("pdq")

MODEL = "sscd@3"
EXACTLY = MatchOptions(thresholds={"pdq": 0, MODEL: 0}, max_results=1000)


def value(number: int) -> bytes:
    """Spread a number over a PDQ value, so that small numbers are far apart, and none is 0."""
    return (
        (number + 1) * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95 % 2**256
    ).to_bytes(32, "big")


def vector(number: int) -> bytes:
    """Return a random value of MODEL, of 40 dimensions, for each number."""
    return vector_value(get_algorithm(MODEL), np.random.default_rng(number).standard_normal(40))


def row(version: int, number: int | None = None, *, bank: str = "b", **fields: Any) -> SignalRow:
    """Return an entry with one PDQ signal, unless `fields` say otherwise."""
    defaults: dict[str, Any] = {
        "version": version,
        "id": version,
        "bank_id": bank,
        "external_id": f"x{version}",
        "labels": "",
        "source": "",
        "opinion": "",
        "quarantined": False,
        "expire_time": None,
        "algorithm": "pdq",
        "value": value(version if number is None else number),
        "variant": "original",
        "algorithm_version": get_algorithm(fields.get("algorithm", "pdq")).version,
    }
    return SignalRow(**defaults | fields)


def head_at(revision: int, time_us: int, store_id: str = "") -> StoreHead:
    """Return a head, committed `time_us` microseconds after 1970."""
    return StoreHead(revision, from_us(time_us), store_id)


def held(snapshot: Snapshot, numbers: Iterable[int], options: MatchOptions = EXACTLY) -> set[int]:
    """Return the numbers that the snapshot has by hash; by vector it has the same or none."""
    by_hash = {n for n in numbers if snapshot.match([Signal(PDQ, value(n))], options).matches}
    model = get_algorithm(MODEL)
    by_vector = {n for n in numbers if snapshot.match([Signal(model, vector(n))], options).matches}
    assert by_vector in (by_hash, set()), "hash and vector of an entry came in two snapshots"
    return by_hash


def by_query(hits: RawHits) -> list[list[tuple[int, float]]]:
    """Return rows and distances of the hits of each query, sorted."""
    pairs = list(zip(hits.rows.tolist(), hits.distances.tolist(), strict=True))
    return [sorted(pairs[first:end]) for first, end in pairwise([0, *hits.ends.tolist()])]


def list_of(numbers: Iterable[int]) -> bytes:
    """Return a PDQ text list of these numbers."""
    return b"".join(value(n).hex().encode() + b",\n" for n in numbers)


def list_of_both(numbers: Iterable[int]) -> bytes:
    """Return JSON Lines with the hash and the vector of each number in one entry."""
    return b"".join(
        json.dumps(
            {
                "external_id": f"x{n}",
                "signals": [
                    {"algorithm": "pdq", "signal": value(n).hex()},
                    {"algorithm": MODEL, "signal": vector(n).hex()},
                ],
            }
        ).encode()
        + b"\n"
        for n in numbers
    )
