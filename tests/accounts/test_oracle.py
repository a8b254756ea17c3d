"""Values compared with a plain event log, for arbitrary orders, repeats and times."""

import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, pstdev

import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.accounts import (
    Definitions,
    EntityRef,
    Event,
    EventStatus,
    Feature,
    FeatureStatus,
    FeatureStore,
    load_definitions,
)
from tests.accounts.stores import run

NOW_MS = 1_767_268_803_123
DAY_MS = 86_400_000
AGGREGATIONS = ("sum", "mean", "min", "max", "stddev", "first", "last")
WINDOWS = '["1m", "5m", "1h", "24h", "7d", "90d", "lifetime"]'


@pytest.fixture(scope="module")
def everything_toml(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Every aggregation over every ring, for two kinds of entity."""
    lines = [
        'namespace = "oracle"',
        '[entities]\naccount = "account"\nip = "ip"',
        '[events.act]\nkeys = ["account", "ip"]',
    ]
    for entity in ("account", "ip"):
        for agg in ("count", "age_of_first", "age_of_last", *AGGREGATIONS, "distinct"):
            value = {"distinct": 'value = "target"\ncap = 8', "count": ""}.get(agg, 'value = "x"')
            if agg.startswith("age_of"):
                value = ""
            lines.append(
                f'[features.{entity}_{agg}]\nentity = "{entity}"\non = "act"\nagg = "{agg}"\n'
                f"{value}\nwindows = {WINDOWS}"
            )
        lines.append(
            f'[features.{entity}_big]\nentity = "{entity}"\non = "act"\nagg = "count"\n'
            f'where = {{ big = true }}\nwindows = ["1h"]'
        )
    path = tmp_path_factory.mktemp("oracle") / "features.toml"
    path.write_text("\n".join(lines))
    return path


@cache
def load(path: Path) -> Definitions:
    return load_definitions(path)


# Many ages are near the edges of windows and buckets, where mistakes are likely.
edges = st.sampled_from([0, 10_000, 60_000, 300_000, 3_600_000, DAY_MS, 7 * DAY_MS, 90 * DAY_MS])
ages = st.one_of(
    st.builds(lambda edge, near: max(edge + near, -20_000), edges, st.integers(-12_000, 12_000)),
    st.integers(0, 100 * DAY_MS),
)
events = st.lists(
    st.builds(
        lambda number, age, account, ip, x, target: Event(
            f"e{number}",
            "act",
            NOW_MS - age,
            {"account": account, "ip": ip},
            {"x": x, "target": target, "big": x > 0},
        ),
        st.integers(0, 25),
        ages,
        st.sampled_from(["a", "b"]),
        st.sampled_from(["i", "j"]),
        st.floats(-1e6, 1e6).map(lambda x: round(x, 3)),
        st.sampled_from([f"t{n}" for n in range(7)]),
    ),
    max_size=40,
)


def within(log: Sequence[Event], after: int, until: float) -> list[Event]:
    """Events in (after, until], oldest first."""
    chosen = [e for e in log if after < e.time_ms <= until]
    return sorted(chosen, key=lambda e: e.time_ms)


def check(  # noqa: C901, PLR0912 - one branch an aggregation
    feature: Feature, log: list[Event], value: float, status: int, as_of: int
) -> None:
    """One value against the log of one entity."""
    if feature.name.endswith("_big_1h"):
        log = [e for e in log if e.attributes["big"]]
    window, bucket = feature.window_ms, feature.ring.width_ms
    lifetime = window == 0
    end = math.inf if lifetime else as_of
    exact = within(log, -1 if lifetime else as_of - window, end)
    # May count too: one bucket at the old end, and the rest of the newest bucket.
    wide = within(log, -1 if lifetime else as_of - window - bucket, end + bucket)
    xs, wide_xs = ([float(e.attributes["x"]) for e in part] for part in (exact, wide))
    if feature.aggregation == "count":
        assert len(exact) <= value <= len(wide)
        return
    if feature.aggregation == "distinct":
        targets = {e.attributes["target"] for e in exact}
        assert status == FeatureStatus.PRESENT
        if not any(e.time_ms > as_of for e in log):
            assert value == len(targets)
        assert value >= len(targets)
        return
    if status == FeatureStatus.NULL_VALUE:
        assert not exact
        assert math.isnan(value)
        return
    if feature.aggregation == "min":
        assert min(wide_xs) <= value <= (min(xs) if xs else max(wide_xs))
    elif feature.aggregation == "max":
        assert (max(xs) if xs else min(wide_xs)) <= value <= max(wide_xs)
    elif feature.aggregation == "age_of_first":
        ages_s = [max(as_of - e.time_ms, 0) / 1000 for e in wide]
        assert any(value == pytest.approx(a) for a in ages_s)
        assert value >= max((max(as_of - e.time_ms, 0) / 1000 for e in exact), default=0)
    elif feature.aggregation == "age_of_last":
        assert any(value == pytest.approx(max(as_of - e.time_ms, 0) / 1000) for e in wide)
        if exact and exact == wide:
            assert value == pytest.approx(max(as_of - exact[-1].time_ms, 0) / 1000)
    elif feature.aggregation in ("first", "last"):
        assert value in wide_xs
        if exact == wide:
            edge = exact[0 if feature.aggregation == "first" else -1].time_ms
            assert value in [float(e.attributes["x"]) for e in exact if e.time_ms == edge]
    elif exact == wide:  # neither monotone nor bounded: compared only where the window is exact
        oracles = {"sum": math.fsum(xs), "mean": fmean(xs or [0]), "stddev": pstdev(xs or [0])}
        assert value == pytest.approx(oracles[feature.aggregation], rel=1e-7, abs=1e-4)


@pytest.mark.slow
@settings(
    max_examples=150,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(batches=st.lists(events, min_size=1, max_size=3), as_of_age=st.sampled_from([0, 0, -30_000]))
def test_every_value_is_within_its_bound(
    url: str,
    server: redis.Redis,
    everything_toml: Path,
    batches: list[list[Event]],
    as_of_age: int,
) -> None:
    server.flushall()
    everything = load(everything_toml)

    async def body(store: FeatureStore) -> None:
        logs: dict[tuple[str, str], dict[str, Event]] = {}
        for batch in batches:
            for event, result in zip(batch, await store.ingest(batch), strict=True):
                assert result.status in (EventStatus.APPLIED, EventStatus.DUPLICATE)
                for target in event.entities.items():
                    logs.setdefault(target, {}).setdefault(event.event_id, event)
        refs = [EntityRef(*target) for target in logs] + [EntityRef("account", "nobody")]
        as_of = NOW_MS - as_of_age
        table = await store.get(refs, as_of_ms=as_of)
        for row, name in enumerate(table.names):
            feature = everything.features[name]
            for column, ref in enumerate(refs):
                value, status = float(table.values[row, column]), int(table.statuses[row, column])
                log = logs.get((ref.entity, ref.id))
                if log is None or ref.entity != feature.entity:
                    assert status == FeatureStatus.NOT_FOUND
                else:
                    check(feature, list(log.values()), value, status, as_of)

    run(url, everything, body, now_ms=NOW_MS)
