"""The NumPy twins of `fold`: one feature at a time, records as columns."""

import math
import operator
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from featsvc_kernels import fold_codes as codes
from featsvc_kernels.fold_codes import Op

Result = tuple[float, int]
NOTHING: Result = (float("nan"), codes.NULL_VALUE)

_RECORDS = {
    codes.COUNT: [("bucket", "<u4"), ("n", "<u4")],
    codes.SUM: [("bucket", "<u4"), ("value", "<f8")],
    codes.MEAN: [("bucket", "<u4"), ("n", "<u4"), ("mean", "<f8"), ("m2", "<f8")],
    codes.FIRST: [("bucket", "<u4"), ("time", "<f8"), ("value", "<f8")],
}
_RECORDS[codes.STDDEV] = _RECORDS[codes.MEAN]
_RECORDS[codes.LAST] = _RECORDS[codes.FIRST]
for _code in (codes.MIN, codes.MAX, codes.AGE_OF_FIRST, codes.AGE_OF_LAST):
    _RECORDS[_code] = _RECORDS[codes.SUM]


def fold_one(
    meta: bytes, part: bytes, plan: NDArray[np.int64], default: float, as_of_ms: int
) -> Result:
    """Return a feature of an entity; `plan` is a row of the plan of `fold`."""
    if not meta:
        return default, codes.NOT_FOUND
    newest, reference = np.frombuffer(meta, "<f8")
    aggregation, width = int(plan[codes.AGGREGATION]), int(plan[codes.WIDTH_MS])
    buckets, window = int(plan[codes.BUCKETS]), int(plan[codes.WINDOW_MS])
    max_age = int(plan[codes.MAX_AGE_MS])
    if max_age and as_of_ms - newest > max_age:
        return float("nan"), codes.OUTSIDE_MAX_AGE
    after = as_of_ms - window if width else -1
    low, high = (after // width, as_of_ms // width) if width else (0, 0)
    if width and low < int(reference) // width - buckets + 1:
        return NOTHING
    if aggregation == codes.DISTINCT:
        return _distinct(part, after)
    records = np.frombuffer(part, np.dtype(_RECORDS[aggregation]))
    records = records[(records["bucket"] >= low) & (records["bucket"] <= high)]
    return _aggregate(aggregation, records, after, as_of_ms)


def _distinct(part: bytes, after: int) -> Result:
    if not part:
        return 0.0, codes.PRESENT
    evicted = float(np.frombuffer(part[:8], "<f8")[0])
    members = np.frombuffer(part[8:], np.dtype([("member", "<u8"), ("seen", "<f8")]))
    count = float((members["seen"] > after).sum())
    return count, codes.SATURATED if evicted > max(after, 0) else codes.PRESENT


def _aggregate(  # noqa: PLR0911 - one per aggregation
    aggregation: int, records: NDArray[np.void], after: int, as_of: int
) -> Result:
    if aggregation == codes.COUNT:
        return float(records["n"].sum(dtype=np.float64)), codes.PRESENT
    if aggregation == codes.SUM:
        return float(records["value"].sum()), codes.PRESENT
    if aggregation == codes.LAST:
        records = records[records["time"] > after]
    if not len(records):
        return NOTHING
    if aggregation in (codes.MEAN, codes.STDDEV):
        n = records["n"].astype(np.float64)
        mean = float((records["mean"] * n).sum() / n.sum())
        if aggregation == codes.MEAN:
            return mean, codes.PRESENT
        spread = records["m2"] + n * (records["mean"] - mean) ** 2
        return float(np.sqrt(spread.sum() / n.sum())), codes.PRESENT
    if aggregation in (codes.FIRST, codes.LAST):
        return float(records["value"][0 if aggregation == codes.FIRST else -1]), codes.PRESENT
    smallest = aggregation in (codes.MIN, codes.AGE_OF_FIRST)
    value = float(records["value"].min() if smallest else records["value"].max())
    if aggregation == codes.AGE_OF_LAST and value <= after:
        return NOTHING
    if aggregation in (codes.AGE_OF_FIRST, codes.AGE_OF_LAST):
        value = max(as_of - value, 0.0) / 1000.0
    return value, codes.PRESENT


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
_MISSING = (codes.NULL_VALUE, codes.OUTSIDE_MAX_AGE, codes.NOT_FOUND)


def derive_one(
    program: Sequence[tuple[int, float]], values: Sequence[float], statuses: Sequence[int]
) -> Result:
    """Return a derived feature of a known entity; `program` pairs ops with arguments."""
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
    return (float("nan") if status in _MISSING else value), status


def _operate(op: int, left: Result, right: Result) -> Result:
    if op == Op.COALESCE:
        return right if left[1] in _MISSING else left
    missing = [status for _, status in (left, right) if status in _MISSING]
    if missing:
        return float("nan"), max(missing)
    try:
        value = float(_OPERATORS[op](left[0], right[0]))
    except ZeroDivisionError:
        value = float("nan")
    if not math.isfinite(value):
        return float("nan"), codes.NULL_VALUE
    return value, max(left[1], right[1])
