"""What a read must answer, computed from the events of an entity (`model.py`).

The window of a live read begins with the bucket of `now - window` and has no end. One `as_of` a
moment ends with the bucket of that moment. The first and the last bucket count whole, so the values
of both are plain aggregates of the events of these buckets.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import pstdev

from tests.accounts.model import EntityModel, Rules, covers, value_of
from tests.accounts.schema1 import Feature

STANDARD_ERROR = 0.023
"""Of a distinct count beyond its cap."""
SUM_TOLERANCE = Fraction(1, 10**12)
"""Of the greatest absolute value, for sums and means."""
STDDEV_TOLERANCE = 1e-9
LARGEST = Fraction(math.nextafter(math.inf, 0))
EDGES = ("first", "last", "age_of_first", "age_of_last")

Entry = tuple[int, float]
"""Time in milliseconds and value of an event, or of the edge of a bucket."""


@dataclass(frozen=True, slots=True)
class Moment:
    """When a read looks; `strict` for one with `as_of`. `warming`: definitions have differed."""

    at_ms: int
    strict: bool
    warming: bool = False


@dataclass(frozen=True, slots=True)
class Range:
    """A permitted value, with its status."""

    status: str
    low: float | Fraction = math.nan
    high: float | Fraction = math.nan

    def has(self, value: float, status: str) -> bool:
        if status != self.status:
            return False
        if math.isnan(self.low):
            return math.isnan(value)
        return math.isfinite(value) and self.low <= Fraction(value) <= self.high


NULL = Range("NULL_VALUE")
NOT_RETAINED = Range("NOT_RETAINED")


def exactly(value: float) -> Range:
    return Range("PRESENT", value, value)


def mistake(
    model: EntityModel, rules: Rules, feature: Feature, moment: Moment, value: float, status: str
) -> str | None:
    """Say what is wrong with a value and its status; None if nothing is."""
    if status == "WARMING" and moment.warming and model.applied:
        return None if not math.isinf(value) else f"{feature.name}: WARMING with {value}"
    permitted = answers(model, rules, feature, moment)
    if any(answer.has(value, status) for answer in permitted):
        return None
    shown = [(answer.status, float(answer.low), float(answer.high)) for answer in permitted]
    kind = f"as_of {moment.at_ms}" if moment.strict else f"live at {moment.at_ms}"
    return f"{feature.name} {kind}: {status} {value!r} is not one of {shown}"


def answers(model: EntityModel, rules: Rules, feature: Feature, moment: Moment) -> list[Range]:
    """The permitted answers."""
    if not model.applied:
        return [Range("NOT_FOUND", feature.default, feature.default)]
    age_ms = moment.at_ms - model.newest_ms
    if feature.max_age_ms and not 0 <= age_ms <= feature.max_age_ms:
        if age_ms > 0:
            return [Range("OUTSIDE_MAX_AGE")]
        if moment.strict:
            return [NOT_RETAINED]
    if feature.aggregation == "distinct":
        return _distinct(model, rules, feature, moment)
    return _of_buckets(model, feature, moment)


def _of_buckets(model: EntityModel, feature: Feature, moment: Moment) -> list[Range]:
    _, width_ms, _ = feature.ring
    if not width_ms:
        return _lifetime(model, feature, moment)
    after_ms = moment.at_ms - feature.window_ms
    if not covers(feature.ring, after_ms, model.reference_ms):
        return [NOT_RETAINED]
    last = moment.at_ms // width_ms if moment.strict else math.inf
    buckets: dict[int, list[Entry]] = {}
    for time_ms, value in _entries(model, feature):
        if after_ms // width_ms <= time_ms // width_ms <= last:
            buckets.setdefault(time_ms // width_ms, []).append((time_ms, value))
    return _folded(feature.aggregation, [buckets[b] for b in sorted(buckets)], after_ms, moment)


def _entries(model: EntityModel, feature: Feature) -> list[Entry]:
    """Time and value of all events of a feature that is not distinct, in order of arrival."""
    pairs = ((a.event, value_of(feature.state, a.event)) for a in model.applied)
    return [(event.time_ms, value) for event, value in pairs if isinstance(value, float | int)]


def _lifetime(model: EntityModel, feature: Feature, moment: Moment) -> list[Range]:
    name = feature.aggregation
    later = moment.strict and model.newest_ms > moment.at_ms
    if later and name not in EDGES:
        return [NOT_RETAINED]
    bucket = _entries(model, feature)
    return _folded(name, [bucket] if bucket else [], -1, moment)


def _folded(
    name: str, buckets: Sequence[list[Entry]], after_ms: float, moment: Moment
) -> list[Range]:
    """Aggregate buckets, oldest first; each has its events in order of arrival."""
    if name in EDGES:
        return _edges(name, buckets, after_ms, moment)
    values = [value for bucket in buckets for _, value in bucket]
    total = sum(map(Fraction, values), Fraction())
    if name in ("count", "sum"):
        return [exactly(len(values))] if name == "count" else near(total, values)
    if not values:
        return [NULL]
    if name in ("min", "max"):
        return [exactly(min(values) if name == "min" else max(values))]
    return near(total / len(values), values) if name == "mean" else _stddev(values)


def near(exact: Fraction, values: Iterable[float]) -> list[Range]:
    """A sum or mean; where no float has it, there is no value."""
    tolerance = SUM_TOLERANCE * max((Fraction(abs(value)) for value in values), default=0)
    found = [Range("PRESENT", exact - tolerance, exact + tolerance)]
    if abs(exact) + tolerance > LARGEST:
        found.append(NULL)
    return found if abs(exact) - tolerance <= LARGEST else [NULL]


def _stddev(values: Sequence[float]) -> list[Range]:
    exact = Fraction(float(pstdev(values)))
    tolerance = exact * Fraction(STDDEV_TOLERANCE)
    return [Range("PRESENT", exact - tolerance, exact + tolerance)]


def _edges(
    name: str, buckets: Sequence[list[Entry]], after_ms: float, moment: Moment
) -> list[Range]:
    """The first or last event. Of equal times, the first or last that arrived."""
    if name in ("first", "age_of_first"):
        edges = [min(bucket, key=lambda entry: entry[0]) for bucket in buckets]
        known = [edge for edge in edges if not moment.strict or edge[0] <= moment.at_ms]
        edge = known[0] if known else None
    else:
        edges = [max(reversed(bucket), key=lambda entry: entry[0]) for bucket in buckets]
        if moment.strict and edges and edges[-1][0] > moment.at_ms:
            return [NOT_RETAINED]
        edge = edges[-1] if edges and edges[-1][0] > after_ms else None
    if edge is None:
        return [NULL]
    age_s = max(moment.at_ms - edge[0], 0) / 1000
    return [exactly(age_s if name.startswith("age_of_") else edge[1])]


def _distinct(model: EntityModel, rules: Rules, feature: Feature, moment: Moment) -> list[Range]:
    """Exact up to the cap; if the list has ever been full, an estimate is permitted too."""
    state, (_, width_ms, _) = feature.state, feature.ring
    longest_ms = rules.longest_ms(state)
    after_ms = moment.at_ms - feature.window_ms if width_ms else -1
    last_seen: dict[object, int] = {}
    most_at_once = 0
    for applied in model.applied:
        time_ms, member = applied.event.time_ms, value_of(state, applied.event)
        oldest_ms = applied.reference_ms - longest_ms if longest_ms else -1
        if member is None or time_ms <= oldest_ms:
            continue
        last_seen[member] = max(time_ms, last_seen.get(member, 0))
        if len(last_seen) > state.cap:
            most_at_once = max(most_at_once, sum(at > oldest_ms for at in last_seen.values()))
    retained = not longest_ms or after_ms >= model.reference_ms - longest_ms
    has_been_full = most_at_once > state.cap
    later = moment.strict and any(at > moment.at_ms for at in last_seen.values())
    if later and not has_been_full:
        return [NOT_RETAINED]
    found = []
    if not retained or (has_been_full and moment.strict and model.newest_ms > moment.at_ms):
        found.append(NOT_RETAINED)
    if not later:
        exact = sum(at > after_ms for at in last_seen.values())
        found.append(exactly(exact))
        if has_been_full:
            first_ms = after_ms // width_ms * width_ms if width_ms else -1
            most = sum(at >= first_ms for at in last_seen.values())
            found.append(estimated(exact, most))
    return found


def estimated(least: int, most: int) -> Range:
    """Between two counts, within five standard errors, and rounded."""
    error = 5 * STANDARD_ERROR
    return Range("SATURATED", least * (1 - error) - 1, most * (1 + error) + 1)
