"""What a header declares: the size, the kind of samples, and the memory that decoding takes."""

from dataclasses import dataclass

_BITS = 8
_LAYOUTS = {True: " in separate planes", False: ""}


@dataclass(frozen=True, slots=True)
class Kind:
    """How a format stores its samples, for the table of kinds and for messages.

    `colour` is the format's own word in lower case, such as "grey", "rgb", "palette", "cmyk" or
    "white is zero"; `bits` is per sample; `alpha` is "", "alpha", "premultiplied alpha" or
    "transparent colour"; `compression` is named only where it decides something.
    """

    colour: str = "rgb"
    bits: int = _BITS
    sample_format: str = "unsigned"
    alpha: str = ""
    separate_planes: bool = False
    compression: str = ""

    def __str__(self) -> str:
        """Return for example "16-bit grey, alpha" or "32-bit float rgb in separate planes"."""
        number = "" if self.sample_format == "unsigned" else f"{self.sample_format} "
        text = f"{self.bits}-bit {number}{self.colour}{_LAYOUTS[self.separate_planes]}"
        return ", ".join(part for part in (text, self.alpha, self.compression) if part)


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
    kind: Kind = Kind()
