"""The fold and derive kernels against their twins."""

import struct

import numpy as np
import pytest
from featsvc_kernels import fold_codes as k
from featsvc_kernels.fold import derive, fold
from featsvc_kernels.fold_codes import Op
from featsvc_kernels.reference_fold import derive_one, fold_one
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


def plan_of(
    aggregation: int, width_ms: int, buckets: int, window_ms: int, max_age_ms: int = 0
) -> np.ndarray:
    """Return the plan of one feature, whose ring or list is part 1."""
    plan = np.zeros((1, k.PLAN_COLUMNS), np.int64)
    plan[0, k.PART] = 1
    plan[0, k.AGGREGATION] = aggregation
    plan[0, k.WIDTH_MS] = width_ms
    plan[0, k.BUCKETS] = buckets
    plan[0, k.WINDOW_MS] = window_ms
    plan[0, k.MAX_AGE_MS] = max_age_ms
    return plan


def run_fold(
    entities: list[list[bytes]], plan: np.ndarray, defaults: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Run the kernel on parts, packed as its caller packs them."""
    parts = [part for entity in entities for part in entity]
    lengths = np.array([len(part) for part in parts], np.int64)
    words = np.frombuffer(b"".join(parts), "<u4")
    values = np.empty((len(plan), len(entities)))
    statuses = np.empty(values.shape, np.uint8)
    freshness = np.empty(len(entities), np.int64)
    assert fold(words, lengths, plan, defaults, AS_OF_MS, values, statuses, freshness)
    return values, statuses, freshness


ages = st.lists(st.integers(-20_000, 100 * 86_400_000), max_size=20)


@settings(max_examples=300)
@given(
    code=st.sampled_from([*FORMATS, k.DISTINCT]),
    shape=st.sampled_from(RINGS),
    spans=st.floats(0, 1),
    entity_ages=st.lists(ages, min_size=1, max_size=3),
    max_age_ms=st.sampled_from([0, 3_600_000]),
    seed=st.integers(0, 1000),
)
def test_fold_equals_twin(
    code: int,
    shape: tuple[int, int],
    spans: float,
    entity_ages: list[list[int]],
    max_age_ms: int,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    width, buckets = shape
    window = int(spans * width * (buckets - 1))
    plan = plan_of(code, width, buckets, window, max_age_ms)
    defaults = np.array([-7.0])
    entities = []
    for event_ages in entity_ages:
        times = [AS_OF_MS - age for age in event_ages]
        xs = rng.normal(0, 100, len(times)).tolist()
        meta = struct.pack("<dd", max(times), min(max(times), AS_OF_MS)) if times else b""
        part = members(times, AS_OF_MS - 5000.0 * seed) if code == k.DISTINCT else b""
        entities.append([meta, part or ring(code, width, times, xs)])
    values, statuses, freshness = run_fold(entities, plan, defaults)
    for e, (meta, part) in enumerate(entities):
        expected, status = fold_one(meta, part, plan[0], -7.0, AS_OF_MS)
        assert statuses[0, e] == status
        np.testing.assert_allclose(values[0, e], expected, rtol=1e-9)
        newest = max((AS_OF_MS - age for age in entity_ages[e]), default=None)
        assert freshness[e] == (-1 if newest is None else max(AS_OF_MS - newest, 0))


def test_fold_without_entities_and_of_an_unknown_one() -> None:
    values, _, _ = run_fold([], np.zeros((0, k.PLAN_COLUMNS), np.int64), np.zeros(0))
    assert values.shape == (0, 0)
    plan = plan_of(k.COUNT, 10_000, 37, 60_000)
    values, statuses, freshness = run_fold([[b"", b""]], plan, np.array([np.nan]))
    assert np.isnan(values[0, 0])
    assert (statuses[0, 0], freshness[0]) == (k.NOT_FOUND, -1)


def test_fold_of_more_than_65535_entities() -> None:
    now_bucket = AS_OF_MS // 10_000
    meta = struct.pack("<dd", AS_OF_MS, AS_OF_MS)
    entity = [meta, struct.pack("<IIII", now_bucket - 1, 2, now_bucket, 1)]
    plan = plan_of(k.COUNT, 10_000, 37, 60_000)
    values, _, _ = run_fold([entity] * 70_000, plan, np.zeros(1))
    assert (values == 3).all()


def test_a_window_that_begins_before_the_ring_is_null() -> None:
    plan = plan_of(k.COUNT, 10_000, 37, 360_000)
    later = struct.pack("<dd", AS_OF_MS + 20_000, AS_OF_MS + 20_000)
    _, statuses, _ = run_fold([[later, b""]], plan, np.zeros(1))
    assert statuses[0, 0] == k.NULL_VALUE


def test_the_spread_of_near_equal_large_values_does_not_cancel() -> None:
    """1e9 and 1e9 + 1 in two buckets: a sum of squares would lose the difference."""
    part = struct.pack("<IIdd", 100, 1, 1e9, 0.0) + struct.pack("<IIdd", 101, 1, 1e9 + 1, 0.0)
    meta = struct.pack("<dd", AS_OF_MS, 0)
    plan = plan_of(k.STDDEV, 0, 1, 0)
    part = part.replace(struct.pack("<I", 100), struct.pack("<I", 0), 1)
    part = part.replace(struct.pack("<I", 101), struct.pack("<I", 0), 1)
    values, _, _ = run_fold([[meta, part]], plan, np.zeros(1))
    assert values[0, 0] == 0.5


operations = st.sampled_from(sorted(set(Op) - {Op.CONSTANT, Op.FEATURE, Op.NEGATE}))
marks = st.sampled_from([k.PRESENT, k.NULL_VALUE, k.OUTSIDE_MAX_AGE, k.SATURATED])


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


@settings(max_examples=300)
@given(
    program=programs(), known=st.lists(st.tuples(st.floats(-10, 10), marks), min_size=4, max_size=4)
)
def test_derive_equals_twin(
    program: list[tuple[int, float]], known: list[tuple[float, int]]
) -> None:
    values = np.array([*(v for v, _ in known), 0.0]).reshape(5, 1)
    statuses = np.array([*(s for _, s in known), 0], np.uint8).reshape(5, 1)
    ops = np.array([op for op, _ in program], np.int64)
    arguments = np.array([argument for _, argument in program])
    starts = np.array([0, len(program)], np.int64)
    derive(ops, arguments, starts, np.array([np.nan]), 4, values, statuses)
    expected, status = derive_one(program, values[:4, 0].tolist(), statuses[:4, 0].tolist())
    assert statuses[4, 0] == status
    assert values[4, 0] == pytest.approx(expected, nan_ok=True)


def test_derive_gives_the_default_for_an_unknown_entity() -> None:
    values = np.zeros((2, 1))
    statuses = np.full((2, 1), k.NOT_FOUND, np.uint8)
    program = np.array([Op.FEATURE], np.int64), np.zeros(1), np.array([0, 1], np.int64)
    derive(*program, np.array([4.5]), 1, values, statuses)
    assert (values[1, 0], statuses[1, 0]) == (4.5, k.NOT_FOUND)


@pytest.mark.parametrize("lengths", [[16, 7], [16], [16, 8, 8], [16, 4]])
def test_lengths_that_do_not_match_the_words_are_refused(lengths: list[int]) -> None:
    plan = plan_of(k.COUNT, 10_000, 37, 60_000)
    outputs = np.zeros((1, 1)), np.zeros((1, 1), np.uint8), np.zeros(1, np.int64)
    words = np.zeros(6, np.uint32)
    assert not fold(words, np.array(lengths, np.int64), plan, np.zeros(1), AS_OF_MS, *outputs)
