"""Counts what is left of the layout of keys before entities had one key each.

Such an entity's hash has a field `m` of 16 bytes, and HyperLogLogs and an id set under keys of
their own, `fs:{<namespace>:<entity>:<id>}:v1:<name>`. Its next event takes all of it into the hash;
the id set expires, since old services look there.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from redis.asyncio import RedisCluster
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import NoPermissionError, RedisError, ResponseError

from featsvc.accounts.layout import KEY_SUFFIX, META_FIELD, OLD_META_BYTES
from featsvc.accounts.topology import close_client, open_client
from featsvc.errors import Unavailable

_KEYS_PER_SCAN = 1000


@dataclass(frozen=True, slots=True)
class LegacyCount:
    """`hashes` and `keys` of the old layout among `scanned` of the `total` keys of all primaries.

    `scanned` is an estimate while it is less than `total`: Redis scans slots of its table.
    """

    scanned: int
    total: int
    hashes: int
    keys: int


async def count_legacy(
    url: str, namespace: str, *, max_keys: int = 200_000, max_s: float = 5.0
) -> LegacyCount:
    """Scan every primary until all keys, `max_keys` or `max_s` are spent, each its share.

    Blocks Redis for no longer than one SCAN of 1,000 keys. Raises Unavailable, also where the ACL
    forbids SCAN, DBSIZE or HSTRLEN, and ConfigInvalid for a wrong URL.
    """
    client = open_client(url)
    try:
        if isinstance(client, RedisCluster):
            await client.initialize()
            acquire = [node.acquire_connection for node in client.get_primaries()]
        else:
            acquire = [client.connection_pool.get_available_connection]
        share = max(1, max_keys // max(1, len(acquire)))
        scans = [_count_on_primary(each, namespace, share, max_s) for each in acquire]
        counts = await asyncio.gather(*scans)
    except NoPermissionError as exc:
        raise Unavailable(f"Redis: {exc}; grant the ACL user +scan, +dbsize and +hstrlen") from exc
    except (RedisError, OSError) as exc:
        raise Unavailable(f"Redis: {exc}") from exc
    finally:
        await close_client(client)
    return LegacyCount(
        scanned=sum(count.scanned for count in counts),
        total=sum(count.total for count in counts),
        hashes=sum(count.hashes for count in counts),
        keys=sum(count.keys for count in counts),
    )


async def _count_on_primary(
    acquire: Callable[[], AbstractConnection], namespace: str, max_keys: int, max_s: float
) -> LegacyCount:
    connection = acquire()
    loop = asyncio.get_running_loop()
    deadline = loop.time() + max_s
    try:
        await connection.connect()  # type: ignore[no-untyped-call]
        (total,) = await _execute(connection, [("DBSIZE",)])
        cursor: bytes = b"0"
        scanned = hashes = keys = 0
        pattern = f"fs:{{{namespace}:*"
        while True:
            scan = ("SCAN", cursor, "MATCH", pattern, "COUNT", _KEYS_PER_SCAN)
            ((cursor, found),) = await _execute(connection, [scan])
            scanned = min(scanned + _KEYS_PER_SCAN, total)
            keys += sum(KEY_SUFFIX + b":" in key for key in found)
            entities = [key for key in found if key.endswith(KEY_SUFFIX)]
            sizes = await _execute(connection, [("HSTRLEN", key, META_FIELD) for key in entities])
            hashes += sum(size == OLD_META_BYTES for size in sizes)
            if cursor == b"0":
                return LegacyCount(total, total, hashes, keys)
            if scanned >= max_keys or loop.time() > deadline:
                return LegacyCount(scanned, total, hashes, keys)
    finally:
        await connection.disconnect(nowait=True)


async def _execute(
    connection: AbstractConnection, commands: Sequence[tuple[str | bytes | int, ...]]
) -> list[Any]:
    """Return one reply each; None for a command that the kind of its key does not have."""
    if not commands:
        return []
    await connection.send_packed_command(connection.pack_commands(commands))
    replies: list[Any] = []
    for _ in commands:
        try:
            replies.append(await connection.read_response())
        except NoPermissionError:
            raise
        except ResponseError:  # WRONGTYPE
            replies.append(None)
    return replies
