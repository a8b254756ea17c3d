"""Recall and false matches of thresholds, compared with counts of all distances."""

import math
import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from featsvc.banks.store import BankStore
from featsvc.banks.tuning.evaluation import evaluate, wilson
from featsvc.errors import InvalidInput, NotFound
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.distance import distance
from featsvc.signals.signal import Signal
from featsvc.signals.text import hash_text
from featsvc.signals.text_grams import grams_of
from tests.banks.lists import hex_list, list_file, live
from tests.texts import ENTRIES, leetspeak, negatives


def flipped(value: int, bits: int, rng: random.Random) -> bytes:
    for bit in rng.sample(range(256), bits):
        value ^= 1 << bit
    return value.to_bytes(32, "big")


def test_an_evaluation_equals_counts_of_all_distances(bank: BankStore) -> None:
    rng = random.Random(5)
    known = [rng.getrandbits(256) for _ in range(300)]
    bank.import_entries("b", list_file(hex_list(known)))
    near = [flipped(known[i], i % 40, rng) for i in range(80)]
    far = [rng.randbytes(32) for _ in range(50)] + [flipped(known[7], 20, rng)] * 3
    samples = [(value, True) for value in near] + [(value, False) for value in far]
    with bank.view() as view:
        result = evaluate(view, "b", "pdq", samples, 0.02)

    def nearest(value: bytes) -> int:
        number = int.from_bytes(value)
        return min((number ^ k).bit_count() for k in known)

    for values, histogram in ((near, result.positive_histogram), (far, result.negative_histogram)):
        distances = [nearest(value) for value in values]
        assert list(histogram) == [distances.count(d) for d in range(max(distances) + 1)]
    assert result.thresholds[10].recall.value == sum(nearest(v) <= 10 for v in near) / 80
    assert result.suggested == 19
    assert result.noisy == ()
    with bank.view() as view:
        tolerant = evaluate(view, "b", "pdq", samples, 0.1)
    assert tolerant.suggested is not None
    assert tolerant.suggested >= 20
    assert tolerant.noisy[0][1] == 3
    assert int.from_bytes(tolerant.noisy[0][0].signals[0].value) == known[7]
    # Entries that never match are left out.
    entry = next(e for e in live(bank).values() if int.from_bytes(e.signals[0].value) == known[7])
    bank.quarantine_entries("b", [entry.id])
    with bank.view() as view:
        quarantined = evaluate(view, "b", "pdq", samples, 0.02)
    assert quarantined.suggested is not None
    assert quarantined.suggested > 20


def test_without_good_samples_nothing_is_suggested(bank: BankStore) -> None:
    with bank.view() as view:
        result = evaluate(view, "b", "pdq", [(bytes(32), True)], 0.01)
    assert (result.suggested, result.positive_histogram) == (None, ())
    assert result.thresholds[31].recall.value == 0
    assert result.thresholds[31].false_matches.value is None


def test_wrong_arguments_are_refused(bank: BankStore) -> None:
    with bank.view() as view:
        with pytest.raises(InvalidInput, match="md5"):
            evaluate(view, "b", "md5", [], 0.1)
        with pytest.raises(InvalidInput, match="0 to 1"):
            evaluate(view, "b", "pdq", [], 2)
        with pytest.raises(NotFound):
            evaluate(view, "zz", "pdq", [], 0.1)


def test_wilson_equals_published_values() -> None:
    """Newcombe 1998, table I: 81 of 263, 15 of 148, 0 of 20 and 1 of 29."""
    for hits, total, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        rate = wilson(hits, total)
        assert rate.low == pytest.approx(low, abs=5e-5)
        assert rate.high == pytest.approx(high, abs=5e-5)


@given(st.integers(1, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_contains_its_share(case: tuple[int, int]) -> None:
    rate = wilson(*case)
    assert rate.value is not None
    assert rate.low is not None
    assert rate.high is not None
    assert 0 <= rate.low <= rate.value + 1e-12
    assert rate.value - 1e-12 <= rate.high <= 1


def distance_of(algorithm: str, query: bytes, entry: bytes) -> float:
    """Return the distance of a query and an entry, a text of at most one window."""
    if algorithm == "tlsh":
        kind = get_algorithm(algorithm)
        return distance(Signal(kind, query), Signal(kind, entry))
    grams, of_entry = (set(grams_of(np.frombuffer(v, np.uint8)).tolist()) for v in (query, entry))
    return len(of_entry - grams) / len(of_entry)


@pytest.mark.slow
@pytest.mark.parametrize("algorithm", ["text", "tlsh"])
def test_texts_are_evaluated_by_their_own_distance(bank: BankStore, algorithm: str) -> None:
    def value_of(text: str) -> bytes:
        (signal,) = hash_text(text, [algorithm]).signals
        return signal.value

    rng = random.Random(3)
    listed = [Signal(get_algorithm(algorithm), value_of(text)).text for text in ENTRIES]
    rows = "".join(f"{algorithm},{signal},{i}\n" for i, signal in enumerate(listed))
    bank.import_entries("b", list_file("algorithm,signal,external_id\n" + rows))
    near = [value_of(leetspeak(text, rng, 0.2)) for text in ENTRIES]
    distances = [min(distance_of(algorithm, v, value_of(text)) for text in ENTRIES) for v in near]
    # A copy that is labelled negative keeps the threshold low.
    worst = int(np.argmax(distances))
    far = [*(value_of(text) for text in negatives()[:200]), near[worst]]
    samples = [(v, True) for v in near] + [(v, False) for v in far]
    with bank.view() as view:
        result = evaluate(view, "b", algorithm, samples, 0.0)
        tolerant = evaluate(view, "b", algorithm, samples, 0.5)
    step, last = result.step, len(result.thresholds) - 1
    steps = [math.ceil(d / step - 1e-6) for d in distances]
    assert list(result.positive_histogram) == [steps.count(i) for i in range(max(steps) + 1)]
    for i, effect in enumerate(result.thresholds):
        assert effect.recall.value == sum(s <= i for s in steps) / len(ENTRIES)
        assert effect.false_matches.value is not None
        assert effect.false_matches.value >= (steps[worst] <= i) / len(far)
    assert result.suggested is not None
    assert result.suggested < distances[worst]
    assert tolerant.suggested == pytest.approx(step * max(i for i in steps if i <= last))
    if steps[worst] <= last:
        assert [(e.external_id, count) for e, count in tolerant.noisy] == [(str(worst), 1)]
