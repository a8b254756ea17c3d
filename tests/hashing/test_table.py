"""Requirements on every algorithm of the table that featsvc computes."""

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
from tests.hashing.oracles import BYTE_ORACLES, ORACLES, PICTURE_ORACLES, TEXT_ORACLES, TWINS
from tests.hashing.photographs import hamming, noise, photograph
from tests.texts import ENTRIES

COMPUTED = [kind for kind in ALGORITHMS.values() if kind.computed]
PICTURED = [kind for kind in COMPUTED if kind.kind is Kind.PICTURE]
KERNEL_TESTS = Path(__file__).parents[1] / "kernels"
# PyWavelets warns that db4 exceeds small bands, as intended.
pytestmark = pytest.mark.filterwarnings("ignore:Level value of")


def of(kinds: list[Algorithm], *, slow: str = "") -> pytest.MarkDecorator:
    """Run a test for each kind; `slow` names one that is marked so."""
    return pytest.mark.parametrize(
        "kind",
        [pytest.param(k, id=k.name, marks=[pytest.mark.slow] * (k.name == slow)) for k in kinds],
    )


def sizes_of(kind: Algorithm, most: int) -> list[Algorithm]:
    """The default size, and at most `most` others from the smallest to the largest."""
    if kind.sizes is None:
        return [kind]
    taken = [size for size in kind.sizes.taken if size != kind.size]
    places = np.linspace(0, len(taken) - 1, min(most, len(taken))).astype(int)
    return [kind, *(get_algorithm(f"{kind.name}-{taken[place]}") for place in places)]


def pictures() -> list[Image.Image]:
    arrays = [photograph("chelsea.png"), photograph("coffee.png"), noise(3, 384, 512)]
    return [Image.fromarray(pixels).convert("RGB") for pixels in arrays]


def signals_of(picture: Image.Image, kinds: list[Algorithm]) -> tuple[Signal, ...]:
    return hash_image(Decoded("image/png", *picture.size, np.asarray(picture)), kinds)


@of(COMPUTED)
def test_its_function_is_documented(kind: Algorithm) -> None:
    compute = resolve(kind.compute)
    assert callable(compute), f"{kind.name}: {kind.compute} is not a function"
    assert compute.__doc__ or kind.kind is Kind.BYTES, f"{kind.compute} has no docstring"


@of(COMPUTED)
def test_it_has_an_oracle_and_names_its_twins(kind: Algorithm) -> None:
    assert kind.name in ORACLES, f"give {kind.name} an oracle in tests/hashing/oracles.py"
    assert kind.name in TWINS, f"name {kind.name}'s twins in tests/hashing/oracles.py"
    compared = "".join(path.read_text() for path in KERNEL_TESTS.glob("test_*.py"))
    for reference in TWINS[kind.name]:
        module, _, name = reference.partition(":")
        assert callable(getattr(import_module(f"featsvc_kernels.{module}"), name))
        assert name in compared, f"no test in tests/kernels uses {reference}"


def test_oracles_are_of_computed_algorithms() -> None:
    computed = {kind.name for kind in COMPUTED}
    for rows in (ORACLES, TWINS):
        assert not rows.keys() - computed, (
            "no row of signals/algorithms.py is computed by that name"
        )


def test_every_hash_function_is_in_the_table() -> None:
    named = {kind.compute for kind in COMPUTED}
    for path in Path(perceptual.__file__).parent.glob("*.py"):
        module = import_module(f"featsvc.hashing.{path.stem}")
        for name, function in vars(module).items():
            if isfunction(function) and hasattr(function, "__wrapped__"):
                reference = f"{function.__module__}:{name}"
                assert reference in named, f"signals/algorithms.py: no row names {reference}"


@of(PICTURED)
def test_every_size_has_the_declared_bits(kind: Algorithm) -> None:
    # Large enough for whash_db4-32, the only one with a minimum size.
    picture = Image.fromarray(photograph("coffee.png")).convert("RGB")
    kinds = sizes_of(kind, 40)
    signals = signals_of(picture, kinds)
    assert [signal.algorithm for signal in signals] == kinds
    for signal in signals:
        bits = int.from_bytes(signal.value[: signal.algorithm.bytes]).bit_length()
        assert bits <= signal.algorithm.bits, signal.algorithm.name
        assert len(signal.value) % signal.algorithm.bytes == 0
        assert signal.quality is not None


@of(PICTURED, slow="crop_resistant")
def test_it_equals_its_oracle(kind: Algorithm) -> None:
    for picture in pictures():
        for signal in signals_of(picture, sizes_of(kind, 2)):
            expected, near = PICTURE_ORACLES[kind.name](picture, signal.algorithm.size)
            if near:
                assert hamming(signal.value, bytes.fromhex(expected)) <= near
            else:
                assert signal.text == expected, (signal.algorithm.name, picture.size)


@of([kind for kind in COMPUTED if kind.kind is Kind.BYTES])
def test_a_byte_hash_equals_its_oracle(kind: Algorithm) -> None:
    digest: ByteHash = resolve(kind.compute)
    for content in (b"", b"a", bytes(range(256)) * 999):
        assert digest(content) == BYTE_ORACLES[kind.name](content)
        assert len(digest(content)) * 8 == kind.bits


@of([kind for kind in COMPUTED if kind.kind is Kind.TEXT])
def test_a_text_hash_equals_its_oracle(kind: Algorithm) -> None:
    for text in (*ENTRIES, f"Zo\u00eb's caf\u00e9, fr33 m0ney! {ENTRIES[0]}"):
        (signal,) = hash_text(text, [kind.name]).signals
        assert signal.value == TEXT_ORACLES[kind.name](text)
        assert not kind.bits or len(signal.value) * 8 == kind.bits
    hashes = hash_text("?!", [kind.name])
    assert not hashes.signals
    assert hashes.reason, f"{kind.compute} returns neither a value nor a reason"
