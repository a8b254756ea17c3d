"""Takes over what old services, of the first layout, keep of an entity in other places.

They share rings, lists and meta with this version. They differ in these:

    e                     field: the last event ids, 8 bytes each
    <key>:e               sorted set of event ids, with `[dedup] horizon`
    <state><ring>         field of a distinct state: COUNT records of the buckets that have a
    <key>:<state><ring><bucket>   HyperLogLog of Redis

An old service leaves 16 bytes in the field `m`. The ingest script then answers ADOPT, and changes
nothing: it cannot read other keys, which in a Cluster may be on the move. So the client reads them,
and repeats the call with what it found; the script takes that over in the same write, if nothing
has changed meanwhile. While old services run beside new ones, an entity is adopted again after each
of their writes. They go on knowing the ids of new ones, but not the sketches: the script adds ids
to the field `e`, and `share` to the id set, right after the call. The set expires with its last
write.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from featsvc_kernels.sketch import REGISTERS, add_redis_hyperloglog, add_sketch, encode
from numpy.typing import NDArray
from redis.exceptions import RedisError

from featsvc.accounts.events import MAX_SKEW_MS
from featsvc.accounts.layout import RING_OF
from featsvc.accounts.pipelining import Command, Reply
from featsvc.accounts.topology import Topology

ASKED = "ADOPT"
"""How the script's error begins that asks for an adoption."""

_MAX_TRIES = 5
_COUNT_BYTES = 8
_ID_BYTES = 8
_ADOPTED = slice(16, 24)  # of the field `n`

# Deletes a HyperLogLog unless it has changed since it was read.
_DELETE_UNCHANGED = (
    "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) end return 0"
)


def is_asked_for(reply: Reply) -> bool:
    """Return whether the ingest script asks for an adoption."""
    return isinstance(reply, RedisError) and str(reply).startswith(ASKED)


@dataclass(frozen=True, slots=True)
class _HyperLogLog:
    """One of Redis' HyperLogLogs, and the field that its sketch gets."""

    index: bytes  # <state><ring>
    bucket: int

    @property
    def suffix(self) -> bytes:
        return b"%b%d" % (self.index, self.bucket)

    @property
    def field(self) -> bytes:
        return b"%b#%d" % (self.index, self.bucket)


def id_set_key(key: bytes) -> bytes:
    """Return the key of the id set that an old service with a horizon keeps of an entity."""
    return key + b":e"


def share(key: bytes, ids: Sequence[bytes], now_ms: int, horizon_ms: int) -> list[Command]:
    """Return the commands that add applied ids to the id set of an entity."""
    scored = [part for id_ in ids for part in (now_ms, id_)]
    id_set = id_set_key(key)
    return [("ZADD", id_set, *scored), ("PEXPIRE", id_set, horizon_ms)]


async def adopt(
    topology: Topology, key: bytes, command: Command, digests: Sequence[str], now_ms: int
) -> tuple[Reply, bool]:
    """Repeat an ingest call that was answered with ADOPT; return its reply.

    `digests` are those of the entity's distinct states. Also returns whether old services have id
    sets. Raises Unavailable.
    """
    reply: Reply = None
    has_id_set = False
    for _ in range(_MAX_TRIES):
        old = await _read(topology, key, digests)
        if isinstance(old, RedisError):
            return old, has_id_set
        has_id_set = bool(old.id_set)
        (reply,) = await topology.execute([key], [(*command, *old.arguments())], writes=1)
        if not is_asked_for(reply):
            if not isinstance(reply, RedisError):
                keys, commands = old.deletions(now_ms)
                await topology.execute(keys, commands, writes=len(commands))
            break
    return reply, has_id_set


def outside_keys(key: bytes, digests: Sequence[str], now_ms: int) -> list[bytes]:
    """Return every key that an old service may have of an entity besides its hash."""
    keys = [id_set_key(key)]
    for digest in digests:
        keys += _sketch_keys(key, digest.encode(), now_ms)
    return keys


def _sketch_keys(key: bytes, digest: bytes, now_ms: int) -> list[bytes]:
    """Return the keys of all HyperLogLogs of a state that may not have expired yet."""
    keys = []
    for letter, ring in RING_OF.items():
        newest = now_ms // ring.width_ms + 1 if ring.width_ms else 0
        # An event may come as late as the ring allows, and its key stays for a ring from then on.
        first = newest - 2 * ring.buckets - 2 if ring.width_ms else 0
        stem = b"%b:%b%b" % (key, digest, letter.encode())
        keys += [b"%b%d" % (stem, bucket) for bucket in range(first, newest + 1)]
    return keys


