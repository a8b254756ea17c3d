"""Signal rows made up for tests, and what a set of layers answers."""

from collections.abc import Iterable

from featsvc.banks.view import SignalRow
from featsvc.hashing.signals import Signal
from featsvc.matching.matches import MatchOptions
from featsvc.matching.snapshot import Snapshot

EXACTLY = MatchOptions(thresholds={"pdq": 0}, max_results=1000)


def value(number: int) -> bytes:
    """A PDQ value; spread out, so that small numbers are far from each other."""
    return (
        number * 0x9E3779B97F4A7C15F39CC0605CEDC8341082276BF3A27251F86C6A11D0C18E95 % 2**256
    ).to_bytes(32, "big")


def row(version: int, number: int | None = None, *, bank: str = "b", **fields: object) -> SignalRow:
    """Entry `version` of one PDQ signal."""
    made = {
        "external_id": f"x{version}", "labels": "", "source": "", "opinion": "",
        "quarantined": False, "expire_time": None, "algorithm": "pdq",
        "value": value(version if number is None else number), "variant": "original", **fields,
    }  # fmt: skip
    return (version, version, bank, *made.values())  # type: ignore[return-value]


def held(snapshot: Snapshot, numbers: Iterable[int]) -> set[int]:
    """Which of the numbers the snapshot finds, exactly."""
    return {n for n in numbers if snapshot.match([Signal("pdq", value(n))], EXACTLY).matches}


def list_of(numbers: Iterable[int]) -> bytes:
    """A PDQ text list of these numbers."""
    return b"".join(value(n).hex().encode() + b"\n" for n in numbers)
