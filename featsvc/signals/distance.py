"""The distance of two signals of one kind."""

import numpy as np
from featsvc_kernels import hamming as kernels
from numpy.typing import NDArray

from featsvc.errors import InvalidInput, InvalidSignal
from featsvc.signals.algorithms import Distance, get_algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.text_grams import grams_of
from featsvc.signals.text_index import TextIndex
from featsvc.signals.tlsh import tlsh_distance
from featsvc.signals.vectors import cosine_distance


def words_of(values: bytes, length: int) -> NDArray[np.uint64]:
    """Hashes of `length` bytes side by side as (N, W) 64-bit words, zero-padded."""
    rows = np.frombuffer(values, np.uint8).reshape(-1, length)
    if length % 8 == 0:
        return rows.view(np.uint64)
    padded = np.zeros((rows.shape[0], -(-length // 8) * 8), np.uint8)
    padded[:, :length] = rows
    return padded.view(np.uint64)


def distance(a: Signal, b: Signal) -> float:
    """Bits for Hamming; 0 or 1 for byte hashes; for segments the nearest pair's bits, for vectors
    1 - cosine; for texts the share of the one's 4-grams that the other lacks, whichever is less.

    imagehash's `a.matches(b)` with its defaults is `distance <= bits / 4`. Raises InvalidInput for
    two kinds, InvalidSignal for lengths that do not fit.
    """
    if a.algorithm != b.algorithm:
        raise InvalidInput(
            f"a {a.algorithm} and a {b.algorithm} signal do not compare; hash both with one"
        )
    kind = get_algorithm(a.algorithm)
    if kind.distance is Distance.CONTAINMENT:
        return min(_missing(a, b), _missing(b, a))
    _check_length(a, b)
    _check_length(b, a)
    if kind.distance is Distance.EQUALITY:
        return int(a.value != b.value)
    if kind.vector:
        return cosine_distance(a.value, b.value)
    if kind.distance is Distance.SEGMENTS:
        return min(nearest for nearest in _nearest(a, b))
    if kind.distance is Distance.TLSH:
        return tlsh_distance(a.value, b.value)
    left, right = words_of(a.value, kind.bytes)[0], words_of(b.value, kind.bytes)[0]
    return int(kernels.hamming(left, right))


def _missing(query: Signal, entry: Signal) -> float:
    """As banks match texts: 1 too where the two share so little that no index would find it."""
    grams, sought = (grams_of(np.frombuffer(s.value, np.uint8)) for s in (query, entry))
    index = TextIndex.build(sought, np.array([len(sought)], np.int64))
    return float(index.search(grams, 1.0)[1].min(initial=1.0))


def matching_segments(a: Signal, b: Signal, cutoff: int) -> tuple[int, int]:
    """imagehash's `hash_diff`: how many segments of `a` have one of `b` within `cutoff` bits, and
    the sum of those distances."""
    near = [nearest for nearest in _nearest(a, b) if nearest <= cutoff]
    return len(near), sum(near)


def _nearest(a: Signal, b: Signal) -> list[int]:
    """Of each segment of `a`, the distance to the nearest one of `b`."""
    length = get_algorithm(a.algorithm).bytes
    theirs = words_of(b.value, length)
    distances = np.empty(theirs.shape[0], np.uint16)
    nearest = []
    for segment in words_of(a.value, length):
        kernels.hamming_to_all(segment, theirs, distances)
        nearest.append(int(distances.min()))
    return nearest


def _check_length(signal: Signal, other: Signal) -> None:
    kind = get_algorithm(signal.algorithm)
    # Where the algorithm does not say, both sides must agree.
    wanted = kind.bytes or len(other.value)
    one = len(signal.value) == wanted
    several = kind.distance is Distance.SEGMENTS and len(signal.value) % kind.bytes == 0
    if not (one or (several and signal.value)):
        raise InvalidSignal(
            f"a {signal.algorithm} value has {wanted} bytes, this one has {len(signal.value)}"
        )
