"""Layout of an entity's state in Redis.

Each entity is one hash. The braces make everything before them one cluster slot:

    fs:{<namespace>:<entity>:<id>}:v1          "%", "{" and "}" in the id are percent-encoded

Everything about an entity is in that one key, so that a slot that moves, an eviction and a deletion
take all of it or nothing. Fields of the hash, all little-endian:

    m             meta: f64 newest event ms, f64 reference ms (the rings are pruned against it), and
                  02 00 00 00. Old services, of the first layout, write 16 bytes: adopting.py takes
                  over what they keep elsewhere.
    n             f64 born ms (the clock at the first write), f64 forgotten ms (ids of events up to
                  it may be gone), f64 adopted ms (when an old service was last about; 0 never),
                  u32 shards, u32 ids, u32 the shard that was pruned last, u32 0
    i<k>          shard k of the ids of the last events: 8-byte BLAKE2b, u32 stamp in seconds
    b             back-fills: 8-byte BLAKE2b of a source, f64 its greatest position; at most 8
    <state><ring> one packed ring: records of non-empty buckets, oldest first
    <state><RING> its companion: what the records of a sum or of moments cannot hold
    <state>u      one packed list of distinct members
    <state><ring>#          u32 numbers of the buckets that have a sketch
    <state><ring>#<bucket>  sketch of the members that were last seen in the bucket and have left
                            the list

`<state>` is 8 characters: the base64url of a 6-byte BLAKE2b of the state's meaning (event type,
filter, kind, value, version). A changed definition therefore uses other fields, and an unchanged
one keeps its values, lifetime ones included. `<ring>` is one letter, `<RING>` the capital:

    s  10 s x 37     windows up to 6 min      l  one bucket without end: `lifetime`
    m  5 min x 73    up to 6 h
    h  1 h x 169     up to 7 d
    d  1 d x 91      up to 90 d

A window uses the finest ring that covers it, so a state keeps only the rings its windows need.
A record is the bucket number (u32, milliseconds since 1970 divided by the width) and a payload:

    COUNT    u32 n                                     8 bytes
    SUM      f64 sum                                  12
    MOMENTS  u32 n, f64 mean, f64 sum of squared      24   Welford; merged with Chan's formula
             deviations from the mean
    MIN MAX  f64 value                                12   of event times: age_of_first, age_of_last
    FIRST    f64 event ms, f64 value                  20   LAST the same

A record of a companion has 20 bytes, the bucket and two numbers:

    SUM      f64 low, f64 carry: sum = record's sum + low + carry * 2^1023
    MOMENTS  f64 low: mean = record's mean + low; f64 root of the squared deviations * 2^-20,
             where the squared deviations are outside 1e-280 .. 1e290, else 0

A bucket without one has zeros there. So whole numbers cost nothing, no sum overflows inside a
bucket, and rounding errors do not add up.

A distinct list begins with f64 evicted-at (the newest last-seen time of an evicted member) and
holds 16 bytes a member: 8-byte BLAKE2b of the member, f64 last-seen ms, oldest first. It is exact
for every window that begins after evicted-at. A member that the cap evicts moves to the sketch of
the bucket in which it was last seen, in each ring. The count of a window is that of the union of
its list and its sketches.

A sketch is a HyperLogLog of 2,048 registers (standard error 1.04 / sqrt(2048) = 2.3 %) over
MurmurHash64A, as PFADD has it: the register is the low 11 bits of the hash, the rank 1 + the zeros
that the rest ends with. 1,536 bytes hold 6 bits a register, four in three bytes; a shorter sketch
is a list of u16 register, u8 rank. (Redis' own HyperLogLogs would each be a key.)

Event ids. An id is remembered with the counts, in one write. Its stamp is the time of the entity's
newest event then; it is forgotten when that is a horizon ago. An event that is older than that
against the newest one is refused, unless a back-fill knows its position. So an id counts once,
whenever it comes again. The shards grow by linear hashing (Litwin 1980), one split at a time, to 48
ids each, so that a busy account does not rewrite all its ids for each event.

Semantics. For counts and sums `true(w) <= value <= true(w + g)`, where g is the width of a bucket
and true(x) covers the events in (as_of - x, as_of]: a read adds up all buckets from that of
`as_of - w` to that of `as_of`. (Where `as_of` lies in the past, events between it and the end of
its bucket count as well.) A ring is pruned against the reference time: the time of the entity's
newest event, never ahead of the clock, less a minute because clocks disagree. What can no longer be
known of the past is NOT_RETAINED; the value is never an undercount.

Worked example: uploads at 12:00:03 and 12:00:07 UTC on 2026-01-01 (1,767,268,803,000 ms) for the
10 s ring: bucket 176,726,880 = 0x0A88A360, both in one record:

    60 a3 88 0a  02 00 00 00                           bucket 176726880, n = 2

docs/features.md has the sizes. Everything that grows has a limit: buckets per ring, members per
distinct list, sketches per ring, ids by the horizon.
"""

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

