"""The photographs, in halves, and other pictures."""

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bench.command import say
from bench.edits import EDITS, FURTHER
from bench.size import SMOKE
from tests.hashing.photographs import SKIMAGE_DATA
from tests.photographs import SHARED

PHOTOGRAPHS = (
    *("astronaut.png", "brick.png", "camera.png", "cell.png", "chelsea.png", "coffee.png"),
    *("coins.png", "color.png", "grass.png", "gravel.png", "hubble_deep_field.jpg", "ihc.png"),
    *("microaneurysms.png", "moon.png", "motorcycle_left.png", "page.png", "retina.jpg"),
    *("rocket.jpg", "text.png"),
)
"""All photographs of scikit-image, except the second one of the stereo pair, and `clock_motion`,
which is LOW_QUALITY: a bank of it matches nothing."""

_SHARED_PHOTOGRAPH = SHARED / "pdq" / "bridge-mods" / "aaa-orig.jpg"
"""The original of Meta's reference pictures."""

_PART_SIDE = 320
_FRAMES = (
    *("meme caption", "letterbox", "border 4 %", "screenshot", "rotate 3", "feed, JPEG q70"),
    *("text", "caption, JPEG q50", "pillarbox, JPEG q50", "rotate 2"),
)

Picture = Image.Image


def photographs() -> dict[str, Picture]:
    """The photographs by name; prints a line where Meta's is missing."""
    found = {name: SKIMAGE_DATA / name for name in PHOTOGRAPHS}
    if _SHARED_PHOTOGRAPH.is_file():
        found["bridge (Meta)"] = _SHARED_PHOTOGRAPH
    else:
        say("skipped Meta's photograph, which is not in this checkout: thresholds may differ")
    pictures = {name: Image.open(path).convert("RGB") for name, path in sorted(found.items())}
    if SMOKE:
        return {name: pictures[name].resize((64, 48)) for name in list(pictures)[:4]}
    return pictures


def halves(pictures: dict[str, Picture]) -> tuple[dict[str, Picture], dict[str, Picture]]:
    """Every other photograph to choose thresholds on, the others to test them."""
    items = list(pictures.items())
    return dict(items[::2]), dict(items[1::2])


def strangers(
    pictures: Sequence[Picture], count: int, seed: int, *, plain: bool = True
) -> Iterator[Picture]:
    """`count` pictures: half are parts of `pictures`, a third dead leaves, the others plain.

    Plain ones are gradients, stripes and blots; without `plain` there are none, as in a bank. Every
    other picture has a frame, a caption or a tilt, as many unrelated pictures do.
    """
    rng = np.random.default_rng(seed)
    for number in range(count):
        kind = number % (6 if plain else 5)
        if kind < 3:
            picture = _part(pictures[number % len(pictures)], rng)
        elif kind < 5:
            picture = _leaves(rng)
        else:
            picture = _plain(rng)
        framed = number // 6 % 2
        yield (
            (EDITS | FURTHER)[_FRAMES[number // 12 % len(_FRAMES)]](picture) if framed else picture
        )


def _part(picture: Picture, rng: np.random.Generator) -> Picture:
    """A rectangle of a quarter to the whole of each side."""
    width, height = (
        min(side, max(64, int(side * rng.uniform(0.25, 0.95)))) for side in picture.size
    )
    left = int(rng.integers(0, picture.width - width + 1))
    top = int(rng.integers(0, picture.height - height + 1))
    part = picture.crop((left, top, left + width, top + height))
    part.thumbnail((_PART_SIDE, _PART_SIDE))
    return part


def _leaves(rng: np.random.Generator, height: int = 144, width: int = 192) -> Picture:
    """Dead leaves over 1/f noise, with the sizes and contrasts of photographs."""
    pixels = 128 + _fractal(rng, height, width) * rng.uniform(5, 60)
    y, x = np.mgrid[:height, :width]
    for _ in range(rng.integers(0, 40)):
        radius = height * rng.uniform(0.03, 0.5) * rng.uniform(0.2, 1)
        down, across = abs(y - rng.uniform(0, height)), abs(x - rng.uniform(0, width))
        stretch = rng.uniform(0.5, 2)
        round_ = down**2 * stretch + across**2 / stretch < radius**2
        leaf = round_ if rng.random() < 0.6 else (down < radius) & (across < radius * stretch)
        pixels[leaf] = rng.uniform(0, 255) + pixels[leaf] * rng.uniform(0, 0.2)
    return Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).convert("RGB")


def _fractal(rng: np.random.Generator, height: int, width: int) -> NDArray[np.float64]:
    squared = np.fft.fftfreq(height)[:, None] ** 2 + np.fft.rfftfreq(width)[None] ** 2
    squared[0, 0] = 1
    spectrum = np.fft.rfft2(rng.normal(size=(height, width)))
    field = np.fft.irfft2(spectrum / squared ** (rng.uniform(0.6, 1.6) / 2), s=(height, width))
    return np.asarray(field / field.std())


def _plain(rng: np.random.Generator, height: int = 144, width: int = 192) -> Picture:
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    turn = rng.uniform(0, np.pi)
    along = x * np.cos(turn) + y * np.sin(turn)
    shape = rng.integers(0, 3)
    if shape == 0:
        field = along
    elif shape == 1:
        field = np.sign(np.sin(along * rng.uniform(5, 120)))
    else:
        field = -np.hypot(x - rng.uniform(0, 1), y - rng.uniform(0, 1))
    field = (field - field.min()) / max(float(np.ptp(field)), 1e-9)
    low, high = rng.uniform(0, 255, 2)
    return Image.fromarray((low + field * (high - low)).astype(np.uint8)).convert("RGB")
