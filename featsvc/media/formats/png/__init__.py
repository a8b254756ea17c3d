"""PNG of every kind, and APNG, by a reader of our own: exact, bounded, without the GIL.

`chunks` reads what the file says, `pixels` inflates and converts in strips, `animation` composes,
`frames` is the decoder. All but `chunks` load kernels.
"""

from collections.abc import Iterator

from featsvc.media import sniff
from featsvc.media.formats.png.chunks import read_layout
from featsvc.media.header import Header
from featsvc.media.kinds import KEYED, OPAQUE, STRAIGHT, Rule
from featsvc.media.options import Image
from featsvc.media.task import Task

KINDS = (
    Rule("grey", (1, 2, 4), "spread over 0 to 255", alphas=(OPAQUE, KEYED)),
    Rule("grey", (8,), "as stored", alphas=(OPAQUE, KEYED, STRAIGHT)),
    Rule("grey", (16,), "high byte", alphas=(OPAQUE, KEYED, STRAIGHT)),
    Rule("rgb", (8,), "as stored", alphas=(OPAQUE, KEYED, STRAIGHT)),
    Rule("rgb", (16,), "high byte", alphas=(OPAQUE, KEYED, STRAIGHT)),
    Rule("palette", (1, 2, 4, 8), "its colours", alphas=(OPAQUE, STRAIGHT)),
)

_STRIP_BUFFERS = 8
"""Raw, unfiltered, converted, flattened, and the inflater's (`pixels`)."""
_STRIP_BYTES = 2**18
_RGB, _RGBA = 3, 4


def read_header(content: bytes, max_frames: int) -> Header:
    layout = read_layout(content)
    pixels = layout.width * layout.height
    frames = 1
    peak = (_RGB if layout.kind.alpha or layout.kind.colour != "grey" else 1) * pixels
    if layout.frames:
        frames = min(layout.frames, max_frames + 1)
        # The canvas, what a frame covers, the frame shown and the one before.
        peak = (2 * _RGBA + 2 * _RGB) * pixels
    row_bytes = max(_RGBA, layout.bits // 8) * layout.width
    peak += _STRIP_BUFFERS * max(_STRIP_BYTES, row_bytes)
    return Header(sniff.PNG, layout.width, layout.height, frames, peak, layout.kind)


def decode(task: Task) -> Iterator[Image]:
    # Imported late: it loads kernels, which commands that decode nothing do not need.
    from featsvc.media.formats.png import frames  # noqa: PLC0415

    yield from frames.decode(task)
