"""Variants: the table, and variants of pictures."""

import re
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps

from featsvc.errors import InvalidInput
from featsvc.hashing.content import hash_content
from featsvc.hashing.pdq import hash_pdq
from featsvc.hashing.variants import (
    entry_rectangles,
    find_frames,
    make_entry,
    make_query,
    query_maker,
)
from featsvc.media import DecodeOptions, Limits
from featsvc.signals.algorithms import ALGORITHMS, QUALITY_FLOOR
from featsvc.signals.hashes import ContentOutcome
from featsvc.signals.variants import (
    CENTRE_CROPS,
    DEFAULT_QUERY_VARIANTS,
    ORIGINAL,
    QUERY_VARIANTS,
    VARIANTS,
    query_variants,
    share_of,
)
from tests.hashing.photographs import encode, hamming, photograph

EVERY = frozenset(QUERY_VARIANTS)
DOCS = Path(__file__).parents[2] / "docs" / "variants.md"


def pixels(picture: Image.Image) -> NDArray[np.uint8]:
    return np.asarray(picture.convert("RGB"))


def coffee() -> Image.Image:
    return Image.fromarray(photograph("coffee.png"))


def with_caption(picture: Image.Image) -> Image.Image:
    out = ImageOps.expand(picture, (0, 80, 0, 0), fill="white")
    ImageDraw.Draw(out).text((300, 40), "WHEN IT WORKS", fill="black", anchor="mm", font_size=40)
    return out


def test_the_table_is_consistent() -> None:
    assert next(iter(VARIANTS)) == ORIGINAL
    assert share_of(ORIGINAL) == 1
    for variant in VARIANTS.values():
        assert variant.query or variant.entry
        assert not variant.default or variant.query
        assert len(variant.name) <= 32
        if variant.name != ORIGINAL:
            assert 0.5 <= variant.share < 1, "a variant has a lower threshold than the original"
    frames = {"trimmed", "unframed"}
    assert {"flip_y", *frames, *(f"{f}_flip_y" for f in frames)} == set(DEFAULT_QUERY_VARIANTS)
    assert share_of("a list's own name") == 1


def test_each_is_documented() -> None:
    table = re.search(r"<!-- variants -->(.*)<!-- /variants -->", DOCS.read_text(), re.DOTALL)
    assert table is not None
    rows = re.findall(r"^\| `(.+?)` \| (.*?) \| (.*?) \| (\d+) \|", table[1], re.MULTILINE)
    pdq = ALGORITHMS["pdq"].default_threshold
    documented = {name: (sides, int(bits)) for name, sides, _, bits in rows}
    for variant in VARIANTS.values():
        family = re.sub(r"^(crop|tilt)_.*", r"\1_...", variant.name)
        sides = [n for n, has in (("query", variant.query), ("entry", variant.entry)) if has]
        if variant.default and variant.name != ORIGINAL:
            sides[0] += " (default)"
        assert documented[family] == (", ".join(sides), int(pdq * variant.share)), variant.name


def test_names_and_sets_of_query_variants() -> None:
    assert query_variants(["trimmed", "flip_y", "trimmed"], field="f") == ("flip_y", "trimmed")
    assert query_variants(["none"], field="f") == query_variants([], field="f") == ()
    assert query_variants([ORIGINAL], field="f") == ()
    assert query_variants(["default"], field="f") == DEFAULT_QUERY_VARIANTS
    assert query_variants(["all", "flip_x"], field="f") == QUERY_VARIANTS
    for name in ("crop_5", "FLIP_Y", "", "x" * 999):
        with pytest.raises(InvalidInput, match=r"^f: .* is not a query variant; use flip_y"):
            query_variants([name], field="f")


def test_only_named_variants_are_computed() -> None:
    picture = pixels(ImageOps.expand(coffee(), 30, fill="white"))
    assert [n for n, _ in query_maker(frozenset())(picture)] == [ORIGINAL]
    for name in ("trimmed", "trimmed_flip_y"):
        assert [n for n, _ in make_query(frozenset({name}), picture)] == [ORIGINAL, name]
    assert [n for n, _ in make_query(frozenset({"flip_y"}), picture)] == [ORIGINAL, "flip_y"]
    names = {n for n, _ in make_query(EVERY, picture)}
    assert names >= EVERY - {"unframed", "unframed_flip_y"}


@pytest.mark.parametrize("name", ["coffee.png", "camera.png", "retina.jpg"])
def test_the_original_is_the_plain_hash(name: str) -> None:
    for variants in (make_query(EVERY, photograph(name)), make_entry(photograph(name))):
        assert next(iter(variants)) == (ORIGINAL, hash_pdq(photograph(name)))


def test_query_variants_undo_edits() -> None:
    """The rectangles are exact to the pixel, and the hashes within 2 bits."""
    target = hash_pdq(photograph("coffee.png"))
    edits = {
        "flip_y": ImageOps.mirror(coffee()),
        "flip_x": ImageOps.flip(coffee()),
        "rotate_90": coffee().transpose(Image.Transpose.ROTATE_270),
        "rotate_270": coffee().transpose(Image.Transpose.ROTATE_90),
        "rotate_180": coffee().transpose(Image.Transpose.ROTATE_180),
        "trimmed": ImageOps.expand(coffee(), (0, 60, 0, 40), fill="black"),
        "unframed": with_caption(coffee()),
        "trimmed_flip_y": ImageOps.mirror(ImageOps.expand(coffee(), (70, 0, 0, 9), fill="red")),
        "unframed_flip_y": with_caption(ImageOps.mirror(coffee())),
    }
    for variant, edited in edits.items():
        hashes = dict(make_query(EVERY, pixels(edited)))
        assert hamming(hashes[ORIGINAL].value, target.value) > 31, variant
        assert hamming(hashes[variant].value, target.value) <= 2, variant


