"""Bytes to pictures, within limits."""

from collections.abc import Iterator
from dataclasses import replace

from featsvc.errors import InvalidInput, UnsupportedMedia
from featsvc.media import headers, jpeg, pillow
from featsvc.media.exif import apply_orientation, swaps_sides
from featsvc.media.options import DecodeOptions, Fidelity, Frames, Image, Limits
from featsvc.media.sniff import AVIF, HEIC, JPEG, sniff


def identify(content: bytes, limits: Limits) -> str:
    """Media type of content that may be decoded.

    Raises InvalidInput (CONTENT_EMPTY), MediaTooLarge (bytes), UnsupportedMedia.
    """
    if not content:
        raise InvalidInput("content is empty; send the bytes of a picture", reason="CONTENT_EMPTY")
    limits.check_bytes(len(content))
    media_type = sniff(content)
    if media_type is None:
        raise UnsupportedMedia(
            "the bytes are no picture format that is decoded here (JPEG, PNG, WebP, GIF, BMP, "
            "TIFF, AVIF); only byte hashes apply"
        )
    if not pillow.decodes(media_type):
        raise UnsupportedMedia(
            f"{media_type} needs the extra featsvc[heic], which is not installed; "
            "only byte hashes apply"
        )
    return media_type


def probe(content: bytes, limits: Limits) -> headers.Header:
    """Media type, size as stored and number of frames from the header alone, within limits.

    Raises what `decode` raises, save for damage that only a decoder finds.
    """
    header = headers.read_header(content, identify(content, limits), limits.max_frames)
    limits.check_size(header.width, header.height)
    return header


def decode(
    content: bytes, options: DecodeOptions, limits: Limits, *, luma_suffices: bool = False
) -> Image:
    """Decode the picture, or the first frame of an animation; `options.frames` is not read.

    `luma_suffices` allows a colour JPEG of 512 px or more on its short side to come as its grey
    Y plane, which is all that PDQ needs (measured: at most 2 bits).

    Raises InvalidInput (empty), UnsupportedMedia, MediaCorrupt, TimedOut, and before a decoder
    runs MediaTooLarge.
    """
    first = replace(options, frames=Frames.FIRST)
    return next(decode_frames(content, first, limits, luma_suffices=luma_suffices))


def decode_frames(
    content: bytes, options: DecodeOptions, limits: Limits, *, luma_suffices: bool = False
) -> Iterator[Image]:
    """Decode one frame after the other, or only the first one, as `options.frames` says.

    Raises what `decode` raises.
    """
    header = probe(content, limits)
    if options.frames is Frames.ALL:
        limits.check_frames(header.frames)
    if header.media_type == JPEG:
        limits.check_scans(jpeg.count_scans(content), header.width, header.height)
        try:
            yield _decode_jpeg(content, options, limits, luma_suffices=luma_suffices)
        except jpeg.NeedsPillow:
            pass  # fall through to the tolerant decoder
        else:
            return
    yield from _decode_with_pillow(content, header, options, limits)


def _decode_jpeg(
    content: bytes, options: DecodeOptions, limits: Limits, *, luma_suffices: bool
) -> Image:
    header = jpeg.read_header(content)
    # The decoder's own reading of the size is the one that allocates.
    limits.check_size(header.width, header.height)
    short_side = min(header.width, header.height)
    luma_plane = not header.grey and luma_suffices and short_side >= jpeg.SHORT_SIDE
    denominator = 1
    if options.fidelity is Fidelity.FAST:
        denominator = jpeg.scale_denominator(header.width, header.height)
    pixels = jpeg.decode_jpeg(
        content, header, grey=header.grey or luma_plane, denominator=denominator
    )
    orientation = jpeg.read_orientation(content)
    applied = orientation > 0 and not options.ignore_orientation
    if applied:
        pixels = apply_orientation(pixels, orientation)
    turned = applied and swaps_sides(orientation)
    return Image(
        media_type=JPEG,
        width=header.height if turned else header.width,
        height=header.width if turned else header.height,
        pixels=pixels,
        orientation=orientation,
        orientation_applied=applied,
        fidelity=options.fidelity,
        alpha=options.alpha,
        luma_plane=luma_plane,
        scale_denominator=denominator,
    )


def _decode_with_pillow(
    content: bytes, header: headers.Header, options: DecodeOptions, limits: Limits
) -> Iterator[Image]:
    media_type = header.media_type
    picture = pillow.Picture(content, media_type, limits.max_decode_ms)
    frames = picture.count_frames() if media_type in (AVIF, HEIC) else header.frames
    wanted = 1
    if options.frames is Frames.ALL:
        limits.check_frames(frames)
        wanted = frames
    for index in range(wanted):
        picture.seek(index)
        limits.check_size(*picture.size)
        pixels, orientation = picture.read(options.alpha)
        applied = orientation > 0 and not options.ignore_orientation
        if applied:
            pixels = apply_orientation(pixels, orientation)
        yield Image(
            media_type=media_type,
            width=pixels.shape[1],
            height=pixels.shape[0],
            pixels=pixels,
            orientation=orientation,
            orientation_applied=applied,
            frames=frames,
            frame=index,
            fidelity=options.fidelity,
            alpha=options.alpha,
        )
