"""The NumPy twins of `fold`: one feature at a time, records as columns."""

import math
import operator
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels import fold_codes as codes
from featsvc_kernels.fold_codes import Op

Result = tuple[float, int]
_F64_BYTES = 8
_LEAST_M2, _GREATEST_M2 = 1e-280, 1e290
NOTHING: Result = (math.nan, codes.NULL_VALUE)
LATER: Result = (math.nan, codes.NOT_RETAINED)

_RECORDS = {
    codes.COUNT: [("bucket", "<u4"), ("n", "<u4")],
    codes.SUM: [("bucket", "<u4"), ("value", "<f8")],
    codes.MEAN: [("bucket", "<u4"), ("n", "<u4"), ("mean", "<f8"), ("m2", "<f8")],
    codes.FIRST: [("bucket", "<u4"), ("time", "<f8"), ("value", "<f8")],
}
_RECORDS[codes.STDDEV] = _RECORDS[codes.MEAN]
_RECORDS[codes.LAST] = _RECORDS[codes.FIRST]
_RECORDS[codes.MIN] = _RECORDS[codes.MAX] = _RECORDS[codes.SUM]
_RECORDS[codes.AGE_OF_FIRST] = _RECORDS[codes.AGE_OF_LAST] = [("bucket", "<u4"), ("time", "<f8")]
_RECORDS[codes.DISTINCT] = [("member", "<u8"), ("seen", "<f8")]
_COMPANION = [("bucket", "<u4"), ("low", "<f8"), ("second", "<f8")]


@dataclass(frozen=True, slots=True)
class Stored:
    """What an entity has stored, as far as one feature reads it."""

    meta: bytes
    part: bytes
    companion: bytes = b""
    born: bytes = b""


def fold_one(
    stored: Stored, plan: NDArray[np.int64], default: float, as_of_ms: int, is_live: bool
) -> Result:
    """Return a feature of an entity; `plan` is a row of the plan of `fold`."""
    if not stored.meta:
        return default, codes.NOT_FOUND
    if _is_damaged(stored, int(plan[codes.AGGREGATION])):
        return math.nan, codes.DAMAGED
    value, status = _known(stored, plan, as_of_ms, math.inf if is_live else as_of_ms)
    since, window = int(plan[codes.COMPLETE_SINCE_MS]), int(plan[codes.WINDOW_MS])
    born = struct.unpack_from("<d", stored.born)[0] if len(stored.born) >= _F64_BYTES else 0.0
    begins_earlier = plan[codes.WIDTH_MS] == 0 or as_of_ms - window < since
    if since and begins_earlier and born <= since:
        warming = {
            codes.PRESENT: codes.WARMING,
            codes.NULL_VALUE: codes.WARMING,
            codes.SATURATED: codes.SATURATED_WARMING,
        }
        status = warming.get(status, status)
    return value, status


def _is_damaged(stored: Stored, aggregation: int) -> bool:
    size, head = _dtype(aggregation).itemsize, 8 * (aggregation == codes.DISTINCT)
    times = (
        struct.unpack_from("<dd", stored.meta)
        if len(stored.meta) >= 2 * _F64_BYTES
        else (math.nan,)
    )
    return (
        not all(abs(time) <= 2**53 for time in times)
        or bool(stored.part and (len(stored.part) < head or (len(stored.part) - head) % size))
        or len(stored.companion) % 20 != 0
    )


def _dtype(aggregation: int) -> np.dtype[np.void]:
    return np.dtype(_RECORDS[aggregation])


