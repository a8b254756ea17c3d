"""Options and limits of decoding, and the decoded picture."""

from dataclasses import dataclass
from enum import Enum
from typing import Annotated

import msgspec
import numpy as np
from numpy.typing import NDArray

from featsvc.errors import MediaCorrupt, MediaTooLarge
from featsvc.media.exif import apply_orientation, swaps_sides


class Fidelity(Enum):
    """How exactly a JPEG is decoded."""

    EXACT = "exact"
    """Hashes equal those of the reference implementations on the same pixels."""
    FAST = "fast"
    """Allow scaled decoding to 512 px or more on the short side; changes 2 to 6 bits of PDQ."""


class Alpha(Enum):
    """Background behind transparent pixels."""

    WHITE = "white"
    BLACK = "black"
    IGNORE = "ignore"
    """Drop the channel and show the colours stored under it."""


class Frames(Enum):
    """Which frames of an animation are decoded."""

    FIRST = "first"
    ALL = "all"


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How content is decoded to pixels; the defaults are those of the service."""

    fidelity: Fidelity = Fidelity.EXACT
    alpha: Alpha = Alpha.WHITE
    ignore_orientation: bool = False
    frames: Frames = Frames.FIRST


class Limits(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Limits checked before a decoder runs; section `[media]` of the configuration.

    `max_frames` applies only where every frame is decoded. `max_decode_ms` is a budget of wall
    time for all frames of one piece of content. A JPEG's time is estimated from its header; other
    decoders are stopped between two reads or two frames. `max_decode_bytes` bounds the estimated
    peak of memory of one frame (`Header.peak_bytes`).
    """

    # Far below the 2 GiB of a gRPC message.
    max_content_bytes: Annotated[int, msgspec.Meta(ge=1, le=2**29)] = 32 * 2**20
    max_pixels: Annotated[int, msgspec.Meta(ge=1, le=2**32)] = 100_000_000
    max_frames: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 256
    max_aspect_ratio: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 200
    max_decode_ms: Annotated[int, msgspec.Meta(ge=1, le=3_600_000)] = 10_000
    max_decode_bytes: Annotated[int, msgspec.Meta(ge=2**20, le=2**40)] = 2**30

    def check_bytes(self, size: int) -> None:
        """Raise MediaTooLarge for content of more bytes than allowed."""
        if size > self.max_content_bytes:
            raise _too_large("content", "bytes", size, self.max_content_bytes, "max_content_bytes")

    def check_size(self, width: int, height: int) -> None:
        """Raise MediaCorrupt for an empty picture, MediaTooLarge for too many pixels."""
        if width < 1 or height < 1:
            raise MediaCorrupt(
                f"the header declares {width} x {height} pixels; send a picture of at least 1 x 1"
            )
        if width * height > self.max_pixels:
            what = f"a picture of {width} x {height}"
            raise _too_large(what, "pixels", width * height, self.max_pixels, "max_pixels")
        if max(width, height) > self.max_aspect_ratio * min(width, height):
            ratio = -(-max(width, height) // min(width, height))
            what = f"a picture of {width} x {height}"
            raise _too_large(what, "to 1", ratio, self.max_aspect_ratio, "max_aspect_ratio")

    def check_peak(self, width: int, height: int, peak_bytes: int) -> None:
        """Raise MediaTooLarge for a picture whose decode would take too much memory."""
        if peak_bytes > self.max_decode_bytes:
            what = f"decoding this picture of {width} x {height}"
            limit = self.max_decode_bytes
            raise _too_large(what, "bytes at its peak", peak_bytes, limit, "max_decode_bytes")

    def check_frames(self, frames: int) -> None:
        """Raise MediaTooLarge for more frames than allowed."""
        if frames > self.max_frames:
            raise _too_large("the animation", "frames", frames, self.max_frames, "max_frames")

    def check_time(self, what: str, estimated_ms: int) -> None:
        """Raise MediaTooLarge for a decode in one call that would take longer than the budget."""
        if estimated_ms > self.max_decode_ms:
            unit = "ms to decode by estimate"
            raise _too_large(what, unit, estimated_ms, self.max_decode_ms, "max_decode_ms")


def _too_large(what: str, unit: str, actual: int, limit: int, setting: str) -> MediaTooLarge:
    return MediaTooLarge(
        f"{what} has {actual:,} {unit}, the limit is {limit:,} (media.{setting}); send a smaller "
        "file or raise the limit",
        metadata={"actual": str(actual), "limit": str(limit), "setting": f"media.{setting}"},
    )


@dataclass(frozen=True, slots=True)
class Provenance:
    """How the pixels of a signal were decoded.

    `orientation` is EXIF's, 1 to 8, or 0 where the file has none. `luma_plane` means that grey
    pixels are the Y plane of a colour JPEG. `scale_denominator` is 1, or 2, 4 or 8 for a scaled
    decode.
    """

    orientation: int = 0
    orientation_applied: bool = False
    fidelity: Fidelity = Fidelity.EXACT
    alpha: Alpha = Alpha.WHITE
    luma_plane: bool = False
    scale_denominator: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One decoded picture or frame.

    `pixels` is uint8, C-contiguous and possibly read-only: (H, W, 3) RGB or (H, W) grey. `width`
    and `height` are the displayed size; only a scaled decode has fewer pixels. `frames` is the
    number of frames in the file, `frame` the index of this one.
    """

    media_type: str
    width: int
    height: int
    pixels: NDArray[np.uint8]
    provenance: Provenance = Provenance()
    frames: int = 1
    frame: int = 0


def orient(
    pixels: NDArray[np.uint8], orientation: int, options: DecodeOptions
) -> tuple[NDArray[np.uint8], bool, bool]:
    """Turn stored pixels to how they are displayed, unless `options` ignores the orientation.

    Returns the pixels, whether the orientation (0: the file has none) was applied, and whether that
    swapped the sides.
    """
    applied = orientation > 0 and not options.ignore_orientation
    if applied:
        pixels = apply_orientation(pixels, orientation)
    return pixels, applied, applied and swaps_sides(orientation)
