"""Feature values from packed rings of buckets, and derived features from those values.

`featsvc.accounts.layout` documents the byte layout, `featsvc_kernels.fold_codes` the statuses,
aggregations, columns of plans and opcodes.
"""

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels.fold_codes import (
    AGE_OF_FIRST,
    AGE_OF_LAST,
    AGGREGATION,
    BUCKETS,
    COUNT,
    DISTINCT,
    FIRST,
    LAST,
    MAX_AGE_MS,
    MAX_STACK,
    MEAN,
    META_PART,
    MIN,
    NOT_FOUND,
    NULL_VALUE,
    OUTSIDE_MAX_AGE,
    PART,
    PRESENT,
    SATURATED,
    STDDEV,
    SUM,
    WIDTH_MS,
    WINDOW_MS,
    Op,
)
from featsvc_kernels.jit import kernel

_NEVER_MS = 2**62

# Sizes in 32-bit words. A record begins with the number of its bucket.
_META_WORDS = 4
_COUNT_WORDS = 2
_VALUE_WORDS = 3  # of SUM, MIN and MAX
_TIMED_WORDS = 5  # of FIRST and LAST
_MOMENTS_WORDS = 6
_EVICTED_WORDS = 2  # at the beginning of a list of distinct members
_MEMBER_WORDS = 4

_WORDS = "Array(uint32, 1, 'C', readonly=True)"
_I64 = "Array(int64, 1, 'C', readonly=True)"
_F64 = "Array(float64, 1, 'C', readonly=True)"


@kernel()
def _double(words: NDArray[np.uint32], at: int) -> float:
    """Return the f64 in words[at], words[at + 1]; packed, it is only 4-byte aligned."""
    bits = np.uint64(words[at]) | (np.uint64(words[at + 1]) << np.uint64(32))
    return np.uint64(bits).view(np.float64)


@kernel()
def _distinct(
    words: NDArray[np.uint32], begin: int, end: int, after_ms: float
) -> tuple[float, int]:
    """Return the number of members last seen after `after_ms`; SATURATED if some are missing."""
    count = 0
    at = end - _MEMBER_WORDS
    while at >= begin + _EVICTED_WORDS and _double(words, at + 2) > after_ms:
        count += 1
        at -= _MEMBER_WORDS
    evicted = _double(words, begin) if end - begin >= _EVICTED_WORDS else 0.0
    return float(count), SATURATED if evicted > after_ms and evicted > 0.0 else PRESENT


@kernel()
def _moments(
    words: NDArray[np.uint32], begin: int, end: int, low: int, high: int, stddev: bool
) -> tuple[float, int]:
    """Return the mean, or the population standard deviation.

    Buckets are merged by the formula of Chan, Golub and LeVeque (1983, equations 2.1), which does
    not cancel as sums of squares do.
    """
    n = 0.0
    mean = 0.0
    m2 = 0.0
    at = end - _MOMENTS_WORDS
    while at >= begin and words[at] >= low:
        if words[at] <= high:
            k = float(words[at + 1])
            delta = _double(words, at + 2) - mean
            m2 += _double(words, at + 4) + delta * delta * n * k / (n + k)
            n += k
            mean += delta * k / n
        at -= _MOMENTS_WORDS
    if n == 0.0:
        return np.nan, NULL_VALUE
    return (np.sqrt(m2 / n) if stddev else mean), PRESENT


