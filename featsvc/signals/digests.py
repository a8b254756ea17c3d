"""Byte hashes: digests of content as it was sent, whatever it is."""

import hashlib
from collections.abc import Callable

BYTE_HASHES: dict[str, Callable[[bytes], bytes]] = {
    # Exchanged lists are MD5 and SHA-1; nothing here relies on their strength.
    "md5": lambda content: hashlib.md5(content, usedforsecurity=False).digest(),
    "sha1": lambda content: hashlib.sha1(content, usedforsecurity=False).digest(),
    "sha256": lambda content: hashlib.sha256(content).digest(),
}
