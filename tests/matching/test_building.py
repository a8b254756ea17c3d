"""Parts are the same whether rows are added in batches, column by column, or one by one."""

import os
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.banks.sql.stored import SignalRow
from featsvc.matching import building
from featsvc.matching.building import build_part
from featsvc.matching.parts import Part
from featsvc.signals.algorithms import find_algorithm
from tests.matching.rows import row

texts = st.sampled_from(["", "a", "b\x1fc", "\u00e9"])
damaged = st.sampled_from([None, b"x", "x", 1.5, -1])
values = {
    "pdq": st.binary(min_size=32, max_size=32),
    "md5": st.binary(min_size=16, max_size=16),
    "text": st.binary(max_size=8),
    "pdna": st.text(max_size=3),
    "m@1": st.sampled_from([b"\0\0\x80\x3f" * 2, b"\0\0\x80\x3f" * 3]),
    "unknown": st.binary(max_size=3),
}
DAMAGED = ("id", "external_id", "labels", "source", "expire_time", "value", "variant", "bank_id")


@st.composite
def signal(draw: st.DrawFn, version: int) -> SignalRow:
    algorithm = draw(st.sampled_from(["pdq", "pdq", "pdq", *values]))
    known = find_algorithm(algorithm)
    columns: dict[str, Any] = {
        "algorithm_version": known.version if known else 1,
        "algorithm": algorithm,
        "value": draw(values[algorithm]),
        "external_id": draw(texts),
        "labels": draw(texts),
        "source": draw(texts),
        "bank_id": draw(st.sampled_from(["b", "c"])),
        "opinion": draw(st.sampled_from(["", "negative"])),
        "quarantined": draw(st.booleans()),
        "expire_time": draw(st.sampled_from([None, 7])),
        "variant": draw(st.sampled_from(["original", "crop"])),
    }
    if draw(st.integers(0, 9)) == 0:
        columns[draw(st.sampled_from(DAMAGED))] = draw(damaged)
    if draw(st.integers(0, 9)) == 0:
        columns["algorithm_version"] = 99
    return row(version)._replace(**columns)


@st.composite
def signals(draw: st.DrawFn) -> list[SignalRow]:
    steps = draw(st.lists(st.integers(0, 2), max_size=30))
    return [draw(signal(int(version))) for version in np.cumsum([1, *steps])]


def plain(part: Part) -> object:
    """All that a part holds, without its engines; strings may have other numbers."""
    columns: dict[str, list[object]] = {
        f.name: getattr(part.entries, f.name).tolist() for f in fields(part.entries)
    }
    strings = part.strings
    shared = {"source": strings.sources, "labels": strings.labels, "bank": strings.banks}
    for name, texts in shared.items():
        columns[name] = [texts[number] for number in getattr(part.entries, name)]
    indexes = {
        name: [
            (index.values[i].tobytes(), index.entry[i], strings.variants[index.variant[i]])
            for i in range(len(index.entry))
        ]
        for name, index in part.indexes.items()
    }
    aside = {f.name: getattr(part.set_aside, f.name).tolist() for f in fields(part.set_aside)}
    aside["bank"] = [strings.banks[number] for number in part.set_aside.bank]
    return columns, indexes, aside, strings.causes


@settings(max_examples=int(os.environ.get("TEST_EXAMPLES", "100")), deadline=None)
@given(rows=signals(), batch=st.integers(1, 8))
def test_batches_and_single_rows_make_the_same_part(rows: list[SignalRow], batch: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(building, "_BATCH_ROWS", batch)
        batched = build_part(rows)
        patch.setattr(building._PartBuilder, "add_batch", lambda *_: False)
        single = build_part(rows)
    assert plain(batched) == plain(single)


def test_good_rows_are_added_in_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    def add(_builder: object, _row: SignalRow) -> None:
        raise AssertionError

    monkeypatch.setattr(building._PartBuilder, "add", add)
    several = [row(3, algorithm="md5", value=bytes(16)), row(3, algorithm="dhash", value=bytes(8))]
    assert len(build_part([row(1), row(2), *several])) == 3