def _known(stored: Stored, plan: NDArray[np.int64], as_of_ms: int, until: float) -> Result:
    """Return a feature without regard to warming; what is later than `until` does not count."""
    newest, reference = struct.unpack_from("<dd", stored.meta)
    aggregation, width = int(plan[codes.AGGREGATION]), int(plan[codes.WIDTH_MS])
    if plan[codes.MAX_AGE_MS]:
        if newest > until:
            return LATER
        if as_of_ms - newest > plan[codes.MAX_AGE_MS]:
            return math.nan, codes.OUTSIDE_MAX_AGE
    after = as_of_ms - int(plan[codes.WINDOW_MS]) if width else -1
    low, high = (after // width, as_of_ms // width) if width else (0, 0)
    if width and low < int(reference) // width - int(plan[codes.BUCKETS]) + 1:
        return LATER
    if aggregation == codes.DISTINCT:
        return _distinct(stored.part, after, until, newest)
    if not width and newest > until and aggregation <= codes.MAX:
        return LATER
    records = np.frombuffer(stored.part, _dtype(aggregation))
    if until != math.inf:
        records = records[records["bucket"] <= high]
    records = records[records["bucket"] >= low]
    companion = np.frombuffer(stored.companion, np.dtype(_COMPANION))
    value, status = _aggregate(aggregation, records, companion, after, until)
    if status == codes.PRESENT and aggregation in (codes.AGE_OF_FIRST, codes.AGE_OF_LAST):
        value = max(as_of_ms - value, 0.0) / 1000.0
    return (value, status) if math.isfinite(value) or status != codes.PRESENT else NOTHING


def _distinct(part: bytes, after: int, until: float, newest: float) -> Result:
    if not part:
        return 0.0, codes.PRESENT
    saturated = struct.unpack_from("<d", part)[0] > max(after, 0)
    seen = np.frombuffer(part[8:], _dtype(codes.DISTINCT))["seen"]
    if (len(seen) and seen[-1] > until) or (saturated and newest > until):
        return LATER
    return float((seen > after).sum()), codes.SATURATED if saturated else codes.PRESENT


def _aggregate(
    aggregation: int,
    records: NDArray[np.void],
    companion: NDArray[np.void],
    after: int,
    until: float,
) -> Result:
    if aggregation == codes.COUNT:
        return float(records["n"].sum(dtype=np.float64)), codes.PRESENT
    if aggregation in (codes.SUM, codes.MEAN, codes.STDDEV):
        return _exactly(aggregation, records, companion)
    if aggregation in (codes.FIRST, codes.AGE_OF_FIRST):
        records = records[records["time"] <= until]
    elif aggregation in (codes.LAST, codes.AGE_OF_LAST):
        if len(records) and records["time"][-1] > until:
            return LATER
        records = records[records["time"] > after]
    if not len(records):
        return NOTHING
    if aggregation in (codes.MIN, codes.MAX):
        values = records["value"]
        return float(values.min() if aggregation == codes.MIN else values.max()), codes.PRESENT
    column = "value" if aggregation in (codes.FIRST, codes.LAST) else "time"
    at = 0 if aggregation in (codes.FIRST, codes.AGE_OF_FIRST) else -1
    return float(records[column][at]), codes.PRESENT


def _exactly(aggregation: int, records: NDArray[np.void], companion: NDArray[np.void]) -> Result:
    """Return a sum, mean or standard deviation in exact arithmetic, rounded at the end."""
    others = {int(r["bucket"]): r for r in companion}
    if aggregation == codes.SUM:
        total = Fraction(0)
        for record in records:
            total += _fraction(record["value"])
            if other := others.get(int(record["bucket"])):
                total += _fraction(other["low"]) + _fraction(other["second"]) * 2**1023
        return _rounded(total)
    n = sum(int(record["n"]) for record in records)
    if not n:
        return NOTHING
    means, squares = [], Fraction(0)
    for record in records:
        mean, m2 = _fraction(record["mean"]), float(record["m2"])
        square = _fraction(m2) if math.isfinite(m2) else Fraction(0)
        if other := others.get(int(record["bucket"])):
            mean += _fraction(other["low"])
            if other["second"] > 0 and not _LEAST_M2 <= m2 <= _GREATEST_M2:
                square = (_fraction(other["second"]) * 2**20) ** 2
        means.append((int(record["n"]), mean))
        squares += square
    center = sum((k * mean for k, mean in means), Fraction(0)) / n
    if aggregation == codes.MEAN:
        return _rounded(center)
    variance = (squares + sum(k * (mean - center) ** 2 for k, mean in means)) / n
    # The root of a fraction whose numerator and denominator have 400 bits is exact enough.
    shift = max(0, 400 - variance.numerator.bit_length() + variance.denominator.bit_length()) & ~1
    root = math.isqrt((variance.numerator << shift) // variance.denominator)
    return _rounded(Fraction(root, 1 << shift // 2))


def _fraction(value: float) -> Fraction:
    return Fraction(float(value))


def _rounded(value: Fraction) -> Result:
    try:
        return float(value), codes.PRESENT
    except OverflowError:
        return NOTHING


_OPERATORS: dict[int, Callable[[float, float], float]] = {
    Op.ADD: operator.add,
    Op.SUBTRACT: operator.sub,
    Op.MULTIPLY: operator.mul,
    Op.DIVIDE: operator.truediv,
    Op.LESS: operator.lt,
    Op.LESS_EQUAL: operator.le,
    Op.GREATER: operator.gt,
    Op.GREATER_EQUAL: operator.ge,
    Op.EQUAL: operator.eq,
    Op.NOT_EQUAL: operator.ne,
    Op.MINIMUM: min,
    Op.MAXIMUM: max,
}


def derive_one(
    program: Sequence[tuple[int, float]],
    values: Sequence[float],
    statuses: Sequence[int],
    default: float = math.nan,
) -> Result:
    """Return a derived feature; `program` pairs ops with arguments."""
    if statuses[0] == codes.DAMAGED:
        return math.nan, codes.DAMAGED
    stack: list[Result] = []
    for op, argument in program:
        if op == Op.CONSTANT:
            stack.append((argument, codes.PRESENT))
        elif op == Op.FEATURE:
            stack.append((values[int(argument)], statuses[int(argument)]))
        elif op == Op.NEGATE:
            value, status = stack.pop()
            stack.append((-value, status))
        else:
            right, left = stack.pop(), stack.pop()
            stack.append(_operate(op, left, right))
    value, status = stack.pop()
    if math.isnan(value) and statuses[0] == codes.NOT_FOUND:
        return default, codes.NOT_FOUND
    return value, status


def _operate(op: int, left: Result, right: Result) -> Result:
    if op == Op.COALESCE:
        return right if math.isnan(left[0]) else left
    missing = [status for value, status in (left, right) if math.isnan(value)]
    if missing:
        return math.nan, max(missing)
    try:
        value = float(_OPERATORS[op](left[0], right[0]))
    except ZeroDivisionError:
        value = math.nan
    return (value, max(left[1], right[1])) if math.isfinite(value) else NOTHING
