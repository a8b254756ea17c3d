"""Decode pictures and animations within limits."""

from collections.abc import Iterator
from dataclasses import replace

from featsvc.errors import InvalidInput, UnsupportedMedia
from featsvc.media import headers, jpeg, pillow
from featsvc.media.exif import apply_orientation, swaps_sides
from featsvc.media.options import DecodeOptions, Fidelity, Frames, Image, Limits, Provenance
from featsvc.media.sniff import AVIF, HEIC, JPEG, sniff


def identify(content: bytes, limits: Limits) -> str:
    """Return the media type of content that can be decoded.

    Raises InvalidInput (CONTENT_EMPTY), MediaTooLarge (bytes), UnsupportedMedia.
    """
    if not content:
        raise InvalidInput("content is empty; send the bytes of a picture", reason="CONTENT_EMPTY")
    limits.check_bytes(len(content))
    media_type = sniff(content)
    if media_type is None:
        raise UnsupportedMedia(
            "the content is not a supported picture format (JPEG, PNG, WebP, GIF, BMP, TIFF, "
            "AVIF); only byte hashes apply"
        )
    if not pillow.decodes(media_type):
        raise UnsupportedMedia(
            f"decoding {media_type} needs the extra featsvc[heic], which is not installed; only "
            "byte hashes apply"
        )
    return media_type


def probe(content: bytes, limits: Limits) -> headers.Header:
    """Read the header and check it against the limits.

    Raises what `decode` raises, except for damage that only a decoder finds.
    """
    header = headers.read_header(content, identify(content, limits), limits.max_frames)
    limits.check_size(header.width, header.height)
    return header


def decode(
    content: bytes, options: DecodeOptions, limits: Limits, *, luma_suffices: bool = False
) -> Image:
    """Decode the picture, or the first frame of an animation; ignores `options.frames`.

    With `luma_suffices`, a colour JPEG of 512 px or more on its short side decodes to its grey
    Y plane, which is enough for PDQ (measured: it changes at most 2 bits).

    Raises InvalidInput (empty), UnsupportedMedia, MediaCorrupt, TimedOut, and MediaTooLarge before
    a decoder runs.
    """
    first = replace(options, frames=Frames.FIRST)
    return next(decode_frames(content, first, limits, luma_suffices=luma_suffices))


def decode_frames(
    content: bytes, options: DecodeOptions, limits: Limits, *, luma_suffices: bool = False
) -> Iterator[Image]:
    """Yield every decoded frame, or only the first one, as `options.frames` says.

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
            pass
        else:
            return
    yield from _decode_with_pillow(content, header, options, limits)


def _decode_jpeg(
    content: bytes, options: DecodeOptions, limits: Limits, *, luma_suffices: bool
) -> Image:
    header = jpeg.read_header(content)
    # The decoder allocates by its own reading of the size, which may differ from ours.
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
        provenance=Provenance(
            orientation, applied, options.fidelity, options.alpha, luma_plane, denominator
        ),
    )


def _decode_with_pillow(
    content: bytes, header: headers.Header, options: DecodeOptions, limits: Limits
) -> Iterator[Image]:
    media_type = header.media_type
    decoder = pillow.PillowDecoder(content, media_type, limits.max_decode_ms)
    frames = decoder.count_frames() if media_type in (AVIF, HEIC) else header.frames
    count = 1
    if options.frames is Frames.ALL:
        limits.check_frames(frames)
        count = frames
    for index in range(count):
        decoder.seek(index)
        limits.check_size(*decoder.size)
        pixels, orientation = decoder.read(options.alpha)
        applied = orientation > 0 and not options.ignore_orientation
        if applied:
            pixels = apply_orientation(pixels, orientation)
        yield Image(
            media_type=media_type,
            width=pixels.shape[1],
            height=pixels.shape[0],
            pixels=pixels,
            provenance=Provenance(orientation, applied, options.fidelity, options.alpha),
            frames=frames,
            frame=index,
        )
