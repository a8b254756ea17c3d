"""Record what `tlsh` answers, so that tests need no compiler: python -m tests.vectors.record_tlsh

Needs the `peers` extra. Writes tlsh.json beside this file: digests of made data, and distances of
each two neighbours in that list.
"""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np

from tests.texts import ENTRIES

VECTORS = Path(__file__).with_name("tlsh.json")

LETTERS = b"abcdefghijklmnopqrstuvwxyz      ,."
# Seed, length, how many of 256 values or (0) letters.
MADE = (
    (0, 0, 0), (1, 49, 256), (2, 50, 256), (3, 50, 0), (4, 64, 0), (5, 100, 0), (6, 129, 0),
    (7, 130, 0), (8, 200, 2), (9, 300, 3), (10, 656, 0), (11, 657, 0), (12, 1000, 256),
    (13, 3199, 0), (14, 3200, 0), (15, 12_345, 4), (16, 70_000, 256), (17, 300_000, 0),
    (18, 1_048_576, 256), (19, 1_048_576, 0),
)  # fmt: skip


def made(seed: int, length: int, values: int) -> bytes:
    """Bytes that are the same everywhere."""
    drawn = np.random.Generator(np.random.PCG64(seed)).integers(0, values or len(LETTERS), length)
    alphabet = np.frombuffer(LETTERS, np.uint8) if not values else np.arange(256, dtype=np.uint8)
    return alphabet[drawn].tobytes()


def inputs() -> list[bytes]:
    texts = [text.encode() for text in ENTRIES]
    edited = [text.replace(b" ", b"  ", 3) for text in texts[:4]]
    return [*(made(*one) for one in MADE), b"a" * 500, *texts, *edited]


def ask_tlsh(data: bytes) -> str | None:
    """`T1` and 70 digits; None where it gives none."""
    import tlsh  # noqa: PLC0415 - of the `peers` extra

    digest: str = tlsh.hash(data)
    return None if digest == "TNULL" else digest


def ask_distance(a: str, b: str) -> int:
    import tlsh  # noqa: PLC0415 - of the `peers` extra

    return int(tlsh.diffxlen(a, b))


def main() -> None:
    digests = [ask_tlsh(data) for data in inputs()]
    some = [digest for digest in digests if digest]
    distances = [ask_distance(a, b) for a, b in pairwise(some)]
    distances.append(ask_distance(some[-1], some[-5]))
    text = json.dumps({"digests": digests, "distances": distances}, indent=1)
    VECTORS.write_text(text + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
