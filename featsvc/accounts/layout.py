"""Layout of an entity's state in Redis.

Each entity is one hash. The braces make everything before them one cluster slot:

    fs:{<namespace>:<entity>:<id>}:v1          "%", "{" and "}" in the id are percent-encoded

Fields of the hash, all little-endian:

    m             meta: f64 newest event ms, f64 reference ms (the rings are pruned against it)
    e             ids of the last events: 8-byte BLAKE2b each, oldest first
    <state><ring> one packed ring: records of non-empty buckets, oldest first
    <state>u      one packed list of distinct members

`<state>` is 8 characters: the base64url of a 6-byte BLAKE2b of the state's meaning (event type,
filter, kind, value, version). A changed definition therefore uses other fields, and an unchanged
one keeps its values, lifetime ones included. `<ring>` is one letter:

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

A distinct list begins with f64 evicted-at (the newest last-seen time of an evicted member) and
holds 16 bytes a member: 8-byte BLAKE2b of the member, f64 last-seen ms, oldest first. It is exact
for every window that begins after evicted-at. From the first eviction on, members also go into one
HyperLogLog per bucket of each ring, stored under the keys `fs:{...}:v1:<state><ring><bucket>`. The
hash field `<state><ring>` lists these buckets as COUNT records, so that an entity can be erased
without its past definitions.

Semantics. For counts and sums `true(w) <= value <= true(w + g)`, where g is the width of a bucket
and true(x) covers the events in (as_of - x, as_of]: a read adds up all buckets from that of
`as_of - w` to that of `as_of`. (Events between `as_of` and the end of its bucket count as well,
which matters only where `as_of` lies in the past.) A ring is pruned against the reference time:
the time of the entity's newest event, never ahead of the clock, less a minute because clocks
disagree. If `as_of` is so far back that the window begins before the oldest bucket kept, the status
is NULL_VALUE; the value is never an undercount.

Worked example: uploads at 12:00:03 and 12:00:07 UTC on 2026-01-01 (1,767,268,803,000 ms) for the
10 s ring: bucket 176,726,880 = 0x0A88A360, both in one record:

    60 a3 88 0a  02 00 00 00                           bucket 176726880, n = 2

Measured with the shipped definitions and Valkey 8.1 (MEMORY USAGE of one account, events of seven
types over 90 days, most of them recent): 20 events 1.3 kB, 200 events 4.6 kB, 20,000 events
19.9 kB. Everything that grows has a limit: buckets per ring, members per distinct list, event ids.
"""

import base64
import hashlib
from dataclasses import dataclass
from enum import IntEnum

META_FIELD = b"m"
LIFETIME_MS = 0
"""Window of `lifetime` features."""


class StateKind(IntEnum):
    """What a state keeps per bucket. The numbers are shared with ingest.lua."""

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
