"""AVIF through libavif, HEIC through libheif (the extra `heic`).

The header says which item is shown, how it is coded, cropped (`clap`), turned (`irot`) and mirrored
(`imir`). libheif does so itself; libavif leaves it to us. EXIF's orientation counts in neither
format. An AVIF whose major brand is `avis` shows its sequence instead of its primary item.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import MediaCorrupt, UnsupportedMedia
from featsvc.media import sniff
from featsvc.media.codecs import libavif, libheif, pillow
from featsvc.media.exif import undo_orientation
from featsvc.media.flatten import flatten
from featsvc.media.formats.isobmff.coded import Stream
from featsvc.media.formats.isobmff.heif import Crop, Picture, read_picture
from featsvc.media.formats.isobmff.sequence import read_sequence
from featsvc.media.header import Header
from featsvc.media.kinds import OPAQUE, PREMULTIPLIED, STRAIGHT, Kind, Rule, check_kind
from featsvc.media.options import Frames, Image, Provenance
from featsvc.media.task import Task

_SAMPLINGS = {1.5: "4:2:0", 2.0: "4:2:2", 3.0: "4:4:4"}
_ALPHAS = (OPAQUE, STRAIGHT, PREMULTIPLIED)
KINDS = (
    Rule(
        "rgb", (8, 10, 12), "scaled to 8 bits", alphas=_ALPHAS, compressions=[*_SAMPLINGS.values()]
    ),
    Rule("grey", (8, 10, 12), "scaled to 8 bits", alphas=_ALPHAS),
)

_AVIF_BRANDS = frozenset({b"avif", b"avis"})
_FIXED_BYTES = 2**22
"""Tables of the decoders, and what small pictures take beside their pixels (measured)."""
_REFERENCES = 8
"""Pictures that AV1 keeps for later ones."""
_NS_PER_PIXEL = 20
"""What one call of a decoder takes at least, measured for photographs; it cannot be stopped."""


def read_avif_header(content: bytes, max_frames: int) -> Header:
    brands = {content[i : i + 4] for i in (8, *range(16, _ftyp_end(content) - 3, 4))}
    if not brands & _AVIF_BRANDS:
        raise UnsupportedMedia(
            "this HEIF holds AV1 but does not have the brand `avif`, without which libavif does "
            "not decode it; only byte hashes apply"
        )
    picture = _read_avif(content)
    return _header(sniff.AVIF, picture, "AV1", max_frames, _avif_peak(picture))


def read_heic_header(content: bytes, max_frames: int) -> Header:
    picture = read_picture(content)
    return _header(sniff.HEIC, picture, "HEVC", max_frames, _heic_peak(picture))


def _ftyp_end(content: bytes) -> int:
    return min(int.from_bytes(content[:4], "big"), len(content))


def _read_avif(content: bytes) -> Picture:
    return read_sequence(content) if content[8:12] == b"avis" else read_picture(content)


def _header(media_type: str, picture: Picture, codec: str, max_frames: int, peak: int) -> Header:
    if picture.codec != codec:
        raise UnsupportedMedia(
            f"this {media_type} shows a picture in {picture.codec}, which its brands do not say; "
            "only byte hashes apply"
        )
    colour = picture.colour[0]
    alpha = OPAQUE
    if picture.alpha:
        alpha = PREMULTIPLIED if picture.is_premultiplied else STRAIGHT
    grey = colour.samples == 1
    kind = Kind(
        "grey" if grey else "rgb",
        colour.bits,
        alpha=alpha,
        compression=_SAMPLINGS.get(colour.samples, ""),
    )
    check_kind(media_type, kind, KINDS)
    sizes = [(s.width, s.height) for s in (*picture.colour, *picture.alpha)]
    width, height = max(
        [(picture.width, picture.height), *sizes], key=lambda size: size[0] * size[1]
    )
    if not picture.width * picture.height:
        width, height = picture.width, picture.height
    return Header(media_type, width, height, min(picture.frames, max_frames + 1), peak, kind)


def _avif_peak(picture: Picture) -> int:
    """Sum the decoders' pictures, the canvas of a grid or of a scaled picture, and ours."""
    streams = (*picture.colour, *picture.alpha)
    pixels = picture.width * picture.height
    colour = picture.colour[0]
    canvas = (colour.samples + bool(picture.alpha)) * (1 + (colour.bits > 8)) * pixels
    has_canvas = len(picture.colour) > 1 or (colour.width, colour.height) != (
        picture.width,
        picture.height,
    )
    decoders = sum(_dav1d_bytes(stream) for stream in streams) + int(canvas) * has_canvas
    output = (4 if picture.alpha else 3) * pixels
    # When the decoder is gone, the pixels are composited, then cropped and turned.
    later = 3 * bool(picture.alpha) + 3 * bool(picture.steps)
    return max(decoders + output, output + later * pixels) + _FIXED_BYTES


