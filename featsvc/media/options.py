"""What a caller may ask of a decode, what it is held to, and what comes back."""

from dataclasses import dataclass
from enum import Enum

import numpy as np
from numpy.typing import NDArray

from featsvc.errors import MediaCorrupt, MediaTooLarge


class Fidelity(Enum):
    EXACT = "exact"
    """Hashes equal those of the reference implementations on the decoder's own pixels."""
    FAST = "fast"
    """Allows scaled JPEG decoding while the short side stays >= 512 px (2 to 6 PDQ bits)."""


class Alpha(Enum):
    """What shows through transparent pixels."""

    WHITE = "white"
    BLACK = "black"
    IGNORE = "ignore"
    """Drop the channel: the colours stored under transparent pixels show."""


class Frames(Enum):
    FIRST = "first"
    ALL = "all"


# About 2 ns a pixel and scan; encoders make about ten.
_PIXEL_SCANS_PER_MS = 500_000
_USUAL_SCANS = 16


@dataclass(frozen=True, slots=True)
class DecodeOptions:
    """How content becomes pixels; the defaults are those of the service."""

    fidelity: Fidelity = Fidelity.EXACT
    alpha: Alpha = Alpha.WHITE
    ignore_orientation: bool = False
    frames: Frames = Frames.FIRST


@dataclass(frozen=True, slots=True)
class Limits:
    """What is refused before a decoder sees it; the names are those of `config.MediaConfig`.

    `max_frames` binds only where every frame is asked for. `max_decode_ms` is a budget of wall
    time for all frames of one piece of content: a JPEG's work is estimated from its header, other
    decoders are stopped between two reads or two frames.
    """

    max_content_bytes: int = 32 * 2**20
    max_pixels: int = 100_000_000
    max_frames: int = 256
    max_aspect_ratio: int = 200
    max_decode_ms: int = 10_000

    def check_bytes(self, size: int) -> None:
        """Raises MediaTooLarge."""
        if size > self.max_content_bytes:
            raise _too_large("content", "bytes", size, self.max_content_bytes, "max_content_bytes")

    def check_size(self, width: int, height: int) -> None:
        """Raises MediaCorrupt for an empty picture, MediaTooLarge for too many pixels."""
        if width < 1 or height < 1:
            raise MediaCorrupt(
                f"the picture's header says {width} x {height} pixels; send a picture with pixels"
            )
        if width * height > self.max_pixels:
            what = f"a picture of {width} x {height}"
            raise _too_large(what, "pixels", width * height, self.max_pixels, "max_pixels")
        if max(width, height) > self.max_aspect_ratio * min(width, height):
            ratio = -(-max(width, height) // min(width, height))
            what = f"a picture of {width} x {height}"
            raise _too_large(what, "to 1", ratio, self.max_aspect_ratio, "max_aspect_ratio")

    def check_frames(self, frames: int) -> None:
        """Raises MediaTooLarge."""
        if frames > self.max_frames:
            raise _too_large("the animation", "frames", frames, self.max_frames, "max_frames")

    def check_scans(self, scans: int, width: int, height: int) -> None:
        """Raises MediaTooLarge for a JPEG whose scans would take longer than the budget.

        Each scan touches every pixel, and a hostile file has thousands of them.
        """
        most = max(self.max_decode_ms * _PIXEL_SCANS_PER_MS // (width * height), _USUAL_SCANS)
        if scans > most:
            what = f"a JPEG of {width} x {height}"
            raise _too_large(what, "scans", scans, most, "max_decode_ms")


def _too_large(what: str, unit: str, actual: int, limit: int, setting: str) -> MediaTooLarge:
    return MediaTooLarge(
        f"{what} has {actual:,} {unit}, the limit is {limit:,} (media.{setting}); "
        "send a smaller one or raise the limit",
        metadata={"actual": str(actual), "limit": str(limit), "setting": f"media.{setting}"},
    )


@dataclass(frozen=True, slots=True)
class Provenance:
    """How the pixels of a signal were made, so that two can be compared fairly.

    The fields are those of `Image`.
    """

    orientation: int = 0
    orientation_applied: bool = False
    fidelity: Fidelity = Fidelity.EXACT
    alpha: Alpha = Alpha.WHITE
    luma_plane: bool = False
    scale_denominator: int = 1


@dataclass(frozen=True, slots=True, eq=False)
class Image:
    """One decoded picture or frame, and how it was decoded.

    `pixels` is uint8 and C-contiguous, maybe read-only: (H, W, 3) RGB or (H, W) grey. `width` and
    `height` are those of the picture as displayed; only a scaled decode (`scale_denominator` 2, 4
    or 8) has fewer pixels. `orientation` is EXIF's, 1 to 8, 0 where there is none.
    `luma_plane` says that grey came from the Y plane of a colour JPEG. `frames` counts the file's
    frames, `frame` is the index of this one.
    """

    media_type: str
    width: int
    height: int
    pixels: NDArray[np.uint8]
    orientation: int = 0
    orientation_applied: bool = False
    frames: int = 1
    frame: int = 0
    fidelity: Fidelity = Fidelity.EXACT
    alpha: Alpha = Alpha.WHITE
    luma_plane: bool = False
    scale_denominator: int = 1

    @property
    def provenance(self) -> Provenance:
        return Provenance(
            self.orientation,
            self.orientation_applied,
            self.fidelity,
            self.alpha,
            self.luma_plane,
            self.scale_denominator,
        )