@kernel()
def _fold_one(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    aggregation: int,
    low: int,
    high: int,
    after_ms: float,
    as_of_ms: float,
) -> tuple[float, int]:
    """Return a feature of an entity from words[begin:end]: buckets low..high, newest first."""
    if aggregation == DISTINCT:
        return _distinct(words, begin, end, after_ms)
    if aggregation in (MEAN, STDDEV):
        return _moments(words, begin, end, low, high, aggregation == STDDEV)
    total = 0.0
    if aggregation == COUNT:
        at = end - _COUNT_WORDS
        while at >= begin and words[at] > high:
            at -= _COUNT_WORDS
        while at >= begin and words[at] >= low:
            total += words[at + 1]
            at -= _COUNT_WORDS
        return total, PRESENT
    if aggregation == SUM:
        at = end - _VALUE_WORDS
        while at >= begin and words[at] > high:
            at -= _VALUE_WORDS
        while at >= begin and words[at] >= low:
            total += _double(words, at + 1)
            at -= _VALUE_WORDS
        return total, PRESENT
    is_present = False
    if aggregation in (FIRST, LAST):
        at = end - _TIMED_WORDS
        while at >= begin and words[at] >= low:
            # A bucket whose last event is before the window has none in it. One whose first event
            # is before the window may hold later ones; its first event then counts for them.
            if words[at] <= high and (aggregation == FIRST or _double(words, at + 1) > after_ms):
                is_present = True
                total = _double(words, at + 3)
                if aggregation == LAST:
                    break
            at -= _TIMED_WORDS
        return (total, PRESENT) if is_present else (np.nan, NULL_VALUE)
    smallest = aggregation in (MIN, AGE_OF_FIRST)
    at = end - _VALUE_WORDS
    while at >= begin and words[at] >= low:
        if words[at] <= high:
            value = _double(words, at + 1)
            if not is_present or (value < total if smallest else value > total):
                total = value
            is_present = True
        at -= _VALUE_WORDS
    if aggregation in (AGE_OF_FIRST, AGE_OF_LAST):
        if total <= after_ms and aggregation == AGE_OF_LAST:
            is_present = False
        total = max(as_of_ms - total, 0.0) / 1000.0
    return (total, PRESENT) if is_present else (np.nan, NULL_VALUE)


@kernel(
    f"boolean({_WORDS}, {_I64}, Array(int64, 2, 'C', readonly=True), {_F64}, int64, "
    "float64[:, ::1], uint8[:, ::1], int64[::1])"
)
def fold(
    words: NDArray[np.uint32],
    lengths: NDArray[np.int64],
    plan: NDArray[np.int64],
    defaults: NDArray[np.float64],
    as_of_ms: int,
    values: NDArray[np.float64],
    statuses: NDArray[np.uint8],
    freshness_ms: NDArray[np.int64],
) -> bool:
    """Fold E entities of P parts each into F features.

    `words` (n,) uint32: all parts end to end, entity by entity; META_PART is the meta record, a
    missing part is empty. `lengths` (E * P,) int64: bytes of each part. `plan` (F, PLAN_COLUMNS)
    int64: the columns of `fold_codes`. `defaults` (F,): values for unknown entities. `as_of_ms`:
    the end of the windows.

    Writes `values` (F, E) float64, NaN for a status without a value, `statuses` (F, E) uint8 and
    `freshness_ms` (E,) int64, -1 for an unknown entity. A window that begins before the ring's
    oldest bucket is NULL_VALUE. Returns False, and leaves the outputs undefined, if a length is no
    multiple of 4 or the lengths do not add up to `words`. O(E * F * buckets).
    """
    entities = freshness_ms.shape[0]
    features = plan.shape[0]
    parts = lengths.shape[0] // entities if entities else 0
    if lengths.shape[0] != entities * parts or np.sum(lengths) != 4 * words.shape[0]:
        return False
    offsets = np.zeros(parts + 1, np.int64)
    # Per feature: first and last bucket, the reference time from which on the ring no longer holds
    # the first one, and the time before the window.
    lows = np.zeros(features, np.int64)
    highs = np.zeros(features, np.int64)
    pruned_ms = np.full(features, _NEVER_MS)
    after_ms = np.full(features, -1.0)
    for f in range(features):
        width_ms = plan[f, WIDTH_MS]
        if width_ms > 0:
            lows[f] = (as_of_ms - plan[f, WINDOW_MS]) // width_ms
            highs[f] = as_of_ms // width_ms
            pruned_ms[f] = (lows[f] + plan[f, BUCKETS]) * width_ms
            after_ms[f] = as_of_ms - plan[f, WINDOW_MS]
    for e in range(entities):
        offsets[0] = offsets[parts]
        for p in range(parts):
            if lengths[e * parts + p] & 3:
                return False
            offsets[p + 1] = offsets[p] + (lengths[e * parts + p] >> 2)
        meta = offsets[META_PART]
        if offsets[META_PART + 1] - meta < _META_WORDS:
            freshness_ms[e] = -1
            for f in range(features):
                values[f, e] = defaults[f]
                statuses[f, e] = NOT_FOUND
            continue
        age_ms = max(np.int64(as_of_ms) - np.int64(_double(words, meta)), np.int64(0))
        reference_ms = np.int64(_double(words, meta + 2))
        freshness_ms[e] = age_ms
        for f in range(features):
            if plan[f, MAX_AGE_MS] > 0 and age_ms > plan[f, MAX_AGE_MS]:
                values[f, e] = np.nan
                statuses[f, e] = OUTSIDE_MAX_AGE
            elif reference_ms >= pruned_ms[f]:
                values[f, e] = np.nan
                statuses[f, e] = NULL_VALUE
            else:
                part = plan[f, PART]
                values[f, e], statuses[f, e] = _fold_one(
                    words,
                    offsets[part],
                    offsets[part + 1],
                    plan[f, AGGREGATION],
                    lows[f],
                    highs[f],
                    after_ms[f],
                    float(as_of_ms),
                )
    return True


