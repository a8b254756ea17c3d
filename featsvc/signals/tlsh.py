"""TLSH of texts, which exchanged lists carry (ThreatExchange's HASH_TEXT_TLSH).

The text form is `T1` and 70 upper-case hex digits, the only form that ThreatExchange takes. Parsing
accepts it with and without `T1`, in any case. The distance is that of `tlsh.diffxlen`, with which
ThreatExchange matches at 30.
"""

import numpy as np
from featsvc_kernels import tlsh as kernels

from featsvc.errors import InvalidSignal
from featsvc.signals.bits import check_hex, to_words

PREFIX = "T1"
_DIGITS = 2 * kernels.DIGEST_BYTES


def tlsh_value(content: bytes) -> bytes | None:
    """Return the digest (35 bytes); None for content under 50 bytes or too uniform."""
    digest = np.empty(kernels.DIGEST_BYTES, np.uint8)
    made = kernels.tlsh_digest(np.frombuffer(content, np.uint8), digest)
    return digest.tobytes() if made else None


def format_tlsh(value: bytes) -> str:
    """Return the text form of a digest."""
    return PREFIX + value.hex().upper()


def parse_tlsh(text: str, *, field: str = "value") -> bytes:
    """Parse the text form of a digest. Raises InvalidSignal."""
    digits = text.lower().removeprefix(PREFIX.lower())
    if len(digits) != _DIGITS:
        raise InvalidSignal(
            f"{field}: a tlsh signal has {_DIGITS} hex digits, with or without T1 before them "
            f"(128 buckets, 1-byte checksum), not {len(digits)}",
            field=field,
        )
    check_hex(digits, field, skipped=len(text) - len(digits))
    return bytes.fromhex(digits)


def tlsh_distance(a: bytes, b: bytes) -> int:
    """Return the distance of two digests, 0 to 937; smaller is nearer."""
    words = to_words(np.frombuffer(a + b, np.uint8).reshape(2, -1))
    return int(kernels.tlsh_distance(words[0], words[1]))
