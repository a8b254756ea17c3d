"""Decode pictures and animations within limits."""

import logging
import struct
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from featsvc.errors import (
    FeatsvcError,
    InvalidInput,
    MediaCorrupt,
    MediaTooLarge,
    UnsupportedMedia,
)
from featsvc.media.codecs import libheif
from featsvc.media.formats import FORMATS
from featsvc.media.header import Header
from featsvc.media.options import DecodeOptions, Frames, Image, Limits
from featsvc.media.sniff import HEIC, sniff
from featsvc.media.task import Budget, Task

log = logging.getLogger("featsvc.media")


def check_content(content: bytes, limits: Limits) -> None:
    """Raise InvalidInput (CONTENT_EMPTY) for no bytes, MediaTooLarge for more than allowed."""
    if not content:
        raise InvalidInput("content is empty; send the bytes of a picture", reason="CONTENT_EMPTY")
    limits.check_bytes(len(content))


def _place(error: Exception) -> str:
    """Return file and line where an exception was raised."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    return f"{Path(frame.filename).name}:{frame.lineno}"


@contextmanager
def _guarded() -> Iterator[None]:
    """Raise a media error for any exception: on hostile bytes, parsers raise nearly all."""
    try:
        yield
    except FeatsvcError:
        raise
    except MemoryError as exc:
        raise MediaTooLarge("not enough memory to decode this picture; send a smaller one") from exc
    except Exception as exc:
        # Without its text, which may quote the content.
        log.error("decoding raised %s at %s; please report it", type(exc).__name__, _place(exc))
        raise MediaCorrupt(
            f"the picture does not decode: {type(exc).__name__}; it is truncated or damaged; send "
            "the whole file"
        ) from exc


def identify(content: bytes, limits: Limits) -> str:
    """Return the media type of content that can be decoded.

    Raises what `check_content` raises, and UnsupportedMedia.
    """
    check_content(content, limits)
    media_type = sniff(content)
    if media_type is None:
        raise UnsupportedMedia(
            "the content is not a supported picture format (JPEG, PNG, WebP, GIF, BMP, TIFF, "
            "AVIF); only byte hashes apply"
        )
    if media_type == HEIC and not libheif.is_available():
        raise UnsupportedMedia(
            f"decoding {media_type} needs the extra featsvc[heic], which is not installed; only "
            "byte hashes apply"
        )
    return media_type


def probe(content: bytes, limits: Limits) -> Header:
    """Read the header and check it against the limits; `peak_bytes` is what decoding may take.

    Raises what `decode` raises, except for damage that only a decoder finds.
    """
    media_type = identify(content, limits)
    with _guarded():
        try:
            header = FORMATS[media_type].read_header(content, limits.max_frames)
        except (struct.error, IndexError) as exc:
            message = f"the {media_type} header is cut short; send the whole file"
            raise MediaCorrupt(message) from exc
    limits.check_size(header.width, header.height)
    limits.check_peak(header.width, header.height, header.peak_bytes)
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

    Raises what `decode` raises, also after some frames: those are whole.
    """
    header = probe(content, limits)
    if options.frames is Frames.ALL:
        limits.check_frames(header.frames)
    budget = Budget(limits.max_decode_ms)
    task = Task(content, header, options, limits, budget, luma_suffices)
    with _guarded():
        yield from FORMATS[header.media_type].decode(task)
