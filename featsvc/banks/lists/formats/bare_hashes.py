"""The algorithm of bare hashes: by their number of digits, or by evidence.

    32 hex digits    MD5
    40               SHA-1
    64               PDQ or SHA-256

Half of the bits of a PDQ are set, because each says whether a coefficient is above their median:
128 of 256, or a few less where coefficients are equal. The number of set bits of a SHA-256 is
binomial. So `is_pdq` is sure of a list of PDQ after a few dozen hashes; nothing makes sure that a
list is of SHA-256, since hashes of flat pictures may have any number of set bits.
"""

import re
from collections.abc import Iterable
from itertools import islice
from math import comb

from featsvc.errors import InvalidInput

_DIGITS = re.compile(r"\s*(?:0x)?([0-9a-f]{32}|[0-9a-f]{40}|[0-9a-f]{64})\s*", re.IGNORECASE)
_BY_LENGTH = {32: "md5", 40: "sha1"}
AMBIGUOUS_DIGITS = 64
WHICH = "64 hex digits may be PDQ or SHA-256: say which with --algorithm pdq or --algorithm sha256"

_BALANCE = range(126, 131)
"""Set bits of nearly every PDQ."""
_CHANCE = 0.3
"""More than the share of SHA-256 with so many set bits, 0.247; at most 0.27 if 40 bits are known,
as at the start of a sorted list."""
_MAX_ERROR = 1e-12
_MIN_BALANCED = 0.9
_MOST_HASHES = 500


def digits_of(line: str) -> str:
    """Return the hex digits of a line that is a bare hash, "" for any other line."""
    found = _DIGITS.fullmatch(line)
    return found[1] if found else ""


def algorithm_of_digits(text: str) -> str:
    """Return the algorithm of a bare hash. Raises InvalidInput, also for 64 digits."""
    digits = digits_of(text)
    if len(digits) == AMBIGUOUS_DIGITS:
        raise AmbiguousHash(WHICH, field="algorithm")
    if not digits:
        raise InvalidInput.at(
            "signal", "neither MD5 (32 hex digits) nor SHA-1 (40); name the algorithm"
        )
    return _BY_LENGTH[len(digits)]


class AmbiguousHash(InvalidInput):
    """64 hex digits, and nothing says of which algorithm: no row of the list can be trusted."""


def is_pdq(hashes: Iterable[str]) -> bool:
    """Return whether these hashes of 64 digits are surely PDQ.

    True for a list of SHA-256 in less than one of 10**12 cases.
    """
    different = set(islice(dict.fromkeys(digits.lower() for digits in hashes), _MOST_HASHES))
    balanced = sum(int(digits, 16).bit_count() in _BALANCE for digits in different)
    count = len(different)
    if balanced < _MIN_BALANCED * count:
        return False
    by_chance = sum(
        comb(count, k) * _CHANCE**k * (1 - _CHANCE) ** (count - k)
        for k in range(balanced, count + 1)
    )
    return by_chance < _MAX_ERROR
