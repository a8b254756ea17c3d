"""Every operator and every aggregation, from texts and events to the value read."""

import math
import operator
import re
import statistics
from collections.abc import Callable, Sequence
from itertools import permutations
from pathlib import Path

import pytest
import redis
from featsvc_kernels.fold_codes import Op
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.accounts import (
    EntityRef,
    Event,
    EventStatus,
    FeatureStatus,
    FeatureStore,
    FeatureTable,
    Selection,
)
from featsvc.accounts.definitions import AGGREGATIONS
from featsvc.accounts.expressions import parse_expression
from tests.accounts.stores import NOW_MS, define, run

HOUR_MS = 3_600_000
KNOWN, UNKNOWN = EntityRef("account", "a1"), EntityRef("account", "nobody")
HEAD = 'namespace = "values"\n[entities]\naccount = "account"\n[events.act]\nkeys = ["account"]\n'
Value = float | None
"""None is missing."""


def read(
    url: str, folder: Path, toml: str, events: Sequence[Event], names: Sequence[str]
) -> FeatureTable:
    """Ingest `events`, one call each, then read `names` of their account and of an unknown one."""

    async def body(store: FeatureStore) -> FeatureTable:
        for event in events:
            (result,) = await store.ingest([event])
            assert result.status == EventStatus.APPLIED
        return await store.get([KNOWN, UNKNOWN], Selection(tuple(names)), NOW_MS)

    return run(url, define(folder, toml), body)


def act(age_ms: int, attributes: dict[str, float | str | bool]) -> Event:
    return Event(f"at-{age_ms}", "act", NOW_MS - age_ms, {"account": "a1"}, attributes)


# Expressions over a = -3, b = 0, c = 8 and d, which is missing.
VALUES = {"a": -3.0, "b": 0.0, "c": 8.0}
CASES: dict[str, Value] = {
    "a + c": 5, "a - c": -11, "c - a": 11, "a * c": -24, "c / a": 8 / -3, "a / c": -3 / 8,
    "-a": 3, "-b + c": 8, "c - a - 1": 10, "c - (a - 1)": 12, "1 + c * a": -23, "c / 2 / 4": 1,
    "a < c": 1, "c < a": 0, "c < 8": 0, "a <= c": 1, "c <= a": 0, "c <= 8": 1,
    "a > c": 0, "c > a": 1, "c > 8": 0, "a >= c": 0, "c >= a": 1, "c >= 8": 1,
    "c == 8": 1, "a == c": 0, "c != 8": 0, "a != c": 1,
    "min(a, c)": -3, "min(c, a)": -3, "min(c, 10)": 8, "min(c, a, b)": -3,
    "max(a, c)": 8, "max(c, a)": 8, "max(c, 10)": 10, "max(a, b, c)": 8,
    "coalesce(a, c)": -3, "coalesce(c, a)": 8, "coalesce(b, 1)": 0, "coalesce(a / b, c)": 8,
    "coalesce(d, c)": 8, "coalesce(c, d)": 8, "coalesce(d, d, a)": -3, "coalesce(d, d)": None,
    "a / b": None, "b / b": None, "c * 1e308": None, "-d": None, "d == d": None,
    "a + d": None, "d - a": None, "b * d": None, "c / d": None, "d < c": None, "c >= d": None,
    "c > d": None, "d <= a": None, "c != d": None, "min(d, a)": None, "max(c, d)": None,
}  # fmt: skip


def expressions_toml(texts: Sequence[str]) -> tuple[str, list[str]]:
    """Return definitions with one derived feature per text, and the names of these features."""
    lines = [HEAD]
    for name in "abcd":
        age = 'max_age = "1h"\n' if name == "d" else ""
        lines.append(
            f'[features.{name}]\non = "act"\nagg = "last"\nvalue = "{name}"\n'
            f'windows = ["lifetime"]\n{age}'
        )
    lines.append("[derived]")
    names = [f"x{n}" for n in range(len(texts))]
    for name, text in zip(names, texts, strict=True):
        text_of_features = re.sub(r"\b([a-d])\b", r"\1_lifetime", text)
        lines.append(f'{name} = {{ expression = "{text_of_features}", default = -1 }}')
    return "\n".join(lines), names


