"""Values of `text` signals: the hashes of a text's 4-grams, without the text itself.

    byte 0        1, the version of this layout
    4 bytes each  the hash of one gram, little-endian

A gram is 4 neighbouring characters of the folded view (`text_views`), hashed to 32 bits by
`featsvc_kernels.minhash.gram_hashes`. Grams are stored in blocks of 32 neighbours, the last block
shorter, in ascending order within each block. The folded view of "fr33 m0ney" is `freemoney`. If it
were long enough to have a value, its six grams would give

    01 584c093a 1486a63f 345ad384 7f7846b8 375f33c4 21a4b9dd

A text of n letters takes 4 n - 11 bytes, twice that as hex: 1.2 KB for 150 letters. A query's value
holds the whole text, up to 1 MiB. A value that is stored or sent has at most `PART_GRAMS` grams: a
longer text is stored in up to `MAX_PARTS` parts, variants of one entry that overlap by half a
passage.

Grams do not hide a text: with patience, much of it can be reconstructed. Protect a store of grams
as you would protect the texts (docs/adr/0021-texts-as-grams.md).
"""

from collections.abc import Iterator

import numpy as np
from featsvc_kernels import minhash, near_copies
from numpy.typing import NDArray

from featsvc.errors import InvalidSignal
from featsvc.signals.bits import check_hex

Grams = NDArray[np.uint32]

PART_GRAMS = 4096
MAX_PARTS = 16
MAX_STORED_GRAMS = PART_GRAMS + (MAX_PARTS - 1) * (
    PART_GRAMS - near_copies.PASSAGE_STEP * near_copies.BLOCK
)
"""61,696, for about as many letters: some twenty pages."""
_LAYOUT = b"\x01"
_GRAM_DIGITS = 8
_LITTLE = np.dtype("<u4")


def gram_hashes(view: str) -> Grams:
    """Hash each run of 4 characters of a view, in order; empty for fewer than 4 characters."""
    codes = np.frombuffer(view.encode("utf-32-le"), _LITTLE)
    hashes = np.empty(max(codes.size - minhash.GRAM + 1, 0), np.uint32)
    minhash.gram_hashes(codes, hashes)
    return hashes


def query_value(view: str) -> bytes | None:
    """Return the value of a whole text; None where it has too few different grams."""
    grams = gram_hashes(view)
    return _value(grams) if _distinctive(grams) else None


def stored_values(view: str) -> Iterator[bytes]:
    """Yield the values of a text's parts: one for a short text, none for a phrase.

    The caller must refuse more than `MAX_PARTS`.
    """
    grams = gram_hashes(view)
    step = PART_GRAMS - near_copies.PASSAGE_STEP * near_copies.BLOCK
    for first in range(0, max(len(grams) - (PART_GRAMS - step), 1), step):
        part = grams[first : first + PART_GRAMS]
        if _distinctive(part):
            yield _value(part)


def grams_of(value: NDArray[np.uint8]) -> Grams:
    """Return the grams of a value, in the order of the value."""
    # A copy, because kernels need aligned words.
    return value[len(_LAYOUT) :].copy().view(_LITTLE)


def parse_grams(digits: str, *, field: str = "value") -> bytes:
    """Parse lower-case hex to a value that may be stored. Raises InvalidSignal."""
    check_hex(digits, field)
    if not digits.startswith(_LAYOUT.hex()) or len(digits) % _GRAM_DIGITS != len(_LAYOUT.hex()):
        raise InvalidSignal(
            f"{field}: a text signal is 01 and 8 hex digits a gram, not {len(digits)} digits that "
            f"begin with {digits[:2]!r}",
            field=field,
        )
    value = bytes.fromhex(digits)
    grams = grams_of(np.frombuffer(value, np.uint8))
    if len(grams) > PART_GRAMS or not _distinctive(grams):
        raise InvalidSignal(
            f"{field}: a text signal has at least {near_copies.MIN_GRAMS} different grams and at "
            f"most {PART_GRAMS}; this one has {len(grams)} grams",
            field=field,
        )
    if (unsorted := near_copies.first_disorder(grams)) >= 0:
        raise InvalidSignal(
            f"{field}: gram {unsorted} of a text signal is smaller than the gram before it; sort "
            "each block of 32",
            field=field,
        )
    return value


def is_stored_value(value: NDArray[np.uint8]) -> bool:
    """Return whether stored bytes are a value that `parse_grams` accepts."""
    if len(value) % _LITTLE.itemsize != len(_LAYOUT) or value[0] != _LAYOUT[0]:
        return False
    grams = grams_of(value)
    whole = len(grams) <= PART_GRAMS and near_copies.first_disorder(grams) < 0
    return whole and _distinctive(grams)


def _distinctive(grams: Grams) -> bool:
    """Return whether there are enough different grams to find copies by."""
    enough = near_copies.MIN_GRAMS
    # The first grams suffice for most texts.
    return len(set(grams[: 4 * enough].tolist())) >= enough or len(np.unique(grams)) >= enough


def _value(grams: Grams) -> bytes:
    in_blocks = grams.copy()
    near_copies.sort_blocks(in_blocks)
    return _LAYOUT + in_blocks.astype(_LITTLE, copy=False).tobytes()
