"""Every algorithm of the table that is computed here: it has what a hash must have."""

from importlib import import_module
from inspect import isfunction
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from featsvc.hashing import perceptual
from featsvc.hashing.perceptual import hash_image
from featsvc.media import Image as Decoded
from featsvc.signals.algorithms import ALGORITHMS, Algorithm, Kind, get_algorithm
from featsvc.signals.computing import ByteHash, resolve
from featsvc.signals.signal import Signal
from featsvc.signals.text import hash_text
from tests.hashing.oracles import OF_BYTES, OF_PICTURES, OF_TEXTS, ORACLES, TWINS
from tests.hashing.photographs import hamming, noise, photograph
from tests.texts import ENTRIES

COMPUTED = [kind for kind in ALGORITHMS.values() if kind.computed]
PICTURED = [kind for kind in COMPUTED if kind.kind is Kind.PICTURE]
KERNEL_TESTS = Path(__file__).parents[1] / "kernels"
# PyWavelets remarks that db4 reaches over the edge of small bands; that is what is wanted.
pytestmark = pytest.mark.filterwarnings("ignore:Level value of")


def of(kinds: list[Algorithm]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("kind", kinds, ids=[kind.name for kind in kinds])


def sizes_of(kind: Algorithm, most: int) -> list[Algorithm]:
    """Of the default size, and `most` others from the smallest to the largest."""
    if kind.sizes is None:
        return [kind]
    taken = [size for size in kind.sizes.taken if size != kind.size]
    places = np.linspace(0, len(taken) - 1, min(most, len(taken))).astype(int)
    return [kind, *(get_algorithm(f"{kind.name}-{taken[place]}") for place in places)]


def pictures() -> list[Image.Image]:
    made = [photograph("chelsea.png"), photograph("coffee.png"), noise(3, 384, 512)]
    return [Image.fromarray(pixels).convert("RGB") for pixels in made]


def signals_of(picture: Image.Image, kinds: list[Algorithm]) -> tuple[Signal, ...]:
    return hash_image(Decoded("image/png", *picture.size, np.asarray(picture)), kinds)


@of(COMPUTED)
def test_the_function_is_there(kind: Algorithm) -> None:
    make = resolve(kind.compute)
    assert callable(make), f"{kind.name}: {kind.compute} is no function"
    assert make.__doc__ or kind.kind is Kind.BYTES, f"{kind.compute} says nothing of itself"


@of(COMPUTED)
def test_it_has_an_oracle_and_names_its_twins(kind: Algorithm) -> None:
    assert kind.name in ORACLES, f"give {kind.name} an oracle in tests/hashing/oracles.py"
    assert kind.name in TWINS, f"name {kind.name}'s twins in tests/hashing/oracles.py"
    compared = "".join(path.read_text() for path in KERNEL_TESTS.glob("test_*.py"))
    for reference in TWINS[kind.name]:
        module, _, name = reference.partition(":")
        assert callable(getattr(import_module(f"featsvc_kernels.{module}"), name))
        assert name in compared, f"no test of tests/kernels compares {reference}"


def test_oracles_are_of_the_table() -> None:
    computed = {kind.name for kind in COMPUTED}
    for rows in (ORACLES, TWINS):
        assert not rows.keys() - computed, (
            "no row of signals/algorithms.py is computed by that name"
        )


def test_every_hash_that_is_written_is_in_the_table() -> None:
    named = {kind.compute for kind in COMPUTED}
    for path in Path(perceptual.__file__).parent.glob("*.py"):
        module = import_module(f"featsvc.hashing.{path.stem}")
        for name, made in vars(module).items():
            if isfunction(made) and hasattr(made, "__wrapped__"):
                reference = f"{made.__module__}:{name}"
                assert reference in named, f"signals/algorithms.py: no row of {reference}"


@of(PICTURED)
def test_every_size_has_the_bits_that_are_stated(kind: Algorithm) -> None:
    # Large enough for whash_db4-32, the one that pictures can be too small for.
    picture = Image.fromarray(photograph("coffee.png")).convert("RGB")
    kinds = sizes_of(kind, 40)
    signals = signals_of(picture, kinds)
    assert [signal.algorithm for signal in signals] == kinds
    for signal in signals:
        bits = int.from_bytes(signal.value[: signal.algorithm.bytes]).bit_length()
        assert bits <= signal.algorithm.bits, signal.algorithm.name
        assert len(signal.value) % signal.algorithm.bytes == 0
        assert signal.quality is not None


@of(PICTURED)
def test_it_is_what_its_oracle_makes(kind: Algorithm) -> None:
    for picture in pictures():
        for signal in signals_of(picture, sizes_of(kind, 2)):
            expected, near = OF_PICTURES[kind.name](picture, signal.algorithm.size)
            if near:
                assert hamming(signal.value, bytes.fromhex(expected)) <= near
            else:
                assert signal.text == expected, (signal.algorithm.name, picture.size)


@of([kind for kind in COMPUTED if kind.kind is Kind.BYTES])
def test_a_byte_hash_is_what_its_oracle_makes(kind: Algorithm) -> None:
    make: ByteHash = resolve(kind.compute)
    for content in (b"", b"a", bytes(range(256)) * 999):
        assert make(content) == OF_BYTES[kind.name](content)
        assert len(make(content)) * 8 == kind.bits


@of([kind for kind in COMPUTED if kind.kind is Kind.TEXT])
def test_a_text_hash_is_what_its_oracle_makes(kind: Algorithm) -> None:
    for text in (*ENTRIES, f"Zo\u00eb's caf\u00e9, fr33 m0ney! {ENTRIES[0]}"):
        (signal,) = hash_text(text, [kind.name]).signals
        assert signal.value == OF_TEXTS[kind.name](text)
        assert not kind.bits or len(signal.value) * 8 == kind.bits
    found = hash_text("?!", [kind.name])
    assert not found.signals
    assert found.reason, f"{kind.compute} does not say why a text has none"
