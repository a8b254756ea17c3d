"""Kinds: how a format stores its samples, and which of them are decoded.

Each format has a table of rules. A kind that no rule names is UNSUPPORTED_MEDIA, by its name.
docs/media.md shows the tables, and tests write a file of every kind in them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product

from featsvc.errors import UnsupportedMedia

UNSIGNED, SIGNED, FLOAT = "unsigned", "signed", "float"
OPAQUE, STRAIGHT, PREMULTIPLIED, KEYED = "", "alpha", "premultiplied alpha", "transparent colour"


@dataclass(frozen=True, slots=True)
class Kind:
    """How the samples of a picture are stored.

    `colour` is "grey", "white is zero", "rgb", "palette", "cmyk" and so on; `bits` is per sample;
    `sample_format` UNSIGNED, SIGNED or FLOAT; `alpha` OPAQUE, STRAIGHT, PREMULTIPLIED or KEYED;
    `compression` is named only where it decides.
    """

    colour: str = "rgb"
    bits: int = 8
    sample_format: str = UNSIGNED
    alpha: str = OPAQUE
    separate_planes: bool = False
    compression: str = ""

    def __str__(self) -> str:
        """Return for example "16-bit grey, alpha" or "32-bit float rgb in separate planes"."""
        number = "" if self.sample_format == UNSIGNED else f"{self.sample_format} "
        planes = " in separate planes" if self.separate_planes else ""
        text = f"{self.bits}-bit {number}{self.colour}{planes}"
        return ", ".join(part for part in (text, self.alpha, self.compression) if part)


EIGHT_BIT_RGB = Kind()


@dataclass(frozen=True, slots=True)
class Rule:
    """The kinds of a format that are decoded in one way: all combinations of the fields.

    `how` says in a few words what becomes of the samples, for the docs.
    """

    colour: str
    bits: Sequence[int]
    how: str
    sample_formats: Sequence[str] = (UNSIGNED,)
    alphas: Sequence[str] = (OPAQUE,)
    planes: Sequence[bool] = (False,)
    compressions: Sequence[str] = ("",)

    def kinds(self) -> Iterator[Kind]:
        """Yield every kind of the rule."""
        for fields in product(
            (self.colour,),
            self.bits,
            self.sample_formats,
            self.alphas,
            self.planes,
            self.compressions,
        ):
            yield Kind(*fields)

    def __contains__(self, kind: Kind) -> bool:
        return (
            kind.colour == self.colour
            and kind.bits in self.bits
            and kind.sample_format in self.sample_formats
            and kind.alpha in self.alphas
            and kind.separate_planes in self.planes
            and kind.compression in self.compressions
        )


def check_kind(media_type: str, kind: Kind, rules: Sequence[Rule]) -> None:
    """Raise UnsupportedMedia, which names the kind, where no rule has it."""
    if not any(kind in rule for rule in rules):
        raise UnsupportedMedia(
            f"this {media_type} holds {kind} samples, which featsvc does not decode; convert it "
            "to 8-bit RGB, or use its byte hashes"
        )
