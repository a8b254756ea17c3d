"""Vectors as the values of signals."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from featsvc.banks.records import check_threshold
from featsvc.embedding.classical import CLASSICAL
from featsvc.errors import InvalidInput, InvalidSignal, UnknownAlgorithm
from featsvc.signals.algorithms import ALGORITHMS, Kind, find_algorithm, get_algorithm
from featsvc.signals.distance import COSINE, distance
from featsvc.signals.signal import Signal, format_value
from featsvc.signals.vectors import cosine_distances, vector_of, vector_value
from tests.signals.values import parse_value

FLOATS = st.floats(-(2.0**40), 2.0**40, width=32)
SSCD = get_algorithm("sscd@3")
SSCD_4 = get_algorithm("sscd@4")


def test_the_built_in_models_are_in_the_table() -> None:
    table = {a.name: a.dimensions for a in ALGORITHMS.values() if a.kind is Kind.VECTOR}
    assert table == {model.id: model.dimensions for model in CLASSICAL.values()}


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("sscd@1", True),
        ("my-model_2@2147483647", True),
        ("pdqf@2", True),
        ("sscd", False),
        ("sscd@0", False),
        ("sscd@01", False),
        ("sscd@2147483648", False),
        ("@1", False),
        ("a" * 63 + "@1", True),
        ("a" * 64 + "@1", False),
        ("../a@1", False),
        ("sscd@1\n", False),
    ],
)
def test_a_vector_is_named_by_model_and_version(name: str, known: bool) -> None:
    kind = find_algorithm(name)
    assert (kind is not None) == known
    if kind is not None:
        assert (kind.kind, kind.distance, kind.dimensions) == (Kind.VECTOR, COSINE, 0)
        assert f"{kind.base}@{kind.version}" == kind.name == name


@settings(max_examples=200)
@given(arrays(np.float32, st.integers(1, 300), elements=FLOATS))
def test_text_and_value_go_back_and_forth(values: np.ndarray) -> None:
    if not math.hypot(*values.astype(float)) >= np.finfo(np.float32).tiny:
        return
    value = parse_value("sscd@3", values.tobytes().hex().upper())
    assert abs(np.linalg.norm(vector_of(value).astype(float)) - 1) < 2e-7
    # Normalising a value again changes nothing; otherwise a second import would change entries.
    assert parse_value("sscd@3", format_value("sscd@3", value)) == value
    assert distance(Signal(SSCD, value), Signal(SSCD, value)) == 0


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, math.nan], "dimension 1 of a sscd@3 vector is nan"),
        ([math.inf, 1], "dimension 0 of a sscd@3 vector is inf"),
        ([0, 0], "all zeros"),
        ([], "1 to 4096 dimensions, not 0"),
        ([1] * 4097, "not 4097"),
    ],
)
def test_vectors_without_a_direction_are_refused(values: list[float], message: str) -> None:
    with pytest.raises(InvalidSignal, match=message):
        parse_value("sscd@3", np.array(values, "<f4").tobytes().hex())


def test_the_length_of_a_built_in_model_is_known() -> None:
    with pytest.raises(InvalidSignal, match="value: a pdqf@1 vector has 256 dimensions, not 255"):
        parse_value("pdqf@1", np.ones(255, "<f4").tobytes().hex())
    with pytest.raises(
        InvalidSignal, match="hex of little-endian float32 numbers, 8 digits each, not 2047"
    ):
        parse_value("pdqf@1", "0" * 2047)
    with pytest.raises(InvalidSignal, match="'x' at position 1 is not a hex digit"):
        parse_value("pdqf@1", "xy" * 1024)


def test_distance_is_one_minus_the_cosine() -> None:
    one, half, none, other = (
        Signal(SSCD, vector_value(SSCD, np.array(v, np.float32)))
        for v in ([2, 0], [1, 3**0.5], [0, 9], [-1, 0])
    )
    distances = [distance(one, v) for v in (one, half, none, other)]
    assert distances == [0, pytest.approx(0.5, abs=1e-7), 1, 2]
    assert distances[1] != 0.5, "the vector is rounded to float32, its distance is not"
    with pytest.raises(InvalidInput, match="do not compare"):
        distance(one, Signal(SSCD_4, one.value))
    with pytest.raises(InvalidSignal, match="has 4 bytes, not 8"):
        distance(one, Signal(SSCD, one.value[:4]))


@given(st.integers(0, 2**32), st.sampled_from([1, 2, 3, 58, 256, 4096]), st.integers(1, 40))
def test_a_distance_is_exact_and_the_same_beside_any_others(
    seed: int, dimensions: int, count: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = rng.standard_normal((count, dimensions)) + rng.choice([0, 3])
    vectors = np.stack([vector_of(vector_value(SSCD, row)) for row in rows])
    together = cosine_distances(vectors[0], vectors)
    alone = [cosine_distances(vectors[0], vectors[i : i + 1]).item() for i in range(count)]
    back = [cosine_distances(vectors[i], vectors[:1]).item() for i in range(count)]
    assert together.tolist() == alone == back
    assert together[0] == 0
    wide = vectors.astype(np.longdouble)
    lengths = np.sqrt((wide * wide).sum(axis=1) * (wide[0] * wide[0]).sum())
    exact = np.clip(1 - (wide * wide[0]).sum(axis=1) / lengths, 0, 2)
    np.testing.assert_allclose(together, exact.astype(float), rtol=0, atol=1e-14)


def test_thresholds_are_distances() -> None:
    check_threshold("sscd@3", 2, field="t")
    with pytest.raises(InvalidInput, match=r"t: must be 0 to 2 for sscd@3, not 2\.1"):
        check_threshold("sscd@3", 2.1, field="t")
    with pytest.raises(UnknownAlgorithm, match="vectors of other models as in sscd@1"):
        check_threshold("sscd", 0.1, field="t")


def test_packed_vectors_are_no_longer_than_single_ones() -> None:
    kind = get_algorithm("sscd@1")
    widths = [COSINE.row_bytes(kind, n) for n in (0, 512, 4096, 4097, 2**31)]
    assert widths == [0, 2048, 16384, 16384, 16384]