@pytest.mark.parametrize("quality", [30, 60, 90])
def test_frames_are_found_through_jpeg_noise(quality: int) -> None:
    for edited in (ImageOps.expand(coffee(), 24, fill=(255, 230, 200)), with_caption(coffee())):
        content = encode(edited, "JPEG", quality=quality)
        made = hash_content(
            content, ("pdq",), DecodeOptions(), Limits(), query_maker(EVERY)
        ).signals
        target = hash_pdq(photograph("coffee.png")).value
        assert min(hamming(s.value, target) for s in made) <= 8


def test_no_frame_is_found_in_other_pictures() -> None:
    """A picture without bars, with a 1 px border, and a speck on a page."""
    assert find_frames(photograph("coffee.png")) == {}
    assert find_frames(pixels(ImageOps.expand(coffee(), 1, fill="white"))) == {}
    speck = Image.new("RGB", (600, 600), "white")
    speck.paste(coffee().resize((60, 40)), (200, 200))
    assert find_frames(pixels(speck)) == {}


def test_entry_variants_are_parts_of_the_picture() -> None:
    picture = photograph("motorcycle_left.png")
    rectangles = entry_rectangles(picture)
    hashes = dict(make_entry(picture))
    assert {f"crop_{percent:g}" for percent in CENTRE_CROPS} <= set(hashes)
    assert {"crop_top_4", "crop_right_20", "crop_1x1", "crop_4x3"} <= set(hashes)
    assert {"tilt_left_3_black", "tilt_right_1.5_cut"} <= set(hashes)
    assert 45 <= len(hashes) <= 60
    for name, hashed in hashes.items():
        assert VARIANTS[name].entry
        assert hashed.quality >= QUALITY_FLOOR
        if name in rectangles:
            r = rectangles[name]
            part = np.ascontiguousarray(picture[r.top : r.bottom, r.left : r.right])
            assert hashed == hash_pdq(part)
    assert len({h.value for h in hashes.values()}) == len(hashes), "no value twice"


@pytest.mark.parametrize(("fill", "colour"), [("black", (0,) * 3), ("white", (255,) * 3)])
def test_tilted_copies_are_near_their_variant(fill: str, colour: tuple[int, int, int]) -> None:
    hashes = dict(make_entry(photograph("coffee.png")))
    for side, sign in (("left", 1), ("right", -1)):
        turned = coffee().rotate(sign * 3, Image.Resampling.BICUBIC, fillcolor=colour)
        target = hash_pdq(pixels(turned)).value
        assert hamming(hashes[f"tilt_{side}_3_{fill}"].value, target) <= 4
        straight = coffee().rotate(sign * 3, Image.Resampling.BICUBIC, expand=False)
        cut = (600 - 600 / 1.0772) / 2, (400 - 400 / 1.0772) / 2
        inner = straight.crop(
            (round(cut[0]), round(cut[1]), 600 - round(cut[0]), 400 - round(cut[1]))
        )
        target = hash_pdq(pixels(inner)).value
        assert hamming(hashes[f"tilt_{side}_3_cut"].value, target) <= 10


def test_a_part_with_too_little_structure_is_no_entry_variant() -> None:
    plain = np.full((200, 300, 3), 128, np.uint8)
    assert [name for name, _ in make_entry(plain)] == [ORIGINAL]


def test_a_frame_around_a_plain_picture_has_no_variants() -> None:
    """The quality is that of the frame; otherwise two framed gradients would match."""
    gradient = Image.linear_gradient("L").resize((192, 144)).convert("RGB")
    framed = pixels(ImageOps.expand(gradient, 8, fill="white"))
    assert hash_pdq(framed).quality >= QUALITY_FLOOR
    assert [n for n, h in make_query(EVERY, framed) if h.quality >= QUALITY_FLOOR] == [ORIGINAL]
    assert [n for n, _ in make_entry(framed)] == [ORIGINAL]


@pytest.mark.parametrize("shape", [(1, 1, 3), (4, 400), (5, 5), (6, 900, 3)])
def test_tiny_pictures_have_an_original(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, shape).astype(np.uint8)
    assert next(iter(make_query(EVERY, picture)))[0] == ORIGINAL
    assert next(iter(make_entry(picture)))[0] == ORIGINAL


def test_the_outcome_is_that_of_the_original() -> None:
    """A picture with a variant of low quality is OK; one in a huge border is LOW_QUALITY."""
    content = encode(ImageOps.expand(coffee(), 2000, fill="white").reduce(4), "PNG")
    result = hash_content(content, ("pdq",), DecodeOptions(), Limits(), query_maker(EVERY))
    assert result.outcome is ContentOutcome.LOW_QUALITY
    # The part inside the border is too small to count as the picture.
    assert all(s.low_quality for s in result.signals)
    picture = encode(coffee(), "PNG")
    result = hash_content(picture, ("pdq",), DecodeOptions(), Limits(), query_maker(EVERY))
    assert result.outcome is ContentOutcome.OK
