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
    COMPANION,
    COMPLETE_SINCE_MS,
    COUNT,
    DAMAGED,
    DISTINCT,
    FIRST,
    LAST,
    MAX,
    MAX_AGE_MS,
    MAX_STACK,
    MEAN,
    META_PART,
    MIN,
    NOT_FOUND,
    NOT_RETAINED,
    NULL_VALUE,
    OUTSIDE_MAX_AGE,
    PART,
    PRESENT,
    SATURATED,
    SATURATED_WARMING,
    STDDEV,
    SUM,
    WARMING,
    WIDTH_MS,
    WINDOW_MS,
    Op,
)
from featsvc_kernels.fold_sums import (
    COMPANION_WORDS,
    MOMENTS_WORDS,
    double,
    fold_mean,
    fold_stddev,
    fold_sum,
    word,
)
from featsvc_kernels.jit import kernel

_NEVER_MS = 2**62
_LATEST_MS = 2.0**53
_LAST_BUCKET = 2**32 - 1

_META_BYTES = 16
_BORN_BYTES = 8
# Sizes in 32-bit words. A record begins with the number of its bucket.
_COUNT_WORDS = 2
_VALUE_WORDS = 3  # of SUM, MIN and MAX
_TIMED_WORDS = 5  # of FIRST and LAST
_EVICTED_WORDS = 2  # at the beginning of a list of distinct members
_MEMBER_WORDS = 4

_WORDS = "Array(uint32, 1, 'C', readonly=True)"
_I64 = "Array(int64, 1, 'C', readonly=True)"
_F64 = "Array(float64, 1, 'C', readonly=True)"


@kernel()
def _distinct(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    after_ms: float,
    until_ms: float,
    newest_ms: float,
) -> tuple[float, int]:
    """Return the number of members last seen after `after_ms`; SATURATED if some are missing."""
    if end == begin:
        return 0.0, PRESENT
    evicted_ms = double(words, begin)
    saturated = evicted_ms > after_ms and evicted_ms > 0.0
    at = end - _MEMBER_WORDS
    first = begin + _EVICTED_WORDS
    # Where a member has been seen after the window, one cannot know whether it was in it.
    if (at >= first and double(words, at + 2) > until_ms) or (saturated and newest_ms > until_ms):
        return np.nan, NOT_RETAINED
    count = 0
    while at >= first and double(words, at + 2) > after_ms:
        count += 1
        at -= _MEMBER_WORDS
    return float(count), SATURATED if saturated else PRESENT


@kernel()
def _first_or_last(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    aggregation: int,
    low: int,
    high: int,
    after_ms: float,
    until_ms: float,
) -> tuple[float, int]:
    """Return FIRST, LAST or, in milliseconds, the time for AGE_OF_FIRST or AGE_OF_LAST."""
    # A record of FIRST and LAST has a time and a value, one of the ages only a time.
    size = _TIMED_WORDS if aggregation in (FIRST, LAST) else _VALUE_WORDS
    value_at = size - 2
    is_first = aggregation in (FIRST, AGE_OF_FIRST)
    total = np.nan
    at = end - size
    while at >= begin and word(words, at) >= low:
        if word(words, at) <= high:
            time_ms = double(words, at + 1)
            if is_first:
                # A bucket whose first event is before the window may hold later ones; its first
                # event then counts for them.
                if time_ms <= until_ms:
                    total = double(words, at + value_at)
            elif time_ms > until_ms:
                return np.nan, NOT_RETAINED
            elif time_ms > after_ms:
                return double(words, at + value_at), PRESENT
        at -= size
    return total, PRESENT


@kernel()
def _count(words: NDArray[np.uint32], begin: int, end: int, low: int, high: int) -> float:
    """Return the number of events in buckets low..high of words[begin:end]."""
    total = 0.0
    at = end - _COUNT_WORDS
    while at >= begin and word(words, at) > high:
        at -= _COUNT_WORDS
    while at >= begin and word(words, at) >= low:
        total += word(words, at + 1)
        at -= _COUNT_WORDS
    return total


@kernel()
def _fold_one(
    words: NDArray[np.uint32],
    begin: int,
    end: int,
    extra: int,
    extra_end: int,
    aggregation: int,
    low: int,
    high: int,
    after_ms: float,
    until_ms: float,
) -> tuple[float, int]:
    """Return a feature of an entity from words[begin:end]: buckets low..high, newest first."""
    if aggregation == SUM:
        return fold_sum(words, begin, end, extra, extra_end, low, high), PRESENT
    if aggregation == MEAN:
        return fold_mean(words, begin, end, extra, extra_end, low, high), PRESENT
    if aggregation == STDDEV:
        return fold_stddev(words, begin, end, extra, extra_end, low, high), PRESENT
    if aggregation in (MIN, MAX):
        total = np.nan
        at = end - _VALUE_WORDS
        while at >= begin and word(words, at) >= low:
            if word(words, at) <= high:
                value = double(words, at + 1)
                if not (total <= value if aggregation == MIN else total >= value):
                    total = value
            at -= _VALUE_WORDS
        return total, PRESENT
    return _first_or_last(words, begin, end, aggregation, low, high, after_ms, until_ms)


