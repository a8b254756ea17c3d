"""The plain Python twin of `tlsh`, after the paper and the library."""

from featsvc_kernels import tlsh

_TABLE = tlsh.PEARSON.tolist()
# A salt, and three of the last five bytes; 0 is the newest.
_TRIPLES = ((2, 0, 1, 2), (3, 0, 1, 3), (5, 0, 2, 3), (7, 0, 2, 4), (11, 0, 1, 4), (13, 0, 3, 4))


def _pearson(salt: int, a: int, b: int, c: int) -> int:
    h = 0
    for byte in (salt, a, b, c):
        h = _TABLE[h ^ byte]
    return h


def digest(data: bytes) -> bytes | None:
    """Return the digest, or None if the data is too short or too uniform."""
    if len(data) < 50:
        return None
    buckets, checksum = [0] * 256, 0
    for i in range(4, len(data)):
        window = data[i - 4 : i + 1][::-1]
        checksum = _pearson(0, window[0], window[1], checksum)
        for salt, a, b, c in _TRIPLES:
            buckets[_pearson(salt, window[a], window[b], window[c])] += 1
    used = buckets[:128]
    q1, q2, q3 = (sorted(used)[k] for k in (31, 63, 95))
    if q3 == 0 or sum(k > 0 for k in used) <= 64:
        return None
    length_class = sum(len(data) > length for length in tlsh.LENGTHS.tolist())
    head = f"{checksum:02x}"[::-1] + f"{length_class:02x}"[::-1]
    ratios = bytes([(100 * q1 // q3 % 16) << 4 | 100 * q2 // q3 % 16])
    quartiles = [sum(k > q for q in (q1, q2, q3)) for k in used]
    code = [sum(quartiles[4 * i + j] << (2 * j) for j in range(4)) for i in range(32)]
    return bytes.fromhex(head) + ratios + bytes(code[::-1])


def distance(a: bytes, b: bytes) -> int:
    """Return the distance without the length, as `tlsh.diffxlen`."""
    total = int(a[0] != b[0])
    for x, y in ((a[2] >> 4, b[2] >> 4), (a[2] & 15, b[2] & 15)):
        steps = min((x - y) % 16, (y - x) % 16)
        total += steps if steps <= 1 else (steps - 1) * 12
    for x, y in zip(a[3:], b[3:], strict=True):
        for shift in (0, 2, 4, 6):
            total += (0, 1, 2, 6)[abs((x >> shift & 3) - (y >> shift & 3))]
    return total
