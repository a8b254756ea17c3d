"""The value of a `text` signal: the hashes of a text's 4-grams, and not the text.

    byte 0        1, the version of this layout
    4 bytes each  the hash of one gram, little-endian

A gram is 4 neighbouring characters of the folded view (`text_views`), hashed to 32 bits by
`featsvc_kernels.minhash.gram_hashes`. Grams stand in blocks of 32 neighbours, the last one shorter;
within its block each is in ascending order. "fr33 m0ney" reads `freemoney`, whose six grams would
make, were it long enough to have a value,

    01 584c093a 1486a63f 345ad384 7f7846b8 375f33c4 21a4b9dd

A text of n letters takes 4 n - 11 bytes, twice that as hex: 1.2 KB for 150 letters. A query's value
holds the whole text, up to 1 MiB; one that is stored or sent has at most `PART_GRAMS`: a longer
text is stored in up to `MAX_PARTS` parts, variants of one entry that overlap by half a passage.

Grams are no secret: who has them, and patience, puts much of a text together again. A store of
them is to be guarded as the texts would be (docs/adr/0021-texts-as-grams.md).
"""

import re
from collections.abc import Iterator

import numpy as np
from featsvc_kernels import minhash, near_copies
from numpy.typing import NDArray

from featsvc.errors import InvalidSignal

Grams = NDArray[np.uint32]

PART_GRAMS = 4096
MAX_PARTS = 16
MAX_STORED_GRAMS = PART_GRAMS + (MAX_PARTS - 1) * (
    PART_GRAMS - near_copies.PASSAGE_STEP * near_copies.BLOCK
)
"""61,696: about as many letters, some twenty pages."""
_LAYOUT = b"\x01"
_GRAM_DIGITS = 8
_LITTLE = np.dtype("<u4")
_NOT_HEX = re.compile(r"[^0-9a-f]")


def gram_hashes(view: str) -> Grams:
    """One hash for each 4 neighbouring characters, in order; empty for fewer than four."""
    codes = np.frombuffer(view.encode("utf-32-le"), _LITTLE)
    hashes = np.empty(max(codes.size - minhash.GRAM + 1, 0), np.uint32)
    minhash.gram_hashes(codes, hashes)
    return hashes


def query_value(view: str) -> bytes | None:
    """The value of a whole text; None where it has too few different grams to have one."""
    grams = gram_hashes(view)
    return _value(grams) if _tells(grams) else None


def stored_values(view: str) -> Iterator[bytes]:
    """Values of a text's parts, of which short texts have one and phrases none.

    Parts beyond `MAX_PARTS` come too: whoever stores them counts.
    """
    grams = gram_hashes(view)
    step = PART_GRAMS - near_copies.PASSAGE_STEP * near_copies.BLOCK
    for first in range(0, max(len(grams) - (PART_GRAMS - step), 1), step):
        part = grams[first : first + PART_GRAMS]
        if _tells(part):
            yield _value(part)


def grams_of(value: NDArray[np.uint8]) -> Grams:
    """The grams of a value, by block."""
    # Copied, since kernels want whole words at their places.
    return value[len(_LAYOUT) :].copy().view(_LITTLE)


def parse_grams(digits: str, *, field: str = "value") -> bytes:
    """Lower-case hex to a value that may be stored. Raises InvalidSignal."""
    if bad := _NOT_HEX.search(digits):
        raise InvalidSignal(
            f"{field}: {bad.group()!r} at position {bad.start() + 1} is not a hex digit",
            field=field,
        )
    if not digits.startswith(_LAYOUT.hex()) or len(digits) % _GRAM_DIGITS != len(_LAYOUT.hex()):
        raise InvalidSignal(
            f"{field}: a text signal is 01 and 8 hex digits a gram; this one begins with "
            f"{digits[:2]!r} and has {len(digits)}",
            field=field,
        )
    value = bytes.fromhex(digits)
    grams = grams_of(np.frombuffer(value, np.uint8))
    if len(grams) > PART_GRAMS or not _tells(grams):
        raise InvalidSignal(
            f"{field}: a text signal has {near_copies.MIN_GRAMS} different grams at least and "
            f"{PART_GRAMS} at most, this one {len(grams)}",
            field=field,
        )
    if (at := near_copies.first_disorder(grams)) >= 0:
        raise InvalidSignal(
            f"{field}: gram {at} of a text signal is smaller than the one before it in its block",
            field=field,
        )
    return value


def _tells(grams: Grams) -> bool:
    enough = near_copies.MIN_GRAMS
    # Most texts show it by their first grams.
    return len(set(grams[: 4 * enough].tolist())) >= enough or len(np.unique(grams)) >= enough


def _value(grams: Grams) -> bytes:
    ordered = grams.copy()
    near_copies.sort_blocks(ordered)
    return _LAYOUT + ordered.astype(_LITTLE, copy=False).tobytes()
