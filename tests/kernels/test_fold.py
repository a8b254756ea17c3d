"""The fold and derive kernels against their twins."""

import struct
from fractions import Fraction

import numpy as np
import pytest
from featsvc_kernels import fold_codes as k
from featsvc_kernels.fold import derive, fold
from featsvc_kernels.fold_codes import Op
from featsvc_kernels.reference_fold import Stored, derive_one, fold_one
from hypothesis import given, settings
from hypothesis import strategies as st

AS_OF_MS = 1_767_268_803_123
RINGS = [(10_000, 37), (3_600_000, 169), (86_400_000, 91), (0, 1)]
FORMATS = {
    k.COUNT: "<II",
    k.SUM: "<Id",
    k.MEAN: "<IIdd",
    k.STDDEV: "<IIdd",
    k.MIN: "<Id",
    k.MAX: "<Id",
    k.FIRST: "<Idd",
    k.LAST: "<Idd",
    k.AGE_OF_FIRST: "<Id",
    k.AGE_OF_LAST: "<Id",
}


def record(code: int, bucket: int, time_ms: float, x: float) -> bytes:
    """Pack the record of one event."""
    values = {
        k.COUNT: (3,),
        k.SUM: (x,),
        k.MIN: (x,),
        k.MAX: (x,),
        k.MEAN: (4, x, abs(x)),
        k.STDDEV: (4, x, abs(x)),
        k.FIRST: (time_ms, x),
        k.LAST: (time_ms, x),
        k.AGE_OF_FIRST: (time_ms,),
        k.AGE_OF_LAST: (time_ms,),
    }[code]
    return struct.pack(FORMATS[code], bucket, *values)


