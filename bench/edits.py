"""Edits that people make to a picture before they upload it again."""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

from tests.hashing.photographs import encode

Edit = Callable[[Image.Image], Image.Image]


def _jpeg(quality: int) -> Edit:
    return lambda p: Image.open(io.BytesIO(encode(p, "JPEG", quality=quality))).convert("RGB")


def _resize(share: float) -> Edit:
    return lambda p: p.resize(
        (max(1, round(p.width * share)), max(1, round(p.height * share))), Image.Resampling.BICUBIC
    )


def _crop(left: float, top: float, right: float, bottom: float) -> Edit:
    """Crop these shares of the sides."""
    return lambda p: p.crop(
        (
            round(p.width * left),
            round(p.height * top),
            round(p.width * (1 - right)),
            round(p.height * (1 - bottom)),
        )
    )


def _crop_around(share: float) -> Edit:
    """Crop `share` of each side, half at each end."""
    return _crop(*(share / 2,) * 4)


def _rotate(degrees: float) -> Edit:
    return lambda p: p.rotate(degrees, Image.Resampling.BICUBIC, fillcolor="black")


def _noise(p: Image.Image) -> Image.Image:
    pixels = np.asarray(p).astype(float)
    grains = np.random.default_rng(0).normal(0, 12, pixels.shape)
    return Image.fromarray((pixels + grains).clip(0, 255).astype(np.uint8))


def _text(p: Image.Image) -> Image.Image:
    """Draw a line of white capitals with a dark edge, a tenth of the height, near the bottom."""
    out = p.copy()
    ImageDraw.Draw(out).text(
        (p.width // 2, round(p.height * 0.86)),
        "SHARE THIS NOW",
        fill="white",
        anchor="mm",
        font_size=max(8, p.height // 10),
        stroke_width=2,
        stroke_fill="black",
    )
    return out


def _letterbox(p: Image.Image) -> Image.Image:
    return ImageOps.expand(p, (0, round(p.height * 0.12)), fill="black")


def _pillarbox(p: Image.Image) -> Image.Image:
    """Add uneven grey bars left and right."""
    return ImageOps.expand(
        p, (round(p.width * 0.2), 0, round(p.width * 0.07), 0), fill=(60, 60, 64)
    )


def _meme_caption(p: Image.Image) -> Image.Image:
    """Add two lines of black capitals on a white band above the picture."""
    band = max(24, round(p.height * 0.2))
    out = ImageOps.expand(p, (0, band, 0, 0), fill="white")
    draw = ImageDraw.Draw(out)
    for line, text in enumerate(("WHEN THE BUILD IS GREEN", "AND NOBODY KNOWS WHY")):
        draw.text(
            (p.width // 2, band * (4 * line + 4) // 12),
            text,
            fill="black",
            anchor="mm",
            font_size=max(7, band // 4),
            stroke_width=1,
            stroke_fill="black",
        )
    return out


def _screenshot(p: Image.Image) -> Image.Image:
    """Add the status bar of a phone above, a row of buttons below, and white margins."""
    bar = round(p.height * 0.08)
    out = ImageOps.expand(p, (round(p.width * 0.03), bar, round(p.width * 0.03), 2 * bar), "white")
    draw = ImageDraw.Draw(out)
    draw.rectangle((0, 0, out.width, bar // 2), fill=(30, 30, 34))
    for i in range(4):
        x = out.width * (2 * i + 1) // 8
        draw.ellipse(
            (x - bar // 3, out.height - bar, x + bar // 3, out.height - bar // 3), fill="grey"
        )
    return out


def _feed(p: Image.Image) -> Image.Image:
    """Add a dark feed: avatar and name above, icons and text below."""
    page, ink = (18, 18, 20), (230, 230, 230)
    unit = max(4, p.width // 40)
    out = Image.new("RGB", (p.width, p.height + 22 * unit), page)
    out.paste(p, (0, 8 * unit))
    draw = ImageDraw.Draw(out)
    draw.text((unit, unit // 2), "09:41", fill=ink, font_size=max(6, unit))
    draw.ellipse((unit, 3 * unit, 5 * unit, 7 * unit), fill=(200, 120, 60))
    draw.text((6 * unit, 4 * unit), "somebody.somewhere", fill=ink, font_size=max(7, 2 * unit))
    below = p.height + 9 * unit
    for i in range(3):
        x = unit + i * 4 * unit
        draw.ellipse((x, below, x + 2 * unit, below + 2 * unit), outline=ink, width=2)
    for line in range(3):
        text = "look at what I have found in the old house"
        size = max(7, 3 * unit // 2)
        draw.text((unit, below + (3 + 3 * line) * unit), text, fill=ink, font_size=size)
    return out


EDITS: dict[str, Edit] = {
    "JPEG q90": _jpeg(90),
    "JPEG q50": _jpeg(50),
    "JPEG q30": _jpeg(30),
    "resize 75 %": _resize(0.75),
    "resize 50 %": _resize(0.5),
    "resize 25 %": _resize(0.25),
    "brightness +30 %": lambda p: ImageEnhance.Brightness(p).enhance(1.3),
    "contrast +50 %": lambda p: ImageEnhance.Contrast(p).enhance(1.5),
    "saturation +80 %": lambda p: ImageEnhance.Color(p).enhance(1.8),
    "grey": lambda p: p.convert("L").convert("RGB"),
    "blur 2 px": lambda p: p.filter(ImageFilter.GaussianBlur(2)),
    "sharpen": lambda p: ImageEnhance.Sharpness(p).enhance(3),
    "noise s=12": _noise,
    "text": _text,
    "crop 2 %": _crop_around(0.02),
    "crop 5 %": _crop_around(0.05),
    "crop 15 %": _crop_around(0.15),
    "border 4 %": lambda p: ImageOps.expand(p, round(min(p.size) * 0.04), fill="white"),
    "letterbox": _letterbox,
    "rotate 3": _rotate(3),
    "rotate 10": _rotate(10),
    "mirror": ImageOps.mirror,
    "screenshot": _screenshot,
    "meme caption": _meme_caption,
}
"""The edits over which the mean recall is taken."""

FURTHER: dict[str, Edit] = {
    "crop 6 %": _crop_around(0.06),
    "crop 11 %": _crop_around(0.11),
    "6 % off the top": _crop(0, 0.06, 0, 0),
    "10 % off the left": _crop(0.1, 0, 0, 0),
    "10 % off a corner": _crop(0, 0.1, 0.1, 0),
    "cut square": lambda p: ImageOps.fit(p, (min(p.size), min(p.size))),
    "pillarbox, JPEG q50": lambda p: _jpeg(50)(_pillarbox(p)),
    "caption, JPEG q50": lambda p: _jpeg(50)(_meme_caption(p)),
    "feed, JPEG q70": lambda p: _jpeg(70)(_feed(p)),
    "mirror, resize 50 %": lambda p: _resize(0.5)(ImageOps.mirror(p)),
    "mirror, crop 5 %": lambda p: _crop_around(0.05)(ImageOps.mirror(p)),
    "mirror, border": lambda p: ImageOps.expand(
        ImageOps.mirror(p), round(min(p.size) * 0.04), fill="white"
    ),
    "rotate 2": _rotate(2),
    "turn 90": lambda p: p.transpose(Image.Transpose.ROTATE_90),
}
"""Edits between the steps of the variants, or several at once, which do not favour their grid."""
