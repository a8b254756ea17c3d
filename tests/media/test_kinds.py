"""Every kind of every format is decoded to its 8-bit twin, and listed in docs/media.md."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest

from featsvc.media import DecodeOptions, Kind, Limits, decode
from featsvc.media.formats import FORMATS
from featsvc.media.kinds import OPAQUE, UNSIGNED, Rule
from tests.hashing.photographs import photograph
from tests.media.twins import Writer
from tests.media.write_bmp import write_kind as write_bmp
from tests.media.write_gif import write_kind as write_gif
from tests.media.write_isobmff import write_avif, write_heic
from tests.media.write_jpeg import write_kind as write_jpeg
from tests.media.write_png import write_kind as write_png
from tests.media.write_tiff import write_kind as write_tiff
from tests.media.write_webp import write_kind as write_webp

WRITERS: Mapping[str, Writer] = {
    "image/jpeg": write_jpeg,
    "image/png": write_png,
    "image/webp": write_webp,
    "image/tiff": write_tiff,
    "image/gif": write_gif,
    "image/bmp": write_bmp,
    "image/avif": write_avif,
    "image/heic": write_heic,
}
"""Each writes RGB pixels (H, W, 3) as a kind of its format."""
DOCS = Path(__file__).parents[2] / "docs/media.md"
PICTURE = photograph("astronaut.png")[100:172, 150:246]
CASES = [
    pytest.param(media_type, kind, id=f"{media_type.removeprefix('image/')}: {kind}")
    for media_type, file_format in FORMATS.items()
    for rule in file_format.kinds
    for kind in rule.kinds()
]


@pytest.mark.parametrize(("media_type", "kind"), CASES)
def test_a_kind_decodes_to_its_twin(media_type: str, kind: Kind) -> None:
    if media_type not in WRITERS:
        pytest.skip(f"no writer of {media_type}")
    twin = WRITERS[media_type](kind, PICTURE)
    pixels = decode(twin.content, DecodeOptions(), Limits()).pixels
    wanted = twin.pixels
    if pixels.ndim > wanted.ndim:
        wanted = np.repeat(wanted[:, :, None], 3, axis=2)
    assert pixels.shape == wanted.shape
    difference = np.abs(pixels.astype(int) - wanted)
    assert difference.max() <= twin.levels


def row(media_type: str, rule: Rule) -> str:
    """One row of the table in the docs."""
    bits = ", ".join(map(str, rule.bits))
    samples = ", ".join(name for name in rule.sample_formats)
    alphas = ", ".join(alpha if alpha != OPAQUE else "none" for alpha in rule.alphas)
    planes = "together or separate" if len(rule.planes) > 1 else "together"
    what = (
        rule.colour
        if rule.compressions == ("",)
        else f"{rule.colour}: " + ", ".join(c for c in rule.compressions if c)
    )
    samples = "" if samples == UNSIGNED else samples
    return f"| {media_type} | {what} | {bits} | {samples} | {planes} | {alphas} | {rule.how} |"


def test_the_docs_list_every_rule() -> None:
    head = [
        "| format | colour | bits | samples | planes | alpha | becomes |",
        "|---|---|---|---|---|---|---|",
    ]
    rows = [row(name, rule) for name, form in FORMATS.items() for rule in form.kinds]
    shown = DOCS.read_text().split("<!-- kinds -->\n")[1].split("<!-- /kinds -->")[0]
    wanted = "\n".join([*head, *rows])
    assert shown.strip() == wanted, f"paste into docs/media.md:\n{wanted}"
