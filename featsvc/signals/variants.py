"""The table of variants, from which bank settings, errors, the command and the docs are fed.

A variant is a transform of a decoded picture that is hashed in addition to the picture, to find
copies whose own hash is far away. Query variants undo an edit (mirror, frame, screenshot). Entry
variants anticipate an edit (crops, tilts) and are made once, when a curator adds a picture.

Every additional hash is another chance to match by accident, so a variant matches only within its
`share` of the threshold. Where both sides are variants, the smaller share applies.
`featsvc.hashing.variants` makes them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

from featsvc.errors import InvalidInput, shown

ORIGINAL = "original"


@dataclass(frozen=True, slots=True)
class Variant:
    """One row of the table.

    `share`: the share of a bank's threshold within which it matches. `query`, `entry`: the sides
    that it is made on. `default`: whether new banks have it among their query variants.
    """

    name: str
    share: float
    description: str
    query: bool = False
    entry: bool = False
    default: bool = False


# Of 31 bits: 27, 27, 29 and 29. Near 31 bits, one bit less means 7.5 times fewer accidental matches
# among random hashes. So 54 crops and tilts within 29 bits, or 11 query variants within 27 bits of
# all of them, match by accident less often than one hash within 31. The shares were chosen on one
# half of the photographs (`make robustness`).
TURN_SHARE = 0.88
FRAME_SHARE = 0.88
CROP_SHARE = 0.94
TILT_SHARE = 0.94

CENTRE_CROPS = (2.5, 5.0, 7.5, 10.0, 12.5, 15.0, 17.5, 20.0)
"""Percent cut off each side's length, half at each end."""
SIDE_CROPS = (4, 8, 12, 16, 20)
"""Percent cut off one side."""
RATIOS = ((1, 1), (4, 5), (5, 4), (4, 3), (3, 4), (16, 9), (9, 16))
"""Aspect ratios, width to height, that sites crop pictures to, about the centre."""

TILTS = (1.5, 3.0, 4.5)
"""Degrees, to either side."""

SIDES = ("top", "left", "bottom", "right")
TILT_SIDES = (("left", 1), ("right", -1))
FILLS = {"cut": 0, "black": 0, "white": 255}
"""The colour in the corners of a tilted picture; `cut` magnifies the picture until none shows."""


def centre_name(percent: float) -> str:
    return f"crop_{percent:g}"


def side_name(side: str, percent: int) -> str:
    return f"crop_{side}_{percent}"


def ratio_name(width: int, height: int) -> str:
    return f"crop_{width}x{height}"


def tilt_name(side: str, degrees: float, fill: str) -> str:
    return f"tilt_{side}_{degrees:g}_{fill}"


_query = partial(Variant, query=True)
_entry = partial(Variant, entry=True)

_TABLE = (
    _query(ORIGINAL, 1.0, "the picture as it is", entry=True, default=True),
    _query("flip_y", TURN_SHARE, "mirrored", default=True),
    _query("flip_x", TURN_SHARE, "upside down, mirrored"),
    _query("rotate_90", TURN_SHARE, "turned a quarter left"),
    _query("rotate_180", TURN_SHARE, "turned upside down"),
    _query("rotate_270", TURN_SHARE, "turned a quarter right"),
    _query("transpose", TURN_SHARE, "turned a quarter, mirrored"),
    _query("transverse", TURN_SHARE, "turned a quarter, mirrored"),
    _query("trimmed", FRAME_SHARE, "without plain bars around it", entry=True, default=True),
    _query(
        "unframed",
        FRAME_SHARE,
        "the largest picture on a plain page: screenshots, captions",
        default=True,
    ),
    _query("trimmed_flip_y", FRAME_SHARE, "`trimmed`, mirrored", default=True),
    _query("unframed_flip_y", FRAME_SHARE, "`unframed`, mirrored", default=True),
    *(
        _entry(centre_name(p), CROP_SHARE, f"{p:g} % of each side's length off, half at each end")
        for p in CENTRE_CROPS
    ),
    *(
        _entry(side_name(side, p), CROP_SHARE, f"{p} % off the {side}")
        for side in SIDES
        for p in SIDE_CROPS
    ),
    *(_entry(ratio_name(w, h), CROP_SHARE, f"cut to {w}:{h} about the centre") for w, h in RATIOS),
    *(
        _entry(
            tilt_name(side, degrees, fill),
            TILT_SHARE,
            f"tilted to the {side} by {degrees:g} degrees, {fill} corners",
        )
        for side, _ in TILT_SIDES
        for degrees in TILTS
        for fill in FILLS
    ),
)

VARIANTS: Mapping[str, Variant] = MappingProxyType({v.name: v for v in _TABLE})
QUERY_VARIANTS = tuple(v.name for v in VARIANTS.values() if v.query and v.name != ORIGINAL)
DEFAULT_QUERY_VARIANTS = tuple(v for v in QUERY_VARIANTS if VARIANTS[v].default)
_SETS: Mapping[str, tuple[str, ...]] = {
    ORIGINAL: (),
    "none": (),
    "default": DEFAULT_QUERY_VARIANTS,
    "all": QUERY_VARIANTS,
}


def query_variants(names: Iterable[str], *, field: str) -> tuple[str, ...]:
    """Expand names of query variants and of the sets `none`, `default` and `all`.

    Returns each variant once, in the table's order, without `original`, which is always matched.
    Raises InvalidInput for an unknown name.
    """
    chosen: set[str] = set()
    for name in names:
        if name in _SETS:
            chosen.update(_SETS[name])
        elif name in QUERY_VARIANTS:
            chosen.add(name)
        else:
            raise InvalidInput(
                f"{field}: {shown(name)!r} is not a query variant; use "
                f"{', '.join(QUERY_VARIANTS)}, or one of the sets none, default, all",
                field=field,
            )
    return tuple(name for name in QUERY_VARIANTS if name in chosen)


def share_of(variant: str) -> float:
    """Return a variant's share of the threshold; 1 for a name that only a list uses."""
    known = VARIANTS.get(variant)
    return known.share if known else 1.0
