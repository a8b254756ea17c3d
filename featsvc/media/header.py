"""What a header declares: the size, the kind of samples, and the memory that decoding takes."""

from dataclasses import dataclass

from featsvc.media.kinds import EIGHT_BIT_RGB, Kind


@dataclass(frozen=True, slots=True)
class Header:
    """What the bytes declare before a decoder runs.

    `width` and `height` are in stored pixels, of the largest picture that the decoder would
    allocate. `frames` is counted up to one past the limit. `peak_bytes` estimates the most memory
    that decoding one frame takes beyond the content itself: what the decoder allocates, our
    conversions, and the pixels that are returned.
    """

    media_type: str
    width: int
    height: int
    frames: int
    peak_bytes: int
    kind: Kind = EIGHT_BIT_RGB
