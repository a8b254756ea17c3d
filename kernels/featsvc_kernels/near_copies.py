"""Near copies of texts: MinHash finds candidates, containment decides.

A text is the hashes of its 4-grams, in blocks of 32 neighbours. Resemblance, which MinHash
estimates, drops when a copy is put into a longer text. So a query is looked up in windows of
several lengths, one of which is about as long as the entry, and an entry longer than the longest
window is stored as several passages. If a passage shares two bands with a window, **containment**
decides (Broder 1997, section 2): the share of its grams that the window holds. Distance is
1 - containment.

    grams      uint32 (N,)      hashes of a text's 4-grams: block i is [32 i : 32 i + 32]
    sets       uint32           grams of each passage, ascending, each once
    set_ends   int64 (P,)       where each passage ends in `sets`
    owners     uint32 (P,)      row of the entry of each passage
    keys       uint32 (P, 64)   band keys of each passage
    starts     uint32 (2**b + 1,) where the postings of keys with these b highest bits begin
    postings   uint32 (64 P, 2) KEY and PASSAGE, by the b highest bits of the key
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.minhash import BANDS, MINIMA, band_keys, block_minima

KEY, PASSAGE = 0, 1
"""Columns of `postings`."""
BLOCK = 32
PASSAGE_BLOCKS = 16
PASSAGE_STEP = PASSAGE_BLOCKS // 2
MIN_GRAMS = 16
"""Texts of fewer different grams have no fingerprint: a phrase is not a copy of anything."""

# Windows have 1, 2, 4, 8 and 16 blocks and advance by a quarter of that, one block at least. Those
# that start within 4 blocks lie in one frame of 20, whose grams rule out most candidates at once.
_FRAME_STEP = 4
_FRAME_BLOCKS = _FRAME_STEP + PASSAGE_BLOCKS
_FILTER_BITS = np.uint32(1 << 16)

_u32, _u64 = np.uint32, np.uint64
_U32 = "Array(uint32, 1, 'C', True)"
_I64 = "Array(int64, 1, 'C', True)"


def count_passages(grams: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the largest number of passages of texts with these numbers of grams."""
    blocks = -(-grams // BLOCK)
    return np.where(blocks <= PASSAGE_BLOCKS, 1, -(-(blocks - PASSAGE_BLOCKS) // PASSAGE_STEP) + 1)


@kernel("(uint32[::1],)")
def sort_blocks(grams: NDArray[np.uint32]) -> None:
    """Put the grams of each block in ascending order."""
    for first in range(0, grams.size, BLOCK):
        grams[first : first + BLOCK].sort()


@kernel(f"int64({_U32})")
def first_disorder(grams: NDArray[np.uint32]) -> int:
    """Return the index of the first gram smaller than the one before it in its block, or -1."""
    for i in range(1, grams.size):
        if i % BLOCK and grams[i] < grams[i - 1]:
            return i
    return -1


@kernel()
def _unique(grams: NDArray[np.uint32], into: NDArray[np.uint32]) -> int:
    """Write the distinct grams in ascending order; return their number."""
    ordered = np.sort(grams)
    count = 0
    for i in range(ordered.size):
        if i == 0 or ordered[i] != ordered[i - 1]:
            into[count] = ordered[i]
            count += 1
    return count


@kernel(f"int64({_U32}, {_I64}, uint32[::1], int64[::1], uint32[::1], uint32[:, ::1])")
def cut_passages(
    grams: NDArray[np.uint32],
    ends: NDArray[np.int64],
    sets: NDArray[np.uint32],
    set_ends: NDArray[np.int64],
    owners: NDArray[np.uint32],
    keys: NDArray[np.uint32],
) -> int:
    """Cut entries into passages; return the number of those with MIN_GRAMS different grams. O(N).

    The grams of each entry end at `ends` (rows,). Writes `sets`, `set_ends`, `owners` and `keys`,
    which must have room for `count_passages` passages, of 512 grams each.
    """
    count, filled, begin = 0, 0, 0
    minima = np.empty((1, MINIMA), np.uint32)
    for row in range(ends.size):
        blocks = -(-(ends[row] - begin) // BLOCK)
        last = max(blocks - PASSAGE_BLOCKS, 0)
        first = 0
        while True:
            start = begin + first * BLOCK
            passage = grams[start : min(start + PASSAGE_BLOCKS * BLOCK, ends[row])]
            size = _unique(passage, sets[filled:])
            if size >= MIN_GRAMS:
                block_minima(passage, passage.size, minima)
                band_keys(minima, keys[count])
                filled += size
                set_ends[count] = filled
                owners[count] = row
                count += 1
            if first == last:
                break
            first = min(first + PASSAGE_STEP, last)
        begin = ends[row]
    return count


@kernel("(Array(uint32, 2, 'C', True), int64, uint32[::1], uint32[:, ::1])")
def post_keys(
    keys: NDArray[np.uint32],
    bits: int,
    starts: NDArray[np.uint32],
    postings: NDArray[np.uint32],
) -> None:
    """Write `starts` and `postings` from `keys`, by a counting sort. O(P + 2**bits)."""
    shift = _u32(32 - bits)
    starts[:] = 0
    for p in range(keys.shape[0]):
        for band in range(BANDS):
            starts[(keys[p, band] >> shift) + 1] += _u32(1)
    for i in range(1, starts.size):
        starts[i] += starts[i - 1]
    for p in range(keys.shape[0] - 1, -1, -1):
        for band in range(BANDS):
            key = keys[p, band]
            # From the back: the end of a list moves down to its beginning.
            i = starts[(key >> shift) + 1] - _u32(1)
            starts[(key >> shift) + 1] = i
            postings[i, KEY] = key
            postings[i, PASSAGE] = p
    # Every end is now the beginning of its list: move each to its own index.
    for i in range(starts.size - 1):
        starts[i] = starts[i + 1]
    starts[starts.size - 1] = postings.shape[0]


@kernel()
def _fill(grams: NDArray[np.uint32], bits: NDArray[np.uint64]) -> None:
    """Set the filter's 65,536 bits to those of the grams' low halves."""
    bits[:] = 0
    for gram in grams:
        bit = gram % _FILTER_BITS
        bits[bit >> _u32(6)] |= _u64(1) << _u64(bit & _u32(63))


@kernel()
def _may_hold(bits: NDArray[np.uint64], passage: NDArray[np.uint32], misses: int) -> bool:
    """Whether the filter may hold all but `misses` of the grams; False is always right."""
    for gram in passage:
        bit = gram % _FILTER_BITS
        if bits[bit >> _u32(6)] >> _u64(bit & _u32(63)) & _u64(1) == _u64(0):
            misses -= 1
            if misses < 0:
                return False
    return True


@kernel()
def _count_common(a: NDArray[np.uint32], b: NDArray[np.uint32]) -> int:
    """Return the number of common values of two arrays, each ascending and without repetition."""
    i = j = common = 0
    while i < a.size and j < b.size:
        x, y = a[i], b[j]
        common += x == y
        i += x <= y
        j += y <= x
    return common


@kernel()
def _windows_from(first: int, blocks: int, lengths: NDArray[np.int64]) -> int:
    """Write the lengths of the windows that start at block `first`; return their number."""
    count = 0
    if first == 0 and blocks <= PASSAGE_BLOCKS:
        lengths[count] = blocks
        count += 1
    length = 1
    while length <= PASSAGE_BLOCKS and length < blocks and first + length <= blocks:
        if first % max(length // 4, 1) == 0 or first + length == blocks:
            lengths[count] = length
            count += 1
        length *= 2
    return count


@kernel(
    f"int64({_U32}, float64, {_U32}, {_I64}, {_U32}, Array(uint32, 2, 'C', True), uint32[:, ::1], "
    "uint32[::1], float64[::1])"
)
def find_near_copies(
    grams: NDArray[np.uint32],
    radius: float,
    sets: NDArray[np.uint32],
    set_ends: NDArray[np.int64],
    starts: NDArray[np.uint32],
    postings: NDArray[np.uint32],
    scratch: NDArray[np.uint32],
    passages: NDArray[np.uint32],
    distances: NDArray[np.float64],
) -> int:
    """Find the passages within `radius` (0 to 1, inclusive) of a window of `grams`.

    Writes them to `passages` (P,), their smallest distances to `distances` (P,), and returns their
    number. `scratch` (3, P) must be zero. O(windows * (64 + candidates)).
    """
    # Per passage: the last window that shared a band with it, and in the lowest bit whether two
    # were shared; the last frame, and whether it may hold the passage; its index in `passages`
    # plus 1.
    marks, frames, places = scratch[0], scratch[1], scratch[2]
    blocks = -(-grams.size // BLOCK)
    minima = np.empty((blocks, MINIMA), np.uint32)
    block_minima(grams, BLOCK, minima)
    shift = _u32(32)
    while 1 << (_u32(32) - shift) < starts.size - 1:
        shift -= _u32(1)
    bits = np.empty(int(_FILTER_BITS) // 64, np.uint64)
    keys = np.empty(BANDS, np.uint32)
    lengths = np.empty(6, np.int64)
    members = np.empty(_FRAME_BLOCKS * BLOCK, np.uint32)
    count = 0
    window, frame = _u32(0), _u32(0)
    for first in range(blocks):
        if first % _FRAME_STEP == 0:
            frame += _u32(1)
            _fill(grams[first * BLOCK : (first + _FRAME_BLOCKS) * BLOCK], bits)
        for n in range(_windows_from(first, blocks, lengths)):
            window += _u32(1)
            last = first + lengths[n]
            band_keys(minima[first:last], keys)
            size = -1
            for band in range(BANDS):
                key = keys[band]
                at, end = starts[key >> shift], starts[(key >> shift) + _u32(1)]
                while at < end:
                    p = postings[at, PASSAGE]
                    same = postings[at, KEY] == key
                    at += _u32(1)
                    if not same:
                        continue
                    if marks[p] >> _u32(1) != window:
                        # One shared band is often chance; a second one makes a candidate.
                        marks[p] = window << _u32(1)
                        continue
                    if marks[p] & _u32(1):
                        continue
                    marks[p] |= _u32(1)
                    begin = set_ends[p - _u32(1)] if p > 0 else 0
                    passage = sets[begin : set_ends[p]]
                    if frames[p] >> _u32(1) != frame:
                        misses = int(radius * passage.size + 1e-6)
                        frames[p] = frame << _u32(1) | _u32(_may_hold(bits, passage, misses))
                    if not frames[p] & _u32(1):
                        continue
                    if size < 0:
                        size = _unique(grams[first * BLOCK : last * BLOCK], members)
                    common = _count_common(passage, members[:size])
                    distance = 1.0 - common / passage.size
                    if distance > radius:
                        continue
                    if places[p] == 0:
                        passages[count] = p
                        distances[count] = distance
                        count += 1
                        places[p] = count
                    elif distance < distances[places[p] - _u32(1)]:
                        distances[places[p] - _u32(1)] = distance
    return count
