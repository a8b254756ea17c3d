"""Layers hold what the store holds, in whatever order entries are added and withdrawn."""

from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.banks.records import StoreHead
from featsvc.matching.layers import Layers
from featsvc.matching.snapshot import Snapshot
from tests.matching.rows import held, row
from tests.matching.served import bank

NOW = datetime.now(UTC)


def snapshot(layers: Layers) -> Snapshot:
    banks = (bank(),)
    return Snapshot(StoreHead(1, NOW), banks, layers.views(banks), layers.status())


@settings(max_examples=40)
@given(
    st.integers(0, 20),
    st.lists(st.tuples(st.integers(0, 8), st.lists(st.integers(1, 80), max_size=6)), max_size=12),
)
def test_layers_hold_what_was_added_and_not_withdrawn(
    base: int, changes: list[tuple[int, list[int]]]
) -> None:
    layers = Layers.on_rows([row(v) for v in range(1, base + 1)])
    live = set(range(1, base + 1))
    newest = base
    for count, removed in changes:
        withdrawn = [v for v in dict.fromkeys(removed) if v in live]
        added = range(newest + 1, newest + 1 + count)
        before, live_before = snapshot(layers), set(live)
        layers = layers.advance([row(v) for v in added], withdrawn)
        live = (live - set(withdrawn)) | set(added)
        newest += count
        assert held(snapshot(layers), range(1, newest + 1)) == live
        assert held(before, range(1, newest + 1)) == live_before
    status = {s.algorithm: s for s in layers.status()}
    if live:
        assert (status["pdq"].entries, status["pdq"].signals) == (len(live), len(live))


def test_layers_stay_few() -> None:
    layers = Layers.on_rows([row(1)])
    for version in range(2, 400):
        layers = layers.advance([row(version)], ())
    assert len(layers.newer) <= 6
    assert layers.delta_signals == 398


def test_status_counts_what_is_live() -> None:
    rows = [row(v) for v in range(1, 11)] + [row(11, algorithm="md5", value=bytes(16))]
    layers = Layers.on_rows(rows).advance([row(12), row(13)], [3, 4, 11, 99])
    md5, pdq = layers.status()
    assert (md5.algorithm, md5.entries, md5.signals, md5.withdrawn_signals) == ("md5", 0, 0, 1)
    assert (pdq.entries, pdq.signals, pdq.delta_signals, pdq.withdrawn_signals) == (10, 10, 2, 2)
