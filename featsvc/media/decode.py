"""`decode`: bytes to one picture, within limits."""

from featsvc.errors import InvalidInput, UnsupportedMedia
from featsvc.media import headers, jpeg, pillow
from featsvc.media.exif import apply_orientation
from featsvc.media.options import DecodeOptions, Fidelity, Image, Limits
from featsvc.media.sniff import JPEG, sniff


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
    if media_type not in pillow.PLUGINS:
        raise UnsupportedMedia(f"this build does not decode {media_type}; only byte hashes apply")
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
    """Decode the picture, or the first frame of an animation.

    `luma_suffices` allows a colour JPEG of 512 px or more on its short side to come as its grey
    Y plane, which is all that PDQ needs (measured: at most 2 bits).

    Raises InvalidInput (empty), UnsupportedMedia, MediaCorrupt, MediaTooLarge; the last one before
    a decoder runs.
    """
    header = probe(content, limits)
    if header.media_type == JPEG:
        try:
            return _decode_jpeg(content, options, limits, luma_suffices=luma_suffices)
        except jpeg.NeedsPillow:
            pass  # fall through to the tolerant decoder
    return _decode_with_pillow(content, header, options, limits)


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
    turned = applied and orientation >= 5
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
) -> Image:
    media_type = header.media_type
    picture = pillow.open_picture(content, media_type)
    limits.check_size(*picture.size)
    pixels, orientation = pillow.read_frame(picture, media_type, options.alpha)
    applied = orientation > 0 and not options.ignore_orientation
    if applied:
        pixels = apply_orientation(pixels, orientation)
    return Image(
        media_type=media_type,
        width=pixels.shape[1],
        height=pixels.shape[0],
        pixels=pixels,
        orientation=orientation,
        orientation_applied=applied,
        frames=header.frames,
        fidelity=options.fidelity,
        alpha=options.alpha,
    )
