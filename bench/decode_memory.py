"""Estimated and actual peak memory of a decode, by format and size.

Each picture is decoded in a process of its own, whose peak of resident memory Linux counts from the
moment before. Prints the rows of the table in docs/media.md. Exits 1 where a decode takes more than
its header's estimate and 4 MiB, the noise of the measurement.
"""

import io
import multiprocessing
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from bench.command import Command, progress, say
from bench.size import pick
from featsvc.media import DecodeOptions, Limits, decode, probe

SIDES = pick([(1600, 1004), (4000, 3000), (10000, 9600)], smoke=[(320, 200)])
DOC = __doc__ or ""
SMALL = (64, 64)
NOISE_BYTES = 4 * 2**20
LIMITS = Limits(max_content_bytes=2**29, max_decode_bytes=2**34, max_decode_ms=600_000)
_SLOW = frozenset({"AVIF, 8-bit", "AVIF, alpha"})
"""Encoding 96 megapixels takes minutes."""
SLOW_PIXELS = 20_000_000
Size = tuple[int, int]


def scene(size: Size) -> Image.Image:
    """A picture with detail and flat parts, quickly made at any size."""
    tile = Image.radial_gradient("L").resize((size[0] // 4 + 1, size[1] // 4 + 1))
    canvas = Image.new("RGB", size, (30, 60, 90))
    colour = Image.merge("RGB", (tile, tile.transpose(Image.Transpose.ROTATE_180), tile))
    for x in range(0, size[0], tile.width * 2):
        for y in range(0, size[1], tile.height * 2):
            canvas.paste(colour, (x, y))
    return canvas


def save(picture: Image.Image, name: str, **options: object) -> bytes:
    stream = io.BytesIO()
    picture.save(stream, name, **options)
    return stream.getvalue()


def _rgb(name: str, **options: object) -> Callable[[Size], bytes]:
    return lambda size: save(scene(size), name, **options)


def _mode(mode: str, name: str, **options: object) -> Callable[[Size], bytes]:
    return lambda size: save(scene(size).convert(mode), name, **options)


def _alpha(name: str, **options: object) -> Callable[[Size], bytes]:
    def make(size: Size) -> bytes:
        picture = scene(size)
        picture.putalpha(Image.linear_gradient("L").resize(size))
        return save(picture, name, **options)

    return make


def _float_tiff(size: Size) -> bytes:
    values = np.asarray(scene(size).convert("L"), np.float32) / 255
    return save(Image.fromarray(values), "TIFF", compression="tiff_deflate")


FILES: dict[str, Callable[[Size], bytes]] = {
    "JPEG": _rgb("JPEG", quality=85),
    "JPEG, progressive": _rgb("JPEG", quality=85, progressive=True),
    "JPEG, progressive 4:4:4": _rgb("JPEG", quality=85, progressive=True, subsampling=0),
    "JPEG, CMYK": _mode("CMYK", "JPEG", quality=85),
    "PNG": _rgb("PNG", compress_level=1),
    "PNG, alpha": _alpha("PNG", compress_level=1),
    "PNG, 16-bit grey": _mode("I;16", "PNG", compress_level=1),
    "WebP": _rgb("WEBP", method=0),
    "WebP, lossless, alpha": _alpha("WEBP", lossless=True, method=0, quality=0),
    "AVIF, 8-bit": _rgb("AVIF", speed=10),
    "AVIF, alpha": _alpha("AVIF", speed=10),
    "GIF": _mode("P", "GIF"),
    "BMP": _rgb("BMP"),
    "TIFF, deflate": _rgb("TIFF", compression="tiff_deflate"),
    "TIFF, JPEG": _rgb("TIFF", compression="jpeg"),
    "TIFF, 32-bit float": _float_tiff,
}


def _resident_bytes(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise LookupError(field)


def measure(content: bytes, small: bytes) -> int:
    """Return the growth of resident memory at its peak; `small` loads the decoder before."""
    decode(small, DecodeOptions(), LIMITS)
    Path("/proc/self/clear_refs").write_text("5")
    before = _resident_bytes("VmRSS:")
    decode(content, DecodeOptions(), LIMITS)
    return _resident_bytes("VmHWM:") - before


def compare(content: bytes, small: bytes) -> tuple[int, int]:
    """Return estimate and actual peak of a decode, in bytes, in a new process."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["bench.command", "featsvc.media"])
    with context.Pool(1) as pool:
        actual = pool.apply(measure, (content, small))
    return probe(content, LIMITS).peak_bytes, actual


def main(argv: Sequence[str] | None = None) -> int:
    command = Command("decode_memory", DOC, takes="about 2 minutes")
    command.begin(argv)
    cases = [
        (name, size)
        for name in FILES
        for size in SIDES
        if name not in _SLOW or size[0] * size[1] < SLOW_PIXELS
    ]
    worst = 0
    print("| picture | size | estimate | actual peak | share |\n|---|---|---|---|---|")
    with progress("pictures", len(cases)) as step:
        for name, size in cases:
            estimate, actual = compare(FILES[name](size), FILES[name](SMALL))
            worst = max(worst, actual - estimate)
            print(
                f"| {name} | {size[0]} x {size[1]} | {estimate / 2**20:,.1f} MiB "
                f"| {actual / 2**20:,.1f} MiB | {actual / estimate:.0%} |",
                flush=True,
            )
            step()
    say(f"most over an estimate: {worst / 2**20:,.1f} MiB")
    return 1 if worst > NOISE_BYTES else 0


if __name__ == "__main__":
    sys.exit(main())