@kernel()
def _record_sizes(plan: NDArray[np.int64], parts: int) -> NDArray[np.int64]:
    """Return (parts, 3): words before the records, words of a record, 2**40 / words rounded up.

    Parts without records have zeros.
    """
    sizes = np.zeros((parts, 3), np.int64)
    for f in range(plan.shape[0]):
        aggregation = plan[f, AGGREGATION]
        size = _VALUE_WORDS
        if aggregation == COUNT:
            size = _COUNT_WORDS
        elif aggregation in (MEAN, STDDEV):
            size = MOMENTS_WORDS
        elif aggregation in (FIRST, LAST):
            size = _TIMED_WORDS
        elif aggregation == DISTINCT:
            size = _MEMBER_WORDS
            sizes[plan[f, PART], 0] = _EVICTED_WORDS
        sizes[plan[f, PART], 1] = size
        if plan[f, COMPANION] > 0:
            sizes[plan[f, COMPANION], 1] = COMPANION_WORDS
    for p in range(parts):
        sizes[p, 2] = 2**40 // sizes[p, 1] + 1 if sizes[p, 1] else 0
    return sizes


@kernel()
def _is_whole(length: int, sizes: NDArray[np.int64], part: int) -> bool:
    """Return whether `length` bytes are the part's beginning and whole records, or nothing."""
    if length == 0 or sizes[part, 1] == 0:
        return True
    n = (length >> 2) - sizes[part, 0]
    # A division would take a tenth of the time of the kernel; this one is exact below 2**24.
    return length & 3 == 0 and 0 <= n < 2**24 and ((n * sizes[part, 2]) >> 40) * sizes[part, 1] == n


