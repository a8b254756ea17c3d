"""Exact search in Hamming space: every stored hash within a radius of a query.

Two kernels return the same hits. `scan` compares every hash. `probe` looks hashes up by their
chunks: multi-index hashing (Norouzi, Punjani and Fleet 2012, section 3) with the general
pigeonhole principle (Qin et al. 2018, section 3). Chunk i is searched to the radius r_i. If
sum(r_i + 1) > R, two hashes within R bits of each other agree within r_i bits in at least one
chunk i; otherwise they would differ in at least sum(r_i + 1) bits. A radius of -1 skips a chunk.

Layouts, shared by all kernels:

    values     uint64 (N, W)  hashes; bit j of a hash is bit j % 64 of word j // 64
    chunks     int64          (C, CHUNK_COLUMNS), per chunk: first bit, width (1 to 31), base in
                              `starts`, base in `masks`, number of masks, radius r_i
    starts     uint32         2**width + 1 entries per chunk: where the posting list of each key
                              begins and ends within the chunk's N postings
    postings   uint32 (C * N) rows by key, chunk after chunk
    masks      uint32         every difference of at most r_i bits, once per chunk

A chunk lies in at most two words. Distances are bits; smaller is closer. Callers validate.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.jit import kernel
from featsvc_kernels.popcount import popcount, prefetch_item

# Columns of `chunks`.
FIRST_BIT = 0
WIDTH = 1
STARTS_BASE = 2
MASKS_BASE = 3
MASKS = 4
RADIUS = 5
CHUNK_COLUMNS = 6

GAVE_UP = -1
_BEGIN, _END = 0, 1  # columns of `spans`
_WORD_BITS = 64
_CACHED_STARTS = 1 << 19
"""Tables of fewer starts (2 MB) mostly stay in the second-level cache."""

_WORDS = "Array(uint64, 2, 'C', True)"
_U32 = "Array(uint32, 1, 'C', True)"
_TABLE = "Array(int64, 2, 'C', True)"

# `chunks`, `starts`, `postings`, `masks`; `spans`, `candidates`; `rows`, `distances`.
_Tables = tuple[NDArray[np.int64], NDArray[np.uint32], NDArray[np.uint32], NDArray[np.uint32]]
_Scratch = tuple[NDArray[np.int64], NDArray[np.uint32]]
_Hits = tuple[NDArray[np.int64], NDArray[np.int64]]


@kernel()
def _distance(values: NDArray[np.uint64], row: int, query: NDArray[np.uint64], radius: int) -> int:
    """Return the number of differing bits, or any number above `radius` once it exceeds that."""
    words = query.size
    total = popcount(values[row, 0] ^ query[0])
    if words > 1:
        total += popcount(values[row, 1] ^ query[1])
    if total > radius:
        # Half of a 256-bit hash rules out nearly every unrelated one.
        return total
    for w in range(2, words):
        total += popcount(values[row, w] ^ query[w])
    return total


@kernel()
def _key(words: NDArray[np.uint64], first_bit: int, width: int) -> int:
    """Return the bits first_bit to first_bit + width of a hash as a number."""
    word = first_bit >> 6
    shift = first_bit & 63
    bits = words[word] >> np.uint64(shift)
    if shift + width > _WORD_BITS:
        bits |= words[word + 1] << np.uint64(_WORD_BITS - shift)
    return int(bits & ((np.uint64(1) << np.uint64(width)) - np.uint64(1)))


@kernel()
def _scan_one(
    values: NDArray[np.uint64],
    query: NDArray[np.uint64],
    radius: int,
    rows: NDArray[np.int64],
    distances: NDArray[np.int64],
    count: int,
) -> int:
    """Append the hits of one query after the first `count`; return the number of hits with them."""
    for row in range(values.shape[0]):
        distance = _distance(values, row, query, radius)
        if distance <= radius:
            if count < rows.size:
                rows[count] = row
                distances[count] = distance
            count += 1
    return count


@kernel(f"int64({_WORDS}, {_WORDS}, int64, int64, int64[::1], int64[::1], int64[::1])")
def scan(
    values: NDArray[np.uint64],
    queries: NDArray[np.uint64],
    radius: int,
    first: int,
    ends: NDArray[np.int64],
    rows: NDArray[np.int64],
    distances: NDArray[np.int64],
) -> int:
    """Find the hits of `queries` (Q, W), from query `first` on, by comparing every hash. O(Q N W).

    The hits of query q are appended to `rows` and `distances` and end at `ends[q]`. Those of query
    `first` begin at `ends[first - 1]`, or at 0. Returns Q, or the query q whose hits did not fit:
    `ends[q]` is then the size that `rows` needs, and a call with `first` q goes on.
    """
    count = int(ends[first - 1]) if first > 0 else 0
    for q in range(first, queries.shape[0]):
        count = _scan_one(values, queries[q], radius, rows, distances, count)
        ends[q] = count
        if count > rows.size:
            return q
    return len(queries)


@kernel(f"void({_WORDS}, int64, int64, uint32[::1], uint32[::1])")
def post(
    values: NDArray[np.uint64],
    first_bit: int,
    width: int,
    starts: NDArray[np.uint32],
    postings: NDArray[np.uint32],
) -> None:
    """Write the posting lists of one chunk, ordered by key, then by row. O(N + 2**width).

    `starts` has 2**width + 1 entries, `postings` N. A counting sort.
    """
    count = values.shape[0]
    starts[:] = np.uint32(0)
    for row in range(count):
        starts[_key(values[row], first_bit, width) + 1] += np.uint32(1)
    for key in range(starts.size - 1):
        starts[key + 1] += starts[key]
    # Each start moves to the end of its list, where the next list starts.
    for row in range(count):
        key = _key(values[row], first_bit, width)
        postings[starts[key]] = np.uint32(row)
        starts[key] += np.uint32(1)
    for key in range(starts.size - 1, 0, -1):
        starts[key] = starts[key - 1]
    starts[0] = np.uint32(0)


@kernel()
def _verify(
    values: NDArray[np.uint64],
    query: NDArray[np.uint64],
    chunks: NDArray[np.int64],
    chunk: int,
    radius: int,
    candidates: NDArray[np.uint32],
    waiting: int,
    hits: _Hits,
    count: int,
) -> int:
    """Like `_scan_one`, for the first `waiting` candidates that no earlier chunk has found."""
    rows, distances = hits
    for i in range(waiting):
        row = int(candidates[i])
        distance = _distance(values, row, query, radius)
        if distance > radius:
            continue
        is_new = True
        for c in range(chunk):
            first_bit, width = chunks[c, FIRST_BIT], chunks[c, WIDTH]
            differing = _key(values[row], first_bit, width) ^ _key(query, first_bit, width)
            if popcount(np.uint64(differing)) <= chunks[c, RADIUS]:
                is_new = False
                break
        if is_new:
            if count < rows.size:
                rows[count] = row
                distances[count] = distance
            count += 1
    return count


@kernel()
def _probe_one(
    values: NDArray[np.uint64],
    query: NDArray[np.uint64],
    radius: int,
    tables: _Tables,
    give_up: int,
    scratch: _Scratch,
    hits: _Hits,
    count: int,
) -> int:
    """Like `_scan_one`, or return GAVE_UP.

    Three passes over uncached memory: starts, postings, hashes. Each prefetches what the next one
    reads, so that the waits overlap.
    """
    chunks, starts, postings, masks = tables
    spans, candidates = scratch
    flat = values.reshape(-1)
    size, words = values.shape
    if starts.size > _CACHED_STARTS:
        for c in range(chunks.shape[0]):
            if chunks[c, RADIUS] >= 0:
                key = _key(query, chunks[c, FIRST_BIT], chunks[c, WIDTH])
                base, mask = chunks[c, STARTS_BASE], chunks[c, MASKS_BASE]
                for k in range(chunks[c, MASKS]):
                    prefetch_item(starts, base + (key ^ int(masks[mask + k])))
    # Non-empty lists move to the front of their chunk's spans, without a branch.
    expected = 0
    first = 0
    for c in range(chunks.shape[0]):
        if chunks[c, RADIUS] >= 0:
            key = _key(query, chunks[c, FIRST_BIT], chunks[c, WIDTH])
            base, mask = chunks[c, STARTS_BASE], chunks[c, MASKS_BASE]
            postings_base = c * size
            lists = first
            for k in range(chunks[c, MASKS]):
                slot = base + (key ^ int(masks[mask + k]))
                begin = postings_base + int(starts[slot])
                end = postings_base + int(starts[slot + 1])
                spans[lists, _BEGIN] = begin
                spans[lists, _END] = end
                prefetch_item(postings, begin)
                expected += end - begin
                lists += int(end > begin)
            first += chunks[c, MASKS]
            # If a chunk has fewer lists than spans, its last span holds the difference, negative.
            if lists < first:
                spans[first - 1, _END] = lists - first
    if expected > give_up:
        return GAVE_UP
    first = 0
    for c in range(chunks.shape[0]):
        if chunks[c, RADIUS] < 0:
            continue
        waiting = 0
        last = first + chunks[c, MASKS]
        lists = last if spans[last - 1, _END] >= 0 else last + spans[last - 1, _END]
        for probe in range(first, lists):
            for i in range(spans[probe, _BEGIN], spans[probe, _END]):
                row = postings[i]
                prefetch_item(flat, int(row) * words)
                candidates[waiting] = row
                waiting += 1
                if waiting == candidates.size:
                    count = _verify(
                        values, query, chunks, c, radius, candidates, waiting, hits, count
                    )
                    waiting = 0
        first = last
        count = _verify(values, query, chunks, c, radius, candidates, waiting, hits, count)
    return count


@kernel(
    f"int64({_WORDS}, {_WORDS}, int64, {_TABLE}, {_U32}, {_U32}, {_U32}, int64, "
    "int64[:, ::1], uint32[::1], int64, int64[::1], int64[::1], int64[::1])"
)
def probe(
    values: NDArray[np.uint64],
    queries: NDArray[np.uint64],
    radius: int,
    chunks: NDArray[np.int64],
    starts: NDArray[np.uint32],
    postings: NDArray[np.uint32],
    masks: NDArray[np.uint32],
    give_up: int,
    spans: NDArray[np.int64],
    candidates: NDArray[np.uint32],
    first: int,
    ends: NDArray[np.int64],
    rows: NDArray[np.int64],
    distances: NDArray[np.int64],
) -> int:
    """Find the hits that `scan` finds, in another order, by multi-index hashing.

    `radius` and the chunks' radii must satisfy the pigeonhole principle above. A query with more
    than `give_up` candidates is scanned, which is then faster. `spans` (at least the number of
    masks, 2) and `candidates` (at least 1) are scratch. For the other arguments and the result
    see `scan`.
    """
    tables = chunks, starts, postings, masks
    scratch, hits = (spans, candidates), (rows, distances)
    count = int(ends[first - 1]) if first > 0 else 0
    for q in range(first, queries.shape[0]):
        query = queries[q]
        total = _probe_one(values, query, radius, tables, give_up, scratch, hits, count)
        if total == GAVE_UP:
            total = _scan_one(values, query, radius, rows, distances, count)
        count = total
        ends[q] = count
        if count > rows.size:
            return q
    return len(queries)
