"""Names, sizes and text forms of signals."""

import imagehash
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featsvc.errors import InvalidSignal, UnknownAlgorithm
from featsvc.hashing.picture import pack_bits
from featsvc.signals import distance as distances
from featsvc.signals.algorithms import ALGORITHMS, get_algorithm
from featsvc.signals.signal import Signal
from tests.signals.values import parse_signal, parse_value

HAMMING = [a for a in ALGORITHMS.values() if a.distance is distances.HAMMING]


def test_sizes_have_names() -> None:
    assert get_algorithm("phash-16").bits == 256
    assert get_algorithm("phash-16").default_threshold == 4 * ALGORITHMS["phash"].default_threshold
    assert get_algorithm("whash_db4-16").bits == 22 * 22
    assert get_algorithm("colorhash-4").bits == 56
    assert get_algorithm("dhash-3").hex_digits == 3


@pytest.mark.parametrize(
    "name",
    "phash-8 phash-1 phash-33 phash-016 phash- phash-x whash-12 pdq-8 md5-8 colorhash-9 "
    f"phash-16-16 PDQ  phash-١٦ {'x' * 9999}".split(" "),
)
def test_other_names_are_unknown(name: str) -> None:
    with pytest.raises(UnknownAlgorithm, match="known are pdq"):
        get_algorithm(name)


@given(kind=st.sampled_from(HAMMING), data=st.data())
def test_text_round_trips_and_is_imagehashs(kind: object, data: st.DataObject) -> None:
    algorithm = get_algorithm(getattr(kind, "name"))  # noqa: B009
    bits = data.draw(
        st.lists(st.booleans(), min_size=algorithm.bits, max_size=algorithm.bits).map(np.array)
    )
    signal = Signal(algorithm, pack_bits(bits))
    assert signal.text == str(imagehash.ImageHash(bits))
    assert parse_value(algorithm.name, f" {signal.text.upper()}\n") == signal.value


def test_segments_are_joined_by_commas() -> None:
    text = "0123456789abcdef,fedcba9876543210"
    signal = parse_signal(f"crop_resistant:{text}")
    assert signal.text == text
    assert len(signal.value) == 16
    with pytest.raises(InvalidSignal, match="at most 180 segments, not 181"):
        parse_value("crop_resistant", ",".join(["0" * 16] * 181))
    with pytest.raises(InvalidSignal, match="16 hex digits, not 0"):
        parse_value("crop_resistant", "0123456789abcdef,")


def test_bad_values_are_named() -> None:
    with pytest.raises(InvalidSignal, match="64 hex digits, not 3"):
        parse_value("pdq", "abc")
    with pytest.raises(InvalidSignal, match="'g' at position 2 is not"):
        parse_value("phash", "0g" + "0" * 14)
    with pytest.raises(InvalidSignal, match="'f' at position 1 is too large"):
        parse_value("colorhash", "f" * 11)