def check(
    table: FeatureTable,
    texts: Sequence[str],
    expected: Sequence[Value],
    missing: int,
    unknown: Sequence[Value],
) -> None:
    """Compare a known account with `expected`, None having the status `missing`.

    An unknown account has `unknown`, or where that is None the default.
    """
    for text, value, value_of_unknown, values, statuses in zip(
        texts, expected, unknown, table.values.tolist(), table.statuses.tolist(), strict=True
    ):
        if value_of_unknown is None:
            assert (values[1], statuses[1]) == (-1, FeatureStatus.NOT_FOUND), text
        else:
            assert (values[1], statuses[1]) == (value_of_unknown, FeatureStatus.PRESENT), text
        if value is None:
            assert math.isnan(values[0]), text
            assert statuses[0] in (missing, FeatureStatus.NULL_VALUE), text
        else:
            assert (values[0], statuses[0]) == (value, FeatureStatus.PRESENT), text


def test_the_cases_cover_every_operator() -> None:
    programs = [parse_expression(text, lambda name: None).ops for text in CASES]
    assert {op for program in programs for op in program} == set(Op)


@pytest.mark.parametrize(
    ("age_ms", "sent", "missing"),
    [
        pytest.param(0, {}, FeatureStatus.NULL_VALUE, id="d is not sent"),
        pytest.param(2 * HOUR_MS, {"d": 5.0}, FeatureStatus.OUTSIDE_MAX_AGE, id="d is old"),
    ],
)
def test_every_operator(
    url: str, tmp_path: Path, age_ms: int, sent: dict[str, float], missing: int
) -> None:
    toml, names = expressions_toml(list(CASES))
    table = read(url, tmp_path, toml, [act(age_ms, {**VALUES, **sent})], names)
    unknown = [1 if text == "coalesce(b, 1)" else None for text in CASES]
    check(table, list(CASES), list(CASES.values()), missing, unknown)


Evaluate = Callable[[dict[str, float]], Value]
Tree = tuple[str, Evaluate]
OPERATORS: dict[str, Callable[[float, float], float]] = {
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
    "!=": operator.ne,
}


def strict(function: Callable[..., float], *operands: Evaluate) -> Evaluate:
    """Python's result; missing if an operand is, for a division by zero, or if it is not finite."""

    def evaluate(known: dict[str, float]) -> Value:
        values = [operand(known) for operand in operands]
        if None in values:
            return None
        try:
            result = float(function(*values))
        except ZeroDivisionError:
            return None
        return result if math.isfinite(result) else None

    return evaluate


def first_known(*operands: Evaluate) -> Evaluate:
    """The meaning of `coalesce`."""
    return lambda known: next((v for o in operands if (v := o(known)) is not None), None)


def binary(symbol: str, left: Tree, right: Tree) -> Tree:
    return f"({left[0]} {symbol} {right[0]})", strict(OPERATORS[symbol], left[1], right[1])


def call(name: str, operands: list[Tree]) -> Tree:
    text = f"{name}({', '.join(text for text, _ in operands)})"
    evaluates = [evaluate for _, evaluate in operands]
    if name == "coalesce":
        return text, first_known(*evaluates)
    return text, strict(min if name == "min" else max, *evaluates)


numbers = st.one_of(
    st.sampled_from([-1e308, -3.0, -1.0, 0.0, 1e-300, 0.5, 1.0, 2.0, 1e308]),
    st.floats(allow_nan=False, allow_infinity=False),
)
leaves = st.one_of(
    st.sampled_from("abcd").map(lambda name: (name, lambda known: known.get(name))),
    numbers.map(lambda number: (f"{number!r}", lambda known: number)),
)
trees: st.SearchStrategy[Tree] = st.recursive(
    leaves,
    lambda inner: st.one_of(
        st.builds(binary, st.sampled_from(sorted(OPERATORS)), inner, inner),
        st.builds(
            call,
            st.sampled_from(["min", "max", "coalesce"]),
            st.lists(inner, min_size=2, max_size=3),
        ),
        inner.map(lambda tree: (f"(-{tree[0]})", strict(operator.neg, tree[1]))),
    ),
    max_leaves=8,
).filter(lambda tree: bool(re.search(r"\b[a-d]\b", tree[0])))