@kernel(
    f"boolean({_WORDS}, {_I64}, Array(int64, 2, 'C', readonly=True), {_F64}, int64, boolean, "
    "int64, float64[:, :], uint8[:, :], int64[:])"
)
def fold(
    words: NDArray[np.uint32],
    lengths: NDArray[np.int64],
    plan: NDArray[np.int64],
    defaults: NDArray[np.float64],
    as_of_ms: int,
    is_live: bool,
    born_part: int,
    values: NDArray[np.float64],
    statuses: NDArray[np.uint8],
    freshness_ms: NDArray[np.int64],
) -> bool:
    """Fold E entities of P parts each into F features.

    `words` (n,) uint32: all parts end to end, entity by entity, each padded to whole words;
    META_PART is the meta record, a missing part is empty. `lengths` (E * P,) int64: bytes of each
    part. `plan` (F, PLAN_COLUMNS) int64: the columns of `fold_codes`. `defaults` (F,): values for
    unknown entities. `as_of_ms`: the end of the windows; if `is_live`, everything stored counts as
    not later, else what is later does not count, or makes a value NOT_RETAINED. `born_part`: the
    part that begins with the f64 time of the entity's first event, -1 for none, which is 0.

    Writes `values` (F, E) float64, NaN for a status without a value, `statuses` (F, E) uint8 and
    `freshness_ms` (E,) int64, -1 for an unknown entity, a damaged one, and one whose newest event
    is after `as_of_ms`. An entity with a part that is no whole number of records is DAMAGED. A
    window that begins before the ring's oldest bucket is NOT_RETAINED. Returns False, and leaves
    the outputs undefined, if the lengths do not add up to `words`. O(E * F * buckets).
    """
    entities = freshness_ms.shape[0]
    features = plan.shape[0]
    parts = lengths.shape[0] // entities if entities else 0
    padded = 0
    for i in range(lengths.shape[0]):
        padded += (lengths[i] + 3) >> 2
    if lengths.shape[0] != entities * parts or padded != words.shape[0]:
        return False
    sizes = _record_sizes(plan, parts)
    offsets = np.zeros(parts + 1, np.int64)
    # Per feature: first and last bucket, the reference time from which on the ring no longer holds
    # the first one, the time before the window, and the newest birth of an entity that is WARMING.
    lows = np.zeros(features, np.int64)
    highs = np.zeros(features, np.int64)
    pruned_ms = np.full(features, _NEVER_MS)
    after_ms = np.full(features, -1.0)
    warming_ms = np.full(features, -1.0)
    until_ms = np.inf if is_live else float(as_of_ms)
    for f in range(features):
        width_ms = plan[f, WIDTH_MS]
        since_ms = plan[f, COMPLETE_SINCE_MS]
        if since_ms > 0 and (width_ms == 0 or as_of_ms - plan[f, WINDOW_MS] < since_ms):
            warming_ms[f] = since_ms
        if width_ms > 0:
            lows[f] = (as_of_ms - plan[f, WINDOW_MS]) // width_ms
            highs[f] = _LAST_BUCKET if is_live else as_of_ms // width_ms
            pruned_ms[f] = (lows[f] + plan[f, BUCKETS]) * width_ms
            after_ms[f] = as_of_ms - plan[f, WINDOW_MS]
    for e in range(entities):
        offsets[0] = offsets[parts]
        is_damaged = False
        for p in range(parts):
            length = lengths[e * parts + p]
            offsets[p + 1] = offsets[p] + ((length + 3) >> 2)
            if not _is_whole(length, sizes, p):
                is_damaged = True
        meta = offsets[META_PART]
        if lengths[e * parts + META_PART] == 0:
            freshness_ms[e] = -1
            for f in range(features):
                values[f, e] = defaults[f]
                statuses[f, e] = NOT_FOUND
            continue
        newest_ms = 0.0
        reference_ms = 0.0
        if lengths[e * parts + META_PART] >= _META_BYTES:
            newest_ms = double(words, meta)
            reference_ms = double(words, meta + 2)
        else:
            is_damaged = True
        if is_damaged or not (abs(newest_ms) <= _LATEST_MS and abs(reference_ms) <= _LATEST_MS):
            freshness_ms[e] = -1
            for f in range(features):
                values[f, e] = np.nan
                statuses[f, e] = DAMAGED
            continue
        born_ms = 0.0
        if born_part >= 0 and lengths[e * parts + born_part] >= _BORN_BYTES:
            born_ms = double(words, offsets[born_part])
        is_later = newest_ms > until_ms
        age_ms = max(np.int64(as_of_ms) - np.int64(newest_ms), np.int64(0))
        freshness_ms[e] = -1 if is_later else age_ms
        for f in range(features):
            part = plan[f, PART]
            aggregation = plan[f, AGGREGATION]
            value = np.nan
            if plan[f, MAX_AGE_MS] > 0 and is_later:
                status = NOT_RETAINED
            elif plan[f, MAX_AGE_MS] > 0 and age_ms > plan[f, MAX_AGE_MS]:
                status = OUTSIDE_MAX_AGE
            elif reference_ms >= pruned_ms[f] or (
                is_later and plan[f, WIDTH_MS] == 0 and aggregation <= MAX
            ):
                status = NOT_RETAINED
            elif aggregation == COUNT:
                value = _count(words, offsets[part], offsets[part + 1], lows[f], highs[f])
                status = PRESENT
            elif aggregation == DISTINCT:
                value, status = _distinct(
                    words, offsets[part], offsets[part + 1], after_ms[f], until_ms, newest_ms
                )
            else:
                extra = plan[f, COMPANION]
                value, status = _fold_one(
                    words,
                    offsets[part],
                    offsets[part + 1],
                    offsets[extra],
                    offsets[extra + 1] if extra > 0 else offsets[extra],
                    aggregation,
                    lows[f],
                    highs[f],
                    after_ms[f],
                    until_ms,
                )
                if status == PRESENT and not np.isfinite(value):
                    value = np.nan
                    status = NULL_VALUE
                elif aggregation in (AGE_OF_FIRST, AGE_OF_LAST):
                    value = max(as_of_ms - value, 0.0) / 1000.0
            if born_ms <= warming_ms[f]:
                if status in (PRESENT, NULL_VALUE):
                    status = WARMING
                elif status == SATURATED:
                    status = SATURATED_WARMING
            values[f, e] = value
            statuses[f, e] = status
    return True


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
    FEATURE is a row of `values`. `starts` (D + 1,). `defaults` (D,): values for unknown entities,
    where an operand without a default makes the result missing. `values`, `statuses` (rows, E).

    An operand is missing if it is NaN. It makes the result missing, except in COALESCE, and the
    status is the greatest of the missing operands'; else it is the greatest of both. A result that
    is not finite is NULL_VALUE. All results of a DAMAGED entity are DAMAGED.
    """
    stack = np.empty(MAX_STACK, np.float64)
    marks = np.empty(MAX_STACK, np.uint8)
    for d in range(starts.shape[0] - 1):
        row = first_row + d
        for e in range(values.shape[1]):
            if statuses[0, e] == DAMAGED:
                values[row, e] = np.nan
                statuses[row, e] = DAMAGED
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
                    if np.isnan(stack[top]):
                        stack[top] = stack[top + 1]
                        marks[top] = marks[top + 1]
                else:
                    top -= 1
                    left_is_missing = np.isnan(stack[top])
                    right_is_missing = np.isnan(stack[top + 1])
                    if left_is_missing and not right_is_missing:
                        continue
                    if left_is_missing == right_is_missing:
                        marks[top] = max(marks[top], marks[top + 1])
                    else:
                        marks[top] = marks[top + 1]
                    stack[top] = _combine(op, stack[top], stack[top + 1])
                    if left_is_missing or right_is_missing:
                        stack[top] = np.nan
                    elif not np.isfinite(stack[top]):
                        stack[top] = np.nan
                        marks[top] = NULL_VALUE
            values[row, e] = stack[0]
            statuses[row, e] = marks[0]
            if np.isnan(stack[0]) and statuses[0, e] == NOT_FOUND:
                values[row, e] = defaults[d]
                statuses[row, e] = NOT_FOUND
