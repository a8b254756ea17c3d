"""TLSH of texts: exchanged lists carry it (ThreatExchange's HASH_TEXT_TLSH).

Its text form is `T1` and 70 upper-case hex digits, as ThreatExchange takes no other; it is read
with and without `T1`, in any case. Two are as far apart as `tlsh.diffxlen` says, which
ThreatExchange matches at 30.
"""

import re

import numpy as np
from featsvc_kernels import tlsh as kernels
from numpy.typing import NDArray

from featsvc.errors import InvalidSignal

PREFIX = "T1"
_DIGITS = 2 * kernels.DIGEST_BYTES
_NOT_HEX = re.compile(r"[^0-9a-f]")


def tlsh_value(content: bytes) -> bytes | None:
    """The digest (35 bytes); None where the content is too short (50 bytes) or too uniform."""
    digest = np.empty(kernels.DIGEST_BYTES, np.uint8)
    made = kernels.tlsh_digest(np.frombuffer(content, np.uint8), digest)
    return digest.tobytes() if made else None


def format_tlsh(value: bytes) -> str:
    return PREFIX + value.hex().upper()


def parse_tlsh(text: str, *, field: str = "value") -> bytes:
    """Raises InvalidSignal."""
    digits = text.lower().removeprefix(PREFIX.lower())
    if len(digits) != _DIGITS:
        raise InvalidSignal(
            f"{field}: a tlsh signal has {_DIGITS} hex digits, with or without T1 before them "
            f"(128 buckets, 1-byte checksum), this one has {len(digits)}",
            field=field,
        )
    if bad := _NOT_HEX.search(digits):
        place = bad.start() + 1 + len(text) - len(digits)
        raise InvalidSignal(
            f"{field}: {bad.group()!r} at position {place} is not a hex digit", field=field
        )
    return bytes.fromhex(digits)


def tlsh_words(values: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Digests (n, 35) as the kernels take them, (n, 5)."""
    padded = np.zeros((len(values), 40), np.uint8)
    padded[:, : kernels.DIGEST_BYTES] = values
    return padded.view(np.uint64)


def tlsh_distance(a: bytes, b: bytes) -> int:
    """0 to 937; smaller is nearer."""
    words = tlsh_words(np.frombuffer(a + b, np.uint8).reshape(2, -1))
    return int(kernels.tlsh_distance(words[0], words[1]))