def ring(code: int, width_ms: int, times: list[int], xs: list[float]) -> bytes:
    """Pack a ring of one event per bucket."""
    by_bucket = {
        (t // width_ms if width_ms else 0): (t, x) for t, x in zip(sorted(times), xs, strict=True)
    }
    return b"".join(record(code, bucket, t, x) for bucket, (t, x) in sorted(by_bucket.items()))


def members(times: list[int], evicted_ms: float) -> bytes:
    body = b"".join(struct.pack("<Qd", n, t) for n, t in enumerate(sorted(times)))
    return struct.pack("<d", evicted_ms) + body


def companion(code: int, width_ms: int, times: list[int], rng: np.random.Generator) -> bytes:
    """Pack companion records of some of the buckets, and of some that the ring does not have."""
    if code not in (k.SUM, k.MEAN, k.STDDEV):
        return b""
    buckets = {(t // width_ms if width_ms else 0) + int(rng.random() < 0.2) for t in times}
    return b"".join(
        struct.pack("<Idd", bucket, rng.normal() * 1e-15, rng.choice([0.0, 1.0]))
        for bucket in sorted(buckets)
        if rng.random() < 0.5
    )


def plan_of(
    aggregation: int,
    width_ms: int,
    buckets: int,
    window_ms: int,
    max_age_ms: int = 0,
    complete_since_ms: int = 0,
) -> np.ndarray:
    """Return the plan of one feature: part 1 is its ring or list, part 2 the companion ring."""
    plan = np.zeros((1, k.PLAN_COLUMNS), np.int64)
    plan[0, k.PART] = 1
    plan[0, k.AGGREGATION] = aggregation
    plan[0, k.WIDTH_MS] = width_ms
    plan[0, k.BUCKETS] = buckets
    plan[0, k.WINDOW_MS] = window_ms
    plan[0, k.MAX_AGE_MS] = max_age_ms
    plan[0, k.COMPANION] = 2 if aggregation in (k.SUM, k.MEAN, k.STDDEV) else 0
    plan[0, k.COMPLETE_SINCE_MS] = complete_since_ms
    return plan


LIFETIME = (0, 1, 0)
META = struct.pack("<dd", AS_OF_MS, AS_OF_MS)


def run_fold(
    entities: list[Stored],
    plan: np.ndarray,
    defaults: np.ndarray,
    *,
    is_live: bool = False,
    as_of_ms: int = AS_OF_MS,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run the kernel on parts, packed as its caller packs them."""
    parts = [part for s in entities for part in (s.meta, s.part, s.companion, s.born)]
    lengths = np.array([len(part) for part in parts], np.int64)
    words = np.frombuffer(b"".join(part + bytes(-len(part) % 4) for part in parts), "<u4")
    values = np.empty((len(plan), len(entities)))
    statuses = np.empty(values.shape, np.uint8)
    freshness = np.empty(len(entities), np.int64)
    outputs = values, statuses, freshness
    assert fold(words, lengths, plan, defaults, as_of_ms, is_live, 3, *outputs)
    return outputs


def run_one(code: int, part: bytes, extra: bytes = b"") -> tuple[float, int]:
    """Fold one lifetime feature of one entity."""
    stored = Stored(META, part, extra)
    values, statuses, _ = run_fold([stored], plan_of(code, *LIFETIME), np.zeros(1))
    return float(values[0, 0]), int(statuses[0, 0])


ages = st.lists(st.integers(-20_000, 100 * 86_400_000), max_size=20)
magnitudes = st.sampled_from([1e-200, 1.0, 100.0, 1e200, 1.7e308])


@settings(max_examples=400)
@given(
    code=st.sampled_from([*FORMATS, k.DISTINCT]),
    shape=st.sampled_from(RINGS),
    spans=st.floats(0, 1),
    entity_ages=st.lists(ages, min_size=1, max_size=3),
    limits=st.tuples(
        st.sampled_from([0, 3_600_000]),
        st.sampled_from([0, AS_OF_MS - 40_000, AS_OF_MS - 86_400_000]),
    ),
    is_live=st.booleans(),
    magnitude=magnitudes,
    seed=st.integers(0, 1000),
)
def test_fold_equals_twin(
    code: int,
    shape: tuple[int, int],
    spans: float,
    entity_ages: list[list[int]],
    limits: tuple[int, int],
    is_live: bool,
    magnitude: float,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    width, buckets = shape
    window = int(spans * width * (buckets - 1))
    plan = plan_of(code, width, buckets, window, *limits)
    defaults = np.array([-7.0])
    entities = []
    for event_ages in entity_ages:
        times = [AS_OF_MS - age for age in event_ages]
        xs = (rng.uniform(-1, 1, len(times)) * magnitude).tolist()
        meta = struct.pack("<dd", max(times), min(max(times), AS_OF_MS)) if times else b""
        part = members(times, AS_OF_MS - 5000.0 * seed) if code == k.DISTINCT else b""
        part = part or ring(code, width, times, xs)
        part += b"\0" * int(rng.choice(3, p=[0.9, 0.05, 0.05]))
        born = struct.pack("<d", AS_OF_MS - rng.integers(0, 172_800_000)) + bytes(32)
        born = born[: int(rng.choice([0, 7, 8, 40]))]
        entities.append(Stored(meta, part, companion(code, width, times, rng), born))
    values, statuses, freshness = run_fold(entities, plan, defaults, is_live=is_live)
    for e, stored in enumerate(entities):
        expected, status = fold_one(stored, plan[0], -7.0, AS_OF_MS, is_live)
        assert statuses[0, e] == status
        np.testing.assert_allclose(values[0, e], expected, rtol=1e-12, atol=1e-13 * magnitude)
        newest = max((AS_OF_MS - age for age in entity_ages[e]), default=None)
        is_known = newest is not None and status != k.DAMAGED and (is_live or newest <= AS_OF_MS)
        assert freshness[e] == (max(AS_OF_MS - (newest or 0), 0) if is_known else -1)


def test_fold_without_entities_and_of_an_unknown_one() -> None:
    values, _, _ = run_fold([], np.zeros((0, k.PLAN_COLUMNS), np.int64), np.zeros(0))
    assert values.shape == (0, 0)
    plan = plan_of(k.COUNT, 10_000, 37, 60_000)
    values, statuses, freshness = run_fold([Stored(b"", b"")], plan, np.array([np.nan]))
    assert np.isnan(values[0, 0])
    assert (statuses[0, 0], freshness[0]) == (k.NOT_FOUND, -1)


def test_fold_of_more_than_65535_entities() -> None:
    now_bucket = AS_OF_MS // 10_000
    entity = Stored(META, struct.pack("<IIII", now_bucket - 1, 2, now_bucket, 1))
    plan = plan_of(k.COUNT, 10_000, 37, 60_000)
    values, _, _ = run_fold([entity] * 70_000, plan, np.zeros(1))
    assert (values == 3).all()


def test_a_window_that_begins_before_the_ring_is_not_retained() -> None:
    plan = plan_of(k.COUNT, 10_000, 37, 360_000)
    later = struct.pack("<dd", AS_OF_MS + 20_000, AS_OF_MS + 20_000)
    for is_live in (False, True):
        _, statuses, _ = run_fold([Stored(later, b"")], plan, np.zeros(1), is_live=is_live)
        assert statuses[0, 0] == k.NOT_RETAINED


def test_the_spread_of_near_equal_large_values_does_not_cancel() -> None:
    """1e9 + 0.1 and 1e9 + 0.3 in two buckets: a sum of squares would lose the difference."""
    width = 10_000
    part, extra, exact = b"", b"", (Fraction(10**10 + 1, 10), Fraction(10**10 + 3, 10))
    for back, x in enumerate(exact):
        bucket = AS_OF_MS // width - 1 + back
        part += struct.pack("<IIdd", bucket, 1, float(x), 0.0)
        extra += struct.pack("<Idd", bucket, float(x - Fraction(float(x))), 0.0)
    plan = plan_of(k.STDDEV, width, 37, 60_000)
    values, _, _ = run_fold([Stored(META, part, extra)], plan, np.zeros(1))
    assert values[0, 0] == pytest.approx(0.1, rel=1e-14)


@pytest.mark.parametrize("exponent", [200, -200])
def test_squares_that_overflow_or_underflow(exponent: int) -> None:
    """[x, tiny]: mean x / 2, standard deviation x / 2; the squares of x are no doubles."""
    half = 5 * 10.0 ** (exponent - 1)
    part = struct.pack("<IIdd", 0, 2, half, np.inf if exponent > 0 else 0.0)
    extra = struct.pack("<Idd", 0, 0.0, half * 2**0.5 / 2**20)
    assert run_one(k.MEAN, part, extra) == (half, k.PRESENT)
    value, status = run_one(k.STDDEV, part, extra)
    assert status == k.PRESENT
    assert value == pytest.approx(half, rel=1e-15)


def test_roots_may_leave_the_range_of_doubles() -> None:
    """[1.7e308, -1.7e308]: the standard deviation is a double, the root of 2 * 1.7e308**2 not."""
    part = struct.pack("<IIdd", 0, 2, 0.0, np.inf)
    extra = struct.pack("<Idd", 0, 0.0, 1.7e308 / 2**20 * 2**0.5)
    value, status = run_one(k.STDDEV, part, extra)
    assert status == k.PRESENT
    assert value == pytest.approx(1.7e308, rel=1e-15)


def test_a_sum_may_leave_the_range_of_doubles_and_come_back() -> None:
    carried = struct.pack("<Id", 0, 1e308), struct.pack("<Idd", 0, 0.0, 3.0)
    assert run_one(k.SUM, *carried)[1] == k.NULL_VALUE
    back = struct.pack("<Id", 0, -1.7e308), struct.pack("<Idd", 0, 2.5, 3.0)
    expected = float(3 * 2**1023 + Fraction(-1.7e308))
    assert run_one(k.SUM, *back) == (expected, k.PRESENT)


@pytest.mark.parametrize("value", [np.inf, -np.inf, np.nan])
def test_a_value_that_is_not_finite_is_null(value: float) -> None:
    for code in (k.SUM, k.MIN, k.MAX):
        assert run_one(code, struct.pack("<Id", 0, value))[1] == k.NULL_VALUE
    for code in (k.MEAN, k.STDDEV):
        assert run_one(code, struct.pack("<IIdd", 0, 2, value, value))[1] == k.NULL_VALUE


class TestAsOfInThePast:
    """One record a bucket: an event 90 minutes after `as_of`, in the same day."""

    width, buckets, window = 86_400_000, 91, 7 * 86_400_000
    time_ms = AS_OF_MS + 5_400_000.0
    meta = struct.pack("<dd", time_ms, time_ms)

    def status(self, code: int, shape: tuple[int, int, int], max_age_ms: int = 0) -> int:
        bucket = int(self.time_ms) // shape[0] if shape[0] else 0
        part = members([int(self.time_ms)], 0.0)
        if code != k.DISTINCT:
            part = record(code, bucket, self.time_ms, 4.0)
        plan = plan_of(code, *shape, max_age_ms)
        _, statuses, freshness = run_fold([Stored(self.meta, part)], plan, np.zeros(1))
        assert freshness[0] == -1
        return int(statuses[0, 0])

    @pytest.mark.parametrize("code", [k.COUNT, k.SUM, k.MEAN, k.STDDEV, k.MIN, k.MAX])
    def test_lifetime_values_are_not_retained(self, code: int) -> None:
        assert self.status(code, LIFETIME) == k.NOT_RETAINED
        assert self.status(code, (self.width, self.buckets, self.window)) == k.PRESENT

    @pytest.mark.parametrize("code", [k.FIRST, k.AGE_OF_FIRST])
    def test_the_first_event_was_later(self, code: int) -> None:
        for shape in (LIFETIME, (self.width, self.buckets, self.window)):
            assert self.status(code, shape) == k.NULL_VALUE

    @pytest.mark.parametrize("code", [k.LAST, k.AGE_OF_LAST, k.DISTINCT])
    def test_the_last_event_is_not_retained(self, code: int) -> None:
        for shape in (LIFETIME, (self.width, self.buckets, self.window)):
            assert self.status(code, shape) == k.NOT_RETAINED

    def test_a_maximum_age_is_not_known(self) -> None:
        assert self.status(k.COUNT, (self.width, self.buckets, 0), 1000) == k.NOT_RETAINED


SIZES = {code: struct.calcsize(text) for code, text in FORMATS.items()} | {k.DISTINCT: 16}


@settings(max_examples=300)
@given(
    code=st.sampled_from(sorted(SIZES)),
    meta=st.one_of(st.just(META), st.binary(max_size=24)),
    part=st.binary(max_size=100),
    extra=st.binary(max_size=60),
    fits=st.booleans(),
)
def test_any_bytes_damage_only_their_entity(
    code: int, meta: bytes, part: bytes, extra: bytes, fits: bool
) -> None:
    if fits:
        part = part[: len(part) // SIZES[code] * SIZES[code]]
        extra = extra[: len(extra) // 20 * 20]
        if part and code == k.DISTINCT:
            part += bytes(8)
    plan = plan_of(code, *LIFETIME)
    if not plan[0, k.COMPANION]:
        extra = b""
    good = Stored(META, ring(code, 0, [AS_OF_MS], [2.0]) if code != k.DISTINCT else b"")
    alone = run_fold([good], plan, np.zeros(1))
    mixed = run_fold([good, Stored(meta, part, extra), good], plan, np.zeros(1))
    for of_one, of_three in zip(alone, mixed, strict=True):
        np.testing.assert_array_equal(of_three.T[[0, 2]], np.repeat(of_one.T, 2, axis=0))
    has_damage = fold_one(Stored(meta, part, extra), plan[0], 0.0, AS_OF_MS, False)[1] == k.DAMAGED
    assert (mixed[1][0, 1] == k.DAMAGED) == has_damage


operations = st.sampled_from(sorted(set(Op) - {Op.CONSTANT, Op.FEATURE, Op.NEGATE}))
marks = st.sampled_from([k.PRESENT, k.NOT_FOUND, k.SATURATED, k.WARMING])
without_value = st.sampled_from([k.NULL_VALUE, k.NOT_FOUND, k.OUTSIDE_MAX_AGE, k.NOT_RETAINED])
operands = st.one_of(
    st.tuples(st.floats(-10, 10), marks),
    st.tuples(st.just(float("nan")), without_value),
)


@st.composite
def programs(draw: st.DrawFn, depth: int = 3) -> list[tuple[int, float]]:
    """Draw postfix programs over four features."""
    if depth == 0 or draw(st.booleans()):
        if draw(st.booleans()):
            return [(Op.CONSTANT, draw(st.sampled_from([0.0, 1.0, -2.5, 1e308])))]
        return [(Op.FEATURE, float(draw(st.integers(0, 3))))]
    if draw(st.integers(0, 5)) == 0:
        return [*draw(programs(depth - 1)), (Op.NEGATE, 0.0)]
    left, right = draw(programs(depth - 1)), draw(programs(depth - 1))
    return [*left, *right, (draw(operations), 0.0)]


@settings(max_examples=400)
@given(program=programs(), known=st.lists(operands, min_size=4, max_size=4))
def test_derive_equals_twin(
    program: list[tuple[int, float]], known: list[tuple[float, int]]
) -> None:
    values = np.array([*(v for v, _ in known), 0.0]).reshape(5, 1)
    statuses = np.array([*(s for _, s in known), 0], np.uint8).reshape(5, 1)
    ops = np.array([op for op, _ in program], np.int64)
    arguments = np.array([argument for _, argument in program])
    starts = np.array([0, len(program)], np.int64)
    derive(ops, arguments, starts, np.array([-3.0]), 4, values, statuses)
    expected, status = derive_one(program, values[:4, 0].tolist(), statuses[:4, 0].tolist(), -3.0)
    assert statuses[4, 0] == status
    assert values[4, 0] == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    ("program", "expected"),
    [
        ([(Op.FEATURE, 1.0)], (4.5, k.NOT_FOUND)),
        ([(Op.FEATURE, 0.0), (Op.CONSTANT, 1.0), (Op.ADD, 0.0)], (1.0, k.NOT_FOUND)),
        ([(Op.FEATURE, 1.0), (Op.CONSTANT, 1.0), (Op.COALESCE, 0.0)], (1.0, k.PRESENT)),
        ([(Op.FEATURE, 0.0), (Op.FEATURE, 1.0), (Op.ADD, 0.0)], (4.5, k.NOT_FOUND)),
    ],
)
def test_derive_of_an_unknown_entity(
    program: list[tuple[int, float]], expected: tuple[float, int]
) -> None:
    """Feature 0 has the default 0, feature 1 none, the derived feature 4.5."""
    values = np.array([[0.0], [np.nan], [0.0]])
    statuses = np.full((3, 1), k.NOT_FOUND, np.uint8)
    ops = np.array([op for op, _ in program], np.int64)
    arguments = np.array([argument for _, argument in program])
    derive(ops, arguments, np.array([0, len(ops)]), np.array([4.5]), 2, values, statuses)
    assert (values[2, 0], statuses[2, 0]) == expected


def test_derived_features_of_a_damaged_entity_are_damaged() -> None:
    values, statuses = np.full((2, 1), np.nan), np.full((2, 1), k.DAMAGED, np.uint8)
    ops, arguments = np.array([Op.FEATURE, Op.CONSTANT, Op.COALESCE]), np.array([0.0, 1.0, 0.0])
    derive(ops, arguments, np.array([0, 3]), np.zeros(1), 1, values, statuses)
    assert (np.isnan(values[1, 0]), statuses[1, 0]) == (True, k.DAMAGED)


@pytest.mark.parametrize("lengths", [[16, 7], [16], [16, 8, 8], [16, 4]])
def test_lengths_that_do_not_match_the_words_are_refused(lengths: list[int]) -> None:
    plan = plan_of(k.COUNT, 10_000, 37, 60_000)
    outputs = np.zeros((1, 1)), np.zeros((1, 1), np.uint8), np.zeros(1, np.int64)
    words = np.zeros(7, np.uint32)
    numbers = np.array(lengths, np.int64)
    assert not fold(words, numbers, plan, np.zeros(1), AS_OF_MS, False, -1, *outputs)