@dataclass(slots=True)
class _Old:
    """What an old service keeps of one entity."""

    key: bytes
    notes: bytes
    ids: bytes
    newest_ms: float
    id_set: list[bytes]
    found: list[_HyperLogLog]
    texts: list[bytes]
    sketches: list[bytes]
    listed: dict[bytes, bytes]

    def arguments(self) -> list[bytes | int]:
        """Return the further arguments of the ingest script."""
        stamp = int(-(-self.newest_ms // 1000)).to_bytes(4, "little")
        ids = [self.ids[at : at + _ID_BYTES] for at in range(0, len(self.ids), _ID_BYTES)]
        packed = b"".join(id_ + stamp for id_ in (*ids, *self.id_set))
        sets: list[bytes] = []
        buckets: dict[bytes, list[int]] = {}
        for hyperloglog, text, sketch in zip(self.found, self.texts, self.sketches, strict=True):
            if text:
                sets += hyperloglog.field, _union(text, sketch)
                buckets.setdefault(hyperloglog.index, []).append(hyperloglog.bucket)
        for index, added in buckets.items():
            listed = np.frombuffer(self.listed[index], "<u4")
            sets += index + b"#", np.union1d(listed, np.array(added, "<u4")).astype("<u4").tobytes()
        deletes = sorted({hyperloglog.index for hyperloglog in self.found})
        return [self.notes, self.ids, packed, len(sets) // 2, *sets, *deletes]

    def deletions(self, now_ms: int) -> tuple[list[bytes], list[Command]]:
        """Return the commands that delete what was taken over, and their keys."""
        keys: list[bytes] = []
        commands: list[Command] = []
        names = [self.key + b":" + hyperloglog.suffix for hyperloglog in self.found]
        read = dict(zip(names, self.texts, strict=True))
        for name, text in read.items():
            keys.append(name)
            commands.append(("EVAL", _DELETE_UNCHANGED, 1, name, text))
        for digest in {h.index[:-1] for h in self.found}:
            for name in _sketch_keys(self.key, digest, now_ms):
                if name not in read:
                    keys.append(name)
                    commands.append(("DEL", name))
        return keys, commands


async def _read(topology: Topology, key: bytes, digests: Sequence[str]) -> _Old | RedisError:
    """Read what an old service keeps of an entity, in two round trips; return Redis' error.

    Of its id set, the ids since the last adoption: their scores are the times of a clock.
    """
    indices = [f"{digest}{letter}".encode() for digest in digests for letter in RING_OF]
    sketch_lists = [index + b"#" for index in indices]
    (fields,) = await topology.execute(
        [key], [("HMGET", key, "m", "n", "e", *indices, *sketch_lists)]
    )
    if isinstance(fields, RedisError):
        return fields
    meta, notes, ids, *rest = [part or b"" for part in cast(list[bytes | None], fields)]
    counts = rest[: len(indices)]
    found = [
        _HyperLogLog(index, bucket)
        for index, count in zip(indices, counts, strict=True)
        for bucket in np.frombuffer(count[: len(count) // _COUNT_BYTES * _COUNT_BYTES], "<u4")[::2]
    ]
    keys = [key + b":" + hyperloglog.suffix for hyperloglog in found]
    stored_names = [hyperloglog.field for hyperloglog in found] or [b"m"]
    adopted_ms = np.frombuffer(notes[_ADOPTED], "<f8").sum()
    since_ms = int(max(adopted_ms - 2 * MAX_SKEW_MS, 0))
    *read, stored, id_set = await topology.execute(
        [*keys, key, id_set_key(key)],
        [
            *(("GET", name) for name in keys),
            ("HMGET", key, *stored_names),
            ("ZRANGEBYSCORE", id_set_key(key), since_ms, "+inf"),
        ],
    )
    if isinstance(stored, RedisError):
        return stored
    texts = [text if isinstance(text, bytes) else b"" for text in read]
    sketches = [part or b"" for part in cast(list[bytes | None], stored)][: len(found)]
    return _Old(
        key=key,
        notes=notes,
        ids=ids,
        newest_ms=float(np.frombuffer(meta[:8], "<f8")[0]) if len(meta) >= _ID_BYTES else 0.0,
        id_set=cast(list[bytes], id_set) if isinstance(id_set, list) else [],
        found=found,
        texts=texts,
        sketches=sketches,
        listed=dict(zip(indices, rest[len(indices) :], strict=True)),
    )


def _union(hyperloglog: bytes, sketch: bytes) -> bytes:
    """Return the sketch of both; what is neither is left out."""
    registers: NDArray[np.uint8] = np.zeros(REGISTERS, np.uint8)
    if not add_redis_hyperloglog(np.frombuffer(hyperloglog, np.uint8), registers):
        return sketch
    both = registers.copy()
    is_sketch = add_sketch(np.frombuffer(sketch, np.uint8), both)
    return encode(both if is_sketch else registers)
