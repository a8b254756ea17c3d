"""Byte hashes: digests of content as it was sent, of any kind."""

import hashlib


# Exchanged lists use MD5 and SHA-1; nothing here relies on their strength.
def md5(content: bytes) -> bytes:
    return hashlib.md5(content, usedforsecurity=False).digest()


def sha1(content: bytes) -> bytes:
    return hashlib.sha1(content, usedforsecurity=False).digest()


def sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
