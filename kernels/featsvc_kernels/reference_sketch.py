"""The plain twins of `sketch`: big integers and texts of bits."""

import math
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

_MASK = 2**64 - 1
_DENSE_BYTES = 1536
_M = 0xC6A4A7935BD1E995


def murmur(member: bytes) -> int:
    """Return MurmurHash64A of 8 bytes with Redis' seed."""
    k = int.from_bytes(member, "little") * _M & _MASK
    k = (k ^ k >> 47) * _M & _MASK
    h = ((0xADC83B19 ^ 8 * _M & _MASK) ^ k) * _M & _MASK
    h = (h ^ h >> 47) * _M & _MASK
    return h ^ h >> 47


def registers_of(members: Iterable[bytes]) -> NDArray[np.uint8]:
    """Return the registers of a sketch of members of 8 bytes."""
    registers = np.zeros(2048, np.uint8)
    for member in members:
        bits = f"1{murmur(member):064b}"
        rank = len(bits[:-11]) - len(bits[:-11].rstrip("0")) + 1
        register = int(bits[-11:], 2)
        registers[register] = max(registers[register], rank)
    return registers


def encode(registers: NDArray[np.uint8]) -> bytes:
    """Return the stored form."""
    used = np.flatnonzero(registers)
    sparse = b"".join(int(r).to_bytes(2, "little") + bytes([registers[r]]) for r in used)
    bits = sum(int(rank) << 6 * r for r, rank in enumerate(registers))
    return sparse if len(sparse) < _DENSE_BYTES else bits.to_bytes(_DENSE_BYTES, "little")


def estimate(registers: NDArray[np.uint8]) -> float:
    """Return the estimate by the series of Ertl 2017, equations 25 and 26, over m, p and q."""
    m, q = 2048, 53
    counts = np.bincount(registers, minlength=q + 2)
    x, y = float(counts[0] / m), float(1 - counts[q + 1] / m)
    if x == 1:
        return 0.0
    sigma = x + math.fsum(x ** (2**k) * 2 ** (k - 1) for k in range(1, 64))
    tau = (1 - y - math.fsum((1 - y ** (2.0**-k)) ** 2 * 2.0**-k for k in range(1, 64))) / 3
    middle = math.fsum(counts[k] * 2.0**-k for k in range(1, q + 1))
    return m * m / (2 * math.log(2) * (m * sigma + middle + m * tau * 2.0**-q))
