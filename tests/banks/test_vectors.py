"""Vectors in the bank store: exports, lengths, versions of models, searches, evaluations."""

import json
from collections.abc import Iterable

import numpy as np
import pytest
from numpy.typing import NDArray

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import ChangeContext, EntrySignal
from featsvc.banks.results import EntryFilter, ImportOptions
from featsvc.banks.store import BankStore
from featsvc.banks.tuning.evaluation import evaluate
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.vectors import vector_of, vector_value
from tests.banks.lists import exported, list_file, live

LONG = "m" * 63 + "@2147483647"


def vector(seed: int, dimensions: int = 8) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(dimensions)


def signal(model: str, seed: int, dimensions: int = 8) -> EntrySignal:
    return EntrySignal(model, vector_value(get_algorithm(model), vector(seed, dimensions)))


def lines(signals: Iterable[EntrySignal]) -> str:
    """Return JSON Lines with an entry for each signal, whose values are not normalised."""
    return "".join(
        json.dumps(
            {
                "external_id": f"x{i}",
                "signals": [
                    {"algorithm": s.algorithm, "signal": (vector_of(s.value) * 3).tobytes().hex()}
                ],
            }
        )
        + "\n"
        for i, s in enumerate(signals)
    )


def add(store: BankStore, bank: str, *signals: EntrySignal) -> None:
    store.add_entries(bank, [ImportRow(0, signals, external_id="added")])


@pytest.mark.parametrize("format_name", ["jsonl", "csv"])
@pytest.mark.parametrize("model", ["sscd@1", "hog@1", LONG])
def test_an_export_of_vectors_imports_as_the_same_entries(
    bank: BankStore, format_name: str, model: str
) -> None:
    dimensions = get_algorithm(model).dimensions or 700
    signals = [signal(model, seed, dimensions) for seed in range(5)]
    result = bank.import_entries("b", list_file(lines(signals), name="v.jsonl"))
    assert result.summary.new_entries == 5
    stored = sorted(e.signals[0] for e in live(bank).values())
    for actual, expected in zip(stored, sorted(signals), strict=True):
        np.testing.assert_allclose(vector_of(actual.value), vector_of(expected.value), atol=1e-6)
    assert bank.get_bank("b").signal_counts == {model: 5}
    content = exported(bank, "b", format_name)
    again = bank.import_entries("b", list_file(content, name=f"b.{format_name}"))
    assert (again.summary.unchanged_entries, again.summary.bad_rows, again.revision) == (5, 0, 0)


def test_an_entry_with_many_vectors_fits_a_line(bank: BankStore) -> None:
    signals = [signal("hog@1", seed, 1764)._replace(variant=f"v{seed}") for seed in range(40)]
    add(bank, "b", signal("hog@1", 99, 1764), *signals)
    content = exported(bank, "b", "jsonl")
    result = bank.import_entries("b", list_file(content, name="b.jsonl", chunk_bytes=100_000))
    assert (result.summary.unchanged_entries, result.summary.bad_rows) == (1, 0)


def test_vectors_of_other_lengths_are_refused(store: BankStore) -> None:
    store.create_bank("b")
    store.create_bank("other")
    mixed = lines([signal("sscd@1", 1, 8), signal("sscd@1", 2, 9)])
    with pytest.raises(InvalidInput, match="sscd@1 have 8 dimensions in this store, one of these"):
        store.import_entries("b", list_file(mixed, name="v.jsonl"))
    # A refused import and a dry run store no length.
    store.import_entries(
        "b", list_file(lines([signal("sscd@1", 1, 9)]), name="v.jsonl"), ImportOptions(dry_run=True)
    )
    add(store, "b", signal("sscd@1", 1, 8))
    for bank in ("b", "other"):
        with pytest.raises(InvalidInput, match=r"8 dimensions .* has 9; give another model"):
            add(store, bank, signal("sscd@1", 2, 9))
    store.withdraw_entries("b", [], ["added"])
    with pytest.raises(InvalidInput, match="8 dimensions"):
        add(store, "b", signal("sscd@1", 2, 9))
    add(store, "b", signal("sscd@2", 2, 9))


def test_a_bank_holds_one_version_of_a_model(bank: BankStore) -> None:
    bank.create_bank("new")
    add(bank, "b", signal("sscd@1", 1), signal("clip@7", 1))
    wrong = "vectors of sscd@2 and sscd@1 do not compare, and a bank holds one version"
    with pytest.raises(InvalidInput, match=wrong):
        bank.add_entries("b", [ImportRow(0, (signal("sscd@2", 2),), external_id="second")])
    newer = list_file(lines([signal("sscd@2", 1)]), name="v.jsonl")
    for options in (ImportOptions(), ImportOptions(dry_run=True)):
        with pytest.raises(InvalidInput, match=wrong):
            bank.import_entries(
                "b", list_file(lines([signal("sscd@2", 1)]), name="v.jsonl"), options
            )
    with pytest.raises(InvalidInput, match="sscd@3"):
        add(bank, "new", signal("sscd@3", 1), signal("sscd@4", 1))
    assert bank.head().revision == 3
    add(bank, "new", signal("sscd@2", 1))
    bank.import_entries("b", newer, ImportOptions(replace=True))
    assert bank.get_bank("b").signal_counts == {"sscd@2": 1}


