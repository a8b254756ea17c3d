"""Distances: which laws they keep, and which signals do not compare."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featsvc.errors import InvalidInput, InvalidSignal
from featsvc.signals import distance as distances
from featsvc.signals.algorithms import ALGORITHMS, get_algorithm
from featsvc.signals.distance import distance
from featsvc.signals.signal import Signal
from tests.signals.values import parse_signal

MD5 = get_algorithm("md5")
PDQ = get_algorithm("pdq")
SHA256 = get_algorithm("sha256")
CROP_RESISTANT = get_algorithm("crop_resistant")
HAMMING = [a for a in ALGORITHMS.values() if a.distance is distances.HAMMING]


@given(
    kind=st.sampled_from(HAMMING),
    values=st.tuples(*[st.binary(min_size=128, max_size=128)] * 3),
)
def test_hamming_is_a_metric(kind: object, values: tuple[bytes, bytes, bytes]) -> None:
    algorithm = get_algorithm(getattr(kind, "name"))  # noqa: B009
    a, b, c = (Signal(algorithm, v[: algorithm.bytes]) for v in values)
    assert distance(a, a) == 0
    assert distance(a, b) == distance(b, a)
    assert distance(a, c) <= distance(a, b) + distance(b, c)
    assert distance(a, b) == (int.from_bytes(a.value) ^ int.from_bytes(b.value)).bit_count()


def test_equality_and_segments() -> None:
    assert distance(Signal(MD5, bytes(16)), Signal(MD5, bytes(16))) == 0
    assert distance(Signal(MD5, bytes(16)), Signal(MD5, b"x" * 16)) == 1
    a = parse_signal("crop_resistant:ffffffffffffffff,0000000000000000")
    b = parse_signal("crop_resistant:0000000000000007,00ff00ff00ff00ff")
    assert distance(a, b) == 3


def test_kinds_and_lengths_must_fit() -> None:
    with pytest.raises(InvalidInput, match="do not compare"):
        distance(Signal(PDQ, bytes(32)), Signal(SHA256, bytes(32)))
    with pytest.raises(InvalidSignal, match="has 32 bytes, not 31"):
        distance(Signal(PDQ, bytes(31)), Signal(PDQ, bytes(32)))
    with pytest.raises(InvalidSignal, match="has 8 bytes"):
        distance(Signal(CROP_RESISTANT, b""), Signal(CROP_RESISTANT, bytes(8)))