@pytest.mark.slow
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    some=st.lists(trees, min_size=1, max_size=8),
    sent=st.dictionaries(st.sampled_from("abcd"), numbers),
    old=st.booleans(),
)
def test_expressions_have_the_values_of_python(
    url: str,
    server: redis.Redis,
    tmp_path: Path,
    some: list[Tree],
    sent: dict[str, float],
    old: bool,
) -> None:
    server.flushall()
    texts = [text for text, _ in some]
    toml, names = expressions_toml(texts)
    table = read(url, tmp_path, toml, [act(2 * HOUR_MS if old else 0, dict(sent))], names)
    known = {name: value for name, value in sent.items() if not (old and name == "d")}
    missing = FeatureStatus.OUTSIDE_MAX_AGE if old else FeatureStatus.NULL_VALUE
    expected, unknown = ([evaluate(of) for _, evaluate in some] for of in (known, {}))
    check(table, texts, expected, missing, unknown)


# Oldest first; every aggregation of the last four has a different value.
EVENTS = [
    (100 * 24 * HOUR_MS, 64.0, "t4"),
    (2 * HOUR_MS, 32.0, "t4"),
    (50_000, 2.5, "t1"),
    (40_000, -3.0, "t2"),
    (30_000, 8.0, "t3"),
    (20_000, 5.0, "t1"),
]
WINDOWS = {
    "1m": 60_000,
    "5m": 300_000,
    "1h": HOUR_MS,
    "24h": 24 * HOUR_MS,
    "90d": 90 * 24 * HOUR_MS,
}
Log = list[tuple[int, float, str]]
AGGREGATES: dict[str, Callable[[Log], float]] = {
    "count": len,
    "sum": lambda log: math.fsum(x for _, x, _ in log),
    "mean": lambda log: statistics.fmean(x for _, x, _ in log),
    "stddev": lambda log: statistics.pstdev([x for _, x, _ in log]),
    "min": lambda log: min(x for _, x, _ in log),
    "max": lambda log: max(x for _, x, _ in log),
    "first": lambda log: log[0][1],
    "last": lambda log: log[-1][1],
    "age_of_first": lambda log: log[0][0] / 1000,
    "age_of_last": lambda log: log[-1][0] / 1000,
    "distinct": lambda log: len({target for _, _, target in log}),
}


def test_every_aggregation(url: str, server: redis.Redis, tmp_path: Path) -> None:
    """Over every ring, for several orders of arrival of the last four."""
    assert set(AGGREGATES) == set(AGGREGATIONS)
    of_four = [aggregate(EVENTS[-4:]) for aggregate in AGGREGATES.values()]
    assert len(set(of_four)) == len(of_four)
    lines = [HEAD]
    for name in AGGREGATES:
        value = "" if name == "count" or name.startswith("age") else 'value = "x"'
        value = 'value = "target"' if name == "distinct" else value
        windows = [*WINDOWS, "lifetime"]
        lines.append(f'[features.{name}]\non = "act"\nagg = "{name}"\n{value}\nwindows = {windows}')
    names = [f"{name}_{window}" for name in AGGREGATES for window in [*WINDOWS, "lifetime"]]
    for order in list(permutations(EVENTS[-4:]))[::5]:
        server.flushall()
        log = [*EVENTS[:2], *order]
        events = [act(age, {"x": x, "target": target}) for age, x, target in log]
        table = read(url, tmp_path, "\n".join(lines), events, names)
        for name, values, statuses in zip(names, table.values, table.statuses, strict=True):
            aggregation, window = name.rsplit("_", 1)
            within = [e for e in EVENTS if window == "lifetime" or e[0] < WINDOWS[window]]
            assert values[0] == pytest.approx(AGGREGATES[aggregation](within), rel=1e-12), name
            assert statuses[0] == FeatureStatus.PRESENT
            assert statuses[1] == FeatureStatus.NOT_FOUND