def test_malformed_vectors_are_bad_rows(bank: BankStore) -> None:
    rows = [
        f"pdqf@1,{np.full(256, np.nan, '<f4').tobytes().hex()},a",
        f"pdqf@1,{np.zeros(256, '<f4').tobytes().hex()},b",
        f"pdqf@1,{np.ones(255, '<f4').tobytes().hex()},c",
        f"pdqf@1,{np.ones(256, '<f4').tobytes().hex()},d",
    ]
    text = "algorithm,signal,external_id\n" + "\n".join(rows) + "\n"
    result = bank.import_entries("b", list_file(text, name="v.csv"), ImportOptions(skip_bad=True))
    assert [bad.line for bad in result.summary.bad] == [2, 3, 4]
    assert [
        "nan" in b.reason or "zeros" in b.reason or "255" in b.reason for b in result.summary.bad
    ]
    assert result.summary.new_entries == 1


def test_a_near_vector_finds_an_entry(bank: BankStore) -> None:
    rows = [ImportRow(i, (signal("sscd@1", i),), external_id=f"x{i}") for i in range(20)]
    bank.add_entries("b", rows)
    near = vector(3) + 0.05
    query = EntrySignal("sscd@1", vector_value(get_algorithm("sscd@1"), near))
    page = bank.list_entries("b", EntryFilter(near=query, max_distance=0.05))
    assert [e.external_id for e in page.entries] == ["x3"]
    cosine = near @ vector(3) / np.linalg.norm(near) / np.linalg.norm(vector(3))
    (distance,) = page.distances
    assert distance == pytest.approx(1 - cosine, abs=2e-6)
    with pytest.raises(InvalidInput, match="has 9 dimensions, vectors of sscd@1 have 8"):
        bank.list_entries("b", EntryFilter(near=signal("sscd@1", 1, 9), max_distance=0.05))


def test_an_evaluation_of_vectors_equals_counts_of_all_distances(bank: BankStore) -> None:
    rng = np.random.default_rng(4)
    kind = get_algorithm("sscd@1")
    known = rng.standard_normal((300, 32))
    bank.add_entries(
        "b",
        [
            ImportRow(i, (EntrySignal("sscd@1", vector_value(kind, v)),), external_id=f"x{i}")
            for i, v in enumerate(known)
        ],
    )
    near = known[:80] + rng.standard_normal((80, 32)) * rng.uniform(0, 0.8, (80, 1))
    far = np.concatenate([rng.standard_normal((50, 32)), np.repeat(known[7:8], 3, 0) + 0.05])
    samples = [(vector_value(kind, v), True) for v in near]
    samples += [(vector_value(kind, v), False) for v in far]
    with bank.view() as view:
        result = evaluate(view, "b", "sscd@1", samples, 0.02)
    unit = known / np.linalg.norm(known, axis=1, keepdims=True)
    distances = [1 - (v / np.linalg.norm(v) @ unit.T).max() for v in np.concatenate([near, far])]
    assert result.step == 0.0025
    effect = result.thresholds[40]
    assert effect.threshold == 0.1
    assert effect.recall.value == sum(d <= 0.1 for d in distances[:80]) / 80
    assert effect.false_matches.value == sum(d <= 0.1 for d in distances[80:]) / 53
    assert sum(result.positive_histogram) == 80
    # Three of 53 negative samples are near an entry: a threshold that reaches them is too large.
    assert result.suggested is not None
    assert result.suggested < min(distances[-3:])
    with bank.view() as view:
        tolerant = evaluate(view, "b", "sscd@1", samples, 0.1)
    assert tolerant.noisy[0][0].external_id == "x7"
    assert tolerant.noisy[0][1] == 3
    with bank.view() as view, pytest.raises(InvalidInput, match="no vectors of sscd@2"):
        evaluate(view, "b", "sscd@2", samples, 0.1)
    with bank.view() as view, pytest.raises(InvalidInput, match="do not compare"):
        evaluate(view, "b", "sscd@1", [*samples, (samples[0][0][:64], True)], 0.1)


def test_a_retry_with_many_vectors_happens_once(bank: BankStore) -> None:
    rows = [ImportRow(i, (signal("hog@1", i, 1764),), external_id=f"x{i}") for i in range(3)]
    again = ChangeContext(request_id="one")
    first = bank.add_entries("b", rows, again)
    assert bank.add_entries("b", rows, again) == first
    assert bank.head().revision == first.revision
    other = [ImportRow(0, (signal("hog@1", 9, 1764),), external_id="x0")]
    with pytest.raises(InvalidInput, match="was used for another call"):
        bank.add_entries("b", other, again)
