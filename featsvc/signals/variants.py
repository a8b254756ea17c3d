"""The one table of variants: bank settings, errors, `featsvc` and docs are fed from it.

A variant is a part or a turn of one decoded picture, hashed beside it, that finds copies whose
own hash is far away. Query variants undo what a copier did (mirror, frame, screenshot); entry
variants are what a copier may do (crops, tilts), made once, when a curator adds a picture.

Every further hash is a further chance to match by accident, so a variant matches only within its
`share` of the threshold; where both sides are variants, within the smaller share. How they are
made: `featsvc.hashing.variants`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from featsvc.errors import InvalidInput

ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class Variant:
    """`share`: of a bank's threshold, within which it matches. `query`, `entry`: the sides that
    it is made on; `default`: whether a new bank asks for it."""

    name: str
    share: float
    description: str
    query: bool = False
    entry: bool = False
    default: bool = False


# Of 31 bits: 27, 27, 29 and 29. Near 31 bits each bit less is 7.5 times fewer accidents among
# random hashes, so 54 crops and tilts within 29 bits, or 11 query variants within 27 of them all,
# are a smaller chance than one hash within 31. Chosen on one half of the photographs
# (`make robustness`).
TURN_SHARE = 0.88
FRAME_SHARE = 0.88
CROP_SHARE = 0.94
TILT_SHARE = 0.94

CENTRE_CROPS = (2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 17.5, 20.0)
"""Per cent of each side's length that are off, half at each end."""
SIDE_CROPS = (4, 8, 12, 16, 20)
"""Per cent that are off one side."""
RATIOS = ((1, 1), (4, 5), (5, 4), (4, 3), (3, 4), (16, 9), (9, 16))
"""Width to height of what sites cut pictures to, about the centre."""

TILTS = (1.5, 3.0, 4.5)
"""Degrees, to either side."""

SIDES = ("top", "left", "bottom", "right")
TILT_SIDES = (("left", 1), ("right", -1))
FILLS = {"cut": 0, "black": 0, "white": 255}
"""What shows in the corners of a tilted picture; `cut` magnifies it until nothing does."""


def centre_name(percent: float) -> str:
    return f"crop_{percent:g}"


def side_name(side: str, percent: int) -> str:
    return f"crop_{side}_{percent}"


def ratio_name(width: int, height: int) -> str:
    return f"crop_{width}x{height}"


def tilt_name(side: str, degrees: float, fill: str) -> str:
    return f"tilt_{side}_{degrees:g}_{fill}"


VARIANTS: Mapping[str, Variant] = MappingProxyType(
    {
        v.name: v
        for v in (
            Variant(ORIGINAL, 1.0, "the picture as it is", query=True, entry=True, default=True),
            Variant("flip_y", TURN_SHARE, "mirrored", query=True, default=True),
            Variant("flip_x", TURN_SHARE, "upside down, mirrored", query=True),
            Variant("rotate_90", TURN_SHARE, "turned a quarter left", query=True),
            Variant("rotate_180", TURN_SHARE, "turned upside down", query=True),
            Variant("rotate_270", TURN_SHARE, "turned a quarter right", query=True),
            Variant("transpose", TURN_SHARE, "turned a quarter, mirrored", query=True),
            Variant("transverse", TURN_SHARE, "turned a quarter, mirrored", query=True),
            Variant(
                "trimmed", FRAME_SHARE, "without plain bars around it", query=True, entry=True,
                default=True,
            ),
            Variant(
                "unframed", FRAME_SHARE, "the largest picture on a plain page: screenshots, "
                "captions", query=True, default=True,
            ),
            Variant(
                "trimmed_flip_y", FRAME_SHARE, "`trimmed`, mirrored", query=True, default=True
            ),
            Variant(
                "unframed_flip_y", FRAME_SHARE, "`unframed`, mirrored", query=True, default=True
            ),
            *(
                Variant(
                    centre_name(p), CROP_SHARE,
                    f"{p:g} % of each side's length off, half at each end", entry=True,
                )
                for p in CENTRE_CROPS
            ),
            *(
                Variant(side_name(s, p), CROP_SHARE, f"{p} % off the {s}", entry=True)
                for s in SIDES for p in SIDE_CROPS
            ),
            *(
                Variant(ratio_name(w, h), CROP_SHARE, f"cut to {w}:{h} about the centre",
                        entry=True)
                for w, h in RATIOS
            ),
            *(
                Variant(
                    tilt_name(side, degrees, fill), TILT_SHARE,
                    f"tilted to the {side} by {degrees:g} degrees, {fill} corners", entry=True,
                )
                for side, _ in TILT_SIDES for degrees in TILTS for fill in FILLS
            ),
        )
    }
)  # fmt: skip

QUERY_VARIANTS = tuple(v.name for v in VARIANTS.values() if v.query and v.name != ORIGINAL)
DEFAULT_QUERY_VARIANTS = tuple(v for v in QUERY_VARIANTS if VARIANTS[v].default)
_SETS: Mapping[str, tuple[str, ...]] = {
    ORIGINAL: (),
    "none": (),
    "default": DEFAULT_QUERY_VARIANTS,
    "all": QUERY_VARIANTS,
}


def query_variants(names: Iterable[str], *, field: str) -> tuple[str, ...]:
    """Names of query variants, and of the sets `none`, `default` and `all`, to names of variants.

    Each once, in the table's order, without `original`, which is always tried. Raises InvalidInput
    for a name that is neither.
    """
    wanted: set[str] = set()
    for name in names:
        if name in _SETS:
            wanted.update(_SETS[name])
        elif name in QUERY_VARIANTS:
            wanted.add(name)
        else:
            raise InvalidInput(
                f"{field}: {name[:64]!r} is no query variant; name some of "
                f"{', '.join(QUERY_VARIANTS)}, or one of the sets none, default, all",
                field=field,
            )
    return tuple(name for name in QUERY_VARIANTS if name in wanted)


def share_of(variant: str) -> float:
    """Of the threshold. A name that is not in the table is a list's own: it has all of it."""
    known = VARIANTS.get(variant)
    return known.share if known else 1.0
