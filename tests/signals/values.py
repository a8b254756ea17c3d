"""Random values of each distance, and text forms as values."""

from collections.abc import Callable, Mapping

import numpy as np
from hypothesis import strategies as st

from featsvc.signals.algorithms import Algorithm, get_algorithm
from featsvc.signals.distance import (
    CONTAINMENT,
    COSINE,
    EQUALITY,
    HAMMING,
    OPAQUE,
    SEGMENTS,
    TLSH,
    Distance,
)
from featsvc.signals.signal import Signal
from featsvc.signals.text import hash_text
from featsvc.signals.vectors import vector_value
from tests.texts import ENTRIES

Draw = Callable[[Algorithm], st.SearchStrategy[bytes]]


def _bits(kind: Algorithm) -> st.SearchStrategy[bytes]:
    return st.integers(0, 2**kind.bits - 1).map(lambda number: number.to_bytes(kind.bytes))


def _segments(kind: Algorithm) -> st.SearchStrategy[bytes]:
    return st.lists(_bits(kind), min_size=1, max_size=5).map(b"".join)


def _vectors(kind: Algorithm) -> st.SearchStrategy[bytes]:
    def made(seed: int) -> bytes:
        drawn = np.random.default_rng(seed).standard_normal(kind.dimensions or 9)
        return vector_value(kind, drawn.astype(np.float32))

    return st.integers(0, 2**32).map(made)


def _grams(kind: Algorithm) -> st.SearchStrategy[bytes]:
    texts = st.lists(st.sampled_from(ENTRIES), min_size=1, max_size=3).map(" ".join)
    return texts.map(lambda text: hash_text(text, [kind.name]).signals[0].value)


VALUES: Mapping[Distance, Draw] = {
    HAMMING: _bits,
    EQUALITY: _bits,
    OPAQUE: lambda _: st.from_regex(r"[!-~]([ -~]{0,40}[!-~])?", fullmatch=True).map(str.encode),
    SEGMENTS: _segments,
    COSINE: _vectors,
    CONTAINMENT: _grams,
    TLSH: _bits,
}


def values_of(kind: Algorithm) -> st.SearchStrategy[bytes]:
    assert kind.distance in VALUES, f"draw values of {kind.distance!r} in tests/signals/values.py"
    return VALUES[kind.distance](kind)


def parse_value(algorithm: str, text: str) -> bytes:
    """Parse the text form of a value of the algorithm."""
    kind = get_algorithm(algorithm)
    return kind.distance.parse(kind, text)


def parse_signal(text: str) -> Signal:
    """Parse a signal like `pdq:HEX`."""
    algorithm, _, value = text.partition(":")
    return Signal(get_algorithm(algorithm), parse_value(algorithm, value))