def _dav1d_bytes(stream: Stream) -> int:
    """Its pictures, one more for film grain, and a byte a pixel for the blocks."""
    area = stream.width * stream.height
    pictures = min(stream.frames, _REFERENCES) + (stream.frames > 1) + stream.has_grain
    return pictures * stream.plane_bytes + area


def _heic_peak(picture: Picture) -> int:
    """Sum the planes of libde265, once more those of libheif, their colours, and our pixels."""
    streams = (*picture.colour, *picture.alpha)
    pixels = picture.width * picture.height
    planes = sum(stream.plane_bytes for stream in streams)
    decoder = max(2 * stream.plane_bytes + stream.width * stream.height for stream in streams)
    output = (4 if picture.alpha else 3) * (1 + (picture.colour[0].bits > 8)) * pixels
    return max(decoder + planes, 2 * planes + output) + 3 * pixels + _FIXED_BYTES


def decode(task: Task) -> Iterator[Image]:
    if task.header.media_type == sniff.HEIC:
        yield from _decode_heic(task)
    elif libavif.is_available():
        yield from _decode_avif(task)
    elif _is_cropped(_read_avif(task.content)):
        raise UnsupportedMedia(
            "this AVIF is cropped, and the Pillow that is installed here does not crop; only byte "
            "hashes apply"
        )
    else:
        yield from pillow.decode(task, count_frames=True)


def _is_cropped(picture: Picture) -> bool:
    return any(isinstance(step, Crop) for step in picture.steps)


def _decode_avif(task: Task) -> Iterator[Image]:
    picture = _read_avif(task.content)
    size = picture.width, picture.height
    most_pixels = task.header.width * task.header.height
    # Pillow does not crop, so there are no pixels of its to equal.
    exact = _is_cropped(picture)
    with libavif.open_avif(task.content, most_pixels) as file:
        frames = file.frames
        if task.options.frames is Frames.ALL:
            task.limits.check_frames(frames)
        last = frames - 1 if task.options.frames is Frames.ALL else 0
        for index in range(last):
            task.budget.check(_decode_ms(most_pixels))
            shown = picture.show(file.read(index, *size, exact=exact))
            yield _image(task, shown, picture.orientation, frames, index)
        task.budget.check(_decode_ms(most_pixels))
        shown = picture.show(file.read(last, *size, exact=exact))
    # The decoder's memory is free before the last frame is composited.
    yield _image(task, shown, picture.orientation, frames, last)


def _decode_ms(pixels: int) -> int:
    return pixels * _NS_PER_PIXEL // 1_000_000


def _image(
    task: Task, shown: NDArray[np.uint8], orientation: int, frames: int, index: int
) -> Image:
    task.budget.check()
    options = task.options
    if shown.ndim == 3 and shown.shape[2] == 4:
        shown = flatten(shown, options.alpha, task.budget)
    applied = orientation > 0 and not options.ignore_orientation
    if orientation and not applied:
        shown = undo_orientation(shown, orientation)
    shown = np.ascontiguousarray(shown)
    return Image(
        media_type=task.header.media_type,
        width=shown.shape[1],
        height=shown.shape[0],
        pixels=shown,
        provenance=Provenance(orientation, applied, options.fidelity, options.alpha),
        frames=frames,
        frame=index,
    )


def _decode_heic(task: Task) -> Iterator[Image]:
    picture = read_picture(task.content)
    shown_size = picture.show(np.broadcast_to(np.uint8(0), (picture.height, picture.width))).shape
    with libheif.open_heic(task.content) as file:
        frames = file.frames
        if task.options.frames is Frames.ALL:
            task.limits.check_frames(frames)
        for index in range(frames if task.options.frames is Frames.ALL else 1):
            task.budget.check(_decode_ms(file.size(index)[0] * file.size(index)[1]))
            task.limits.check_size(*file.size(index))
            shown = file.read(index)
            if index == 0 and shown.shape[:2] != shown_size:
                raise MediaCorrupt(
                    "the HEIC does not hold the picture that it declares; send the whole file"
                )
            # What other pictures are turned by is not read.
            orientation = picture.orientation if index == 0 else 0
            yield _image(task, shown, orientation, frames, index)
