"""Signal rows made up for tests, and what a set of layers answers."""

import json
from collections.abc import Iterable
from typing import Any

import numpy as np

from featsvc.banks.sql.stored import SignalRow
from featsvc.matching.matches import MatchOptions
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.vectors import vector_value

PDQ = get_algorithm("pdq")

MODEL = "sscd@3"
EXACTLY = MatchOptions(thresholds={"pdq": 0, MODEL: 0}, max_results=1000)


def value(number: int) -> bytes:
    """A PDQ value; spread out, so that small numbers are far from each other."""
    return (
        number * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95 % 2**256
    ).to_bytes(32, "big")


def vector(number: int) -> bytes:
    """A value of MODEL, 40 dimensions; of small numbers far from each other."""
    made = np.random.default_rng(number).standard_normal(40)
    return vector_value(get_algorithm(MODEL), made)


def row(version: int, number: int | None = None, *, bank: str = "b", **fields: Any) -> SignalRow:
    """Entry `version` of one PDQ signal."""
    made = SignalRow(
        version=version, id=version, bank_id=bank, external_id=f"x{version}", labels="", source="",
        opinion="", quarantined=False, expire_time=None, algorithm="pdq",
        value=value(version if number is None else number), variant="original",
        algorithm_version=0,
    )._replace(**fields)  # fmt: skip
    current = get_algorithm(made.algorithm).version
    return made if made.algorithm_version else made._replace(algorithm_version=current)


def held(snapshot: Snapshot, numbers: Iterable[int], options: MatchOptions = EXACTLY) -> set[int]:
    """Which of the numbers the snapshot finds, exactly, by hash, and by vector the same."""
    found = {n for n in numbers if snapshot.match([Signal(PDQ, value(n))], options).matches}
    by_vector = {
        n
        for n in numbers
        if snapshot.match([Signal(get_algorithm(MODEL), vector(n))], options).matches
    }
    assert by_vector in (found, set()), "hashes and vectors of an entry were served apart"
    return found


def list_of(numbers: Iterable[int]) -> bytes:
    """A PDQ text list of these numbers."""
    return b"".join(value(n).hex().encode() + b"\n" for n in numbers)


def list_of_both(numbers: Iterable[int]) -> bytes:
    """Our JSON Lines: each number's hash and vector in one entry."""
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