@kernel()
def _missing(status: int) -> bool:
    return status in (NULL_VALUE, OUTSIDE_MAX_AGE, NOT_FOUND)


@kernel()
def _combine(op: int, a: float, b: float) -> float:  # noqa: PLR0911 - a line per operator
    if op == Op.ADD:
        return a + b
    if op == Op.SUBTRACT:
        return a - b
    if op == Op.MULTIPLY:
        return a * b
    if op == Op.DIVIDE:
        return a / b
    if op == Op.LESS:
        return 1.0 if a < b else 0.0
    if op == Op.LESS_EQUAL:
        return 1.0 if a <= b else 0.0
    if op == Op.GREATER:
        return 1.0 if a > b else 0.0
    if op == Op.GREATER_EQUAL:
        return 1.0 if a >= b else 0.0
    if op == Op.EQUAL:
        return 1.0 if a == b else 0.0
    if op == Op.NOT_EQUAL:
        return 1.0 if a != b else 0.0
    if op == Op.MINIMUM:
        return min(a, b)
    return max(a, b)


@kernel(f"void({_I64}, {_F64}, {_I64}, {_F64}, int64, float64[:, ::1], uint8[:, ::1])")
def derive(
    ops: NDArray[np.int64],
    arguments: NDArray[np.float64],
    starts: NDArray[np.int64],
    defaults: NDArray[np.float64],
    first_row: int,
    values: NDArray[np.float64],
    statuses: NDArray[np.uint8],
) -> None:
    """Run D postfix programs over folded rows and write rows first_row to first_row + D.

    `ops`, `arguments` (n,): the programs end to end, codes of `fold_codes.Op`; the argument of
    FEATURE is a row of `values`. `starts` (D + 1,). `defaults` (D,). `values`, `statuses`
    (rows, E). A missing operand makes the result missing, except in COALESCE. A result that is not
    finite is NULL_VALUE. A SATURATED operand makes the result SATURATED.
    """
    stack = np.empty(MAX_STACK, np.float64)
    marks = np.empty(MAX_STACK, np.uint8)
    for d in range(starts.shape[0] - 1):
        row = first_row + d
        for e in range(values.shape[1]):
            if statuses[0, e] == NOT_FOUND:
                values[row, e] = defaults[d]
                statuses[row, e] = NOT_FOUND
                continue
            top = -1
            for i in range(starts[d], starts[d + 1]):
                op = ops[i]
                if op == Op.CONSTANT:
                    top += 1
                    stack[top] = arguments[i]
                    marks[top] = PRESENT
                elif op == Op.FEATURE:
                    top += 1
                    stack[top] = values[np.int64(arguments[i]), e]
                    marks[top] = statuses[np.int64(arguments[i]), e]
                elif op == Op.NEGATE:
                    stack[top] = -stack[top]
                elif op == Op.COALESCE:
                    top -= 1
                    if _missing(marks[top]):
                        stack[top] = stack[top + 1]
                        marks[top] = marks[top + 1]
                else:
                    top -= 1
                    left, right = marks[top], marks[top + 1]
                    if _missing(left) or _missing(right):
                        marks[top] = max(
                            left if _missing(left) else 0, right if _missing(right) else 0
                        )
                        continue
                    stack[top] = _combine(op, stack[top], stack[top + 1])
                    marks[top] = max(left, right)
                    if not np.isfinite(stack[top]):
                        marks[top] = NULL_VALUE
            values[row, e] = np.nan if _missing(marks[0]) else stack[0]
            statuses[row, e] = marks[0]
