"""Sketches against their twin, and against a real server's HyperLogLogs."""

import struct
from collections.abc import Iterator

import numpy as np
import pytest
import redis
from featsvc_kernels import reference_sketch, sketch
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.accounts.stores import running_valkey

SIZES = [0, 1, 2, 10, 100, 500, 511, 512, 513, 2000, 20_000]


def draw(n: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**64, n, np.uint64)


def sketch_of(members: np.ndarray) -> np.ndarray:
    registers = np.zeros(sketch.REGISTERS, np.uint8)
    sketch.add_members(members, registers)
    return registers


def as_bytes(members: np.ndarray) -> list[bytes]:
    return [member.tobytes() for member in members]


def read_only(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize("n", [*SIZES, 70_000])
def test_registers_equal_the_twin(n: int) -> None:
    members = draw(n)
    expected = reference_sketch.registers_of(as_bytes(members))
    np.testing.assert_array_equal(sketch_of(members), expected)


@pytest.mark.parametrize("n", SIZES)
def test_the_stored_form_is_the_shortest_and_keeps_every_register(n: int) -> None:
    registers = sketch_of(draw(n))
    stored = sketch.encode(registers)
    assert stored == reference_sketch.encode(registers)
    assert len(stored) == min(1536, 3 * np.count_nonzero(registers))
    decoded = np.zeros(sketch.REGISTERS, np.uint8)
    assert sketch.add_sketch(read_only(stored), decoded)
    np.testing.assert_array_equal(decoded, registers)


@given(st.lists(st.integers(0, 54), min_size=1, max_size=8), st.integers(0, 2048))
def test_any_ranks_are_encoded_and_estimated_as_the_twin_does(ranks: list[int], n: int) -> None:
    registers = np.zeros(sketch.REGISTERS, np.uint8)
    registers[:n] = np.resize(ranks, n)
    stored = sketch.encode(registers)
    assert stored == reference_sketch.encode(registers)
    decoded = np.zeros(sketch.REGISTERS, np.uint8)
    assert sketch.add_sketch(read_only(stored), decoded)
    np.testing.assert_array_equal(decoded, registers)
    expected = reference_sketch.estimate(registers)
    assert sketch.estimate(registers) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize(("left", "right"), [(0, 5), (100, 100), (300, 9000)])
def test_sketches_added_up_are_the_sketch_of_all_members(left: int, right: int) -> None:
    one, other = draw(left, 1), draw(right, 2)
    both = np.zeros(sketch.REGISTERS, np.uint8)
    for members in (one, other):
        assert sketch.add_sketch(read_only(sketch.encode(sketch_of(members))), both)
    np.testing.assert_array_equal(both, sketch_of(np.concatenate([one, other])))


@pytest.mark.parametrize(
    "stored",
    [
        b"\0",
        struct.pack("<HB", 2048, 1),
        struct.pack("<HB", 2047, 55),
        bytes(1535),
        b"\xff" * 1536,
    ],
)
def test_what_is_no_sketch_is_refused(stored: bytes) -> None:
    assert not sketch.add_sketch(read_only(stored), np.zeros(sketch.REGISTERS, np.uint8))


@settings(max_examples=500)
@given(st.binary(max_size=40), st.sampled_from([b"", b"HYLL", b"HYLL\0", b"HYLL\1" + bytes(11)]))
def test_any_bytes_are_added_or_refused(data: bytes, prefix: bytes) -> None:
    registers = np.zeros(sketch.REGISTERS, np.uint8)
    sketch.add_redis_hyperloglog(read_only(prefix + data), registers)
    sketch.add_sketch(read_only(prefix + data), registers)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[redis.Redis]:
    folder = tmp_path_factory.mktemp("valkey")
    with running_valkey(folder) as url, redis.Redis.from_url(url) as client:
        yield client


@pytest.mark.parametrize("n", [1, 2, 30, 200, 1000, 3000, 30_000])
def test_the_servers_hyperloglog_folds_down_without_loss(server: redis.Redis, n: int) -> None:
    """The shorter ones are sparse, the longer ones dense."""
    members = draw(n, n)
    server.delete("h")
    for part in np.array_split(members, -(-n // 1000)):
        server.pfadd("h", *as_bytes(part))
    stored = server.get("h")
    assert isinstance(stored, bytes)
    folded = np.zeros(sketch.REGISTERS, np.uint8)
    assert sketch.add_redis_hyperloglog(read_only(stored), folded)
    np.testing.assert_array_equal(folded, sketch_of(members))
    assert not sketch.add_redis_hyperloglog(read_only(stored[:-1]), folded)


@pytest.mark.parametrize("n", [1, 3, 10, 30, 100])
def test_small_numbers_are_nearly_exact(n: int) -> None:
    estimates = [sketch.estimate(sketch_of(draw(n, seed))) for seed in range(50)]
    assert abs(np.mean(estimates) - n) <= 0.02 * n
    # Members may share a register.
    assert np.max(np.abs(np.array(estimates) - n)) <= max(1.1, 0.06 * n)


@pytest.mark.parametrize("n", [1000, 3000, 5000, 10_000, 30_000, 100_000, 300_000, 1_000_000])
def test_the_error_is_that_of_2048_registers(n: int) -> None:
    seeds = 3 if n > 100_000 else 20
    errors = [sketch.estimate(sketch_of(draw(n, seed))) / n - 1 for seed in range(seeds)]
    standard_error = 1.04 / 2048**0.5
    assert max(map(abs, errors)) <= 3 * standard_error
    assert np.sqrt(np.mean(np.square(errors))) <= 1.5 * standard_error