META_FIELD = b"m"
OLD_META_BYTES = 16
"""Length of the meta record that an old service writes."""
LIFETIME_MS = 0
"""Window of `lifetime` features."""


class StateKind(IntEnum):
    """What a state keeps per bucket. The numbers are shared with scripts/."""

    COUNT = 0
    SUM = 1
    MOMENTS = 2
    MIN = 3
    MAX = 4
    FIRST = 5
    LAST = 6
    DISTINCT = 7


@dataclass(frozen=True, slots=True)
class Ring:
    """`buckets` buckets of `width_ms` each; width 0 is the single bucket of `lifetime`."""

    letter: str
    width_ms: int
    buckets: int

    @property
    def longest_window_ms(self) -> int:
        """Longest window that the ring covers even if it begins in the middle of a bucket."""
        return self.width_ms * (self.buckets - 1)


RINGS = (
    Ring("s", 10_000, 37),
    Ring("m", 300_000, 73),
    Ring("h", 3_600_000, 169),
    Ring("d", 86_400_000, 91),
)
LIFETIME_RING = Ring("l", 0, 1)
RING_OF = {ring.letter: ring for ring in (*RINGS, LIFETIME_RING)}
DIGEST_CHARS = 8
Rings = Mapping[str, Sequence[tuple[str, int]]]
"""Digest of a state -> the letter of each ring that other definitions of the namespace have of it,
and the longest window in ms that the ring serves (0: lifetime)."""
SHORTEST_WINDOW_MS = 60_000
LONGEST_WINDOW_MS = RINGS[-1].longest_window_ms


def ring_for(window_ms: int) -> Ring:
    """Return the finest ring that covers a window; LIFETIME_MS gives the lifetime ring."""
    if window_ms == LIFETIME_MS:
        return LIFETIME_RING
    return next(ring for ring in RINGS if window_ms <= ring.longest_window_ms)


def entity_key_prefix(namespace: str, entity: str) -> bytes:
    """Return the part of an entity's key before its id."""
    return f"fs:{{{namespace}:{entity}:".encode()


KEY_SUFFIX = b"}:v1"


def encode_id(entity_id: str) -> bytes:
    """Percent-encode an id for a key, so that it cannot end the hash tag or equal another id."""
    raw = entity_id.encode()
    if b"%" in raw or b"{" in raw or b"}" in raw:
        raw = raw.replace(b"%", b"%25").replace(b"{", b"%7B").replace(b"}", b"%7D")
    return raw


def short_hash(text: str) -> bytes:
    """Return the 8-byte hash that represents an event id or a distinct member."""
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


def state_digest(meaning: str) -> str:
    """Return the 8 ASCII characters that name a state of this meaning."""
    digest = hashlib.blake2b(meaning.encode(), digest_size=6).digest()
    return base64.urlsafe_b64encode(digest).decode()
