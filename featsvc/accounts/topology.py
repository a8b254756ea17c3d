"""Routing of commands to servers: one server, the primary that Sentinel names, or a Cluster.

The URLs are redis-py's own, query parameters included, and two more schemes:

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]           rediss:// for TLS, with ?ssl_ca_certs=FILE
    unix://[USER:PASSWORD@]/PATH[?db=N]
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],...[/DB]?service=NAME
    redis+cluster://[USER:PASSWORD@]HOST[:PORT],...

rediss+sentinel and rediss+cluster use TLS. The parameters `sentinel_username` and
`sentinel_password` log in to the sentinels themselves. Percent-encode special characters.
"""

import asyncio
import itertools
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn, Protocol, cast

from redis.asyncio import (
    ConnectionPool,
    Redis,
    RedisCluster,
    Sentinel,
    SentinelConnectionPool,
    SSLConnection,
)
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import (
    AskError,
    ClusterDownError,
    MovedError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    SlotNotCoveredError,
    TryAgainError,
)

from featsvc.accounts.connections import Command, Received, Reply
from featsvc.accounts.pipelining import (
    CONNECT_TIMEOUT_S,
    RETRY_AFTER_MS,
    ConnectionLost,
    Pipeliner,
)
from featsvc.accounts.queueing import fits_pipeline
from featsvc.addresses import parse_redis_url
from featsvc.errors import ConfigInvalid, Overloaded, Unavailable

_READ_BYTES = 2**18  # many rings in one read
_FEWEST_ROUNDS = 4  # even if the event loop was blocked for as long as the call may take
_ROUND_PAUSE_S = 0.02
_REFRESH_PAUSE_S = 0.1
_RETRIED_ERRORS = (AskError, ClusterDownError, ReadOnlyError, TryAgainError)

Client = Redis | RedisCluster


class Topology(Protocol):
    """Sends each command to the server that holds its key."""

    async def execute(
        self, keys: Sequence[bytes], commands: Sequence[Command], *, writes: int = 0
    ) -> list[Reply]:
        """Send commands[i] to the server of keys[i]; return one reply each, in order.

        The first `writes` commands are writes, which must reach the configured number of replicas.
        Errors of single commands are values. Raises Unavailable where no command was answered,
        ConnectionLost where sending the same commands once more may help.
        """
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def connect(url: str, *, timeout_ms: int, replicas: int = 0) -> Topology:
    """Return the topology of a URL; it connects on first use. Raises ConfigInvalid."""
    client = open_client(url)
    if isinstance(client, RedisCluster):
        return Cluster(client, timeout_ms=timeout_ms, replicas=replicas)
    return Standalone(client, timeout_ms=timeout_ms, replicas=replicas)


def open_client(url: str, *, timeout_s: float = CONNECT_TIMEOUT_S) -> Client:
    """Return redis-py's client for a URL; it connects on first use, `timeout_s` limits each reply.

    Raises ConfigInvalid, which never repeats any part of the URL.
    """
    try:
        parsed = parse_redis_url(url)
    except ValueError as exc:
        _fail(str(exc))
    settings: dict[str, Any] = {
        "client_name": "featsvc",
        "protocol": 2,
        "retry": Retry(NoBackoff(), 0),  # the callers know which commands to repeat
        "socket_connect_timeout": CONNECT_TIMEOUT_S,
        "socket_read_size": _READ_BYTES,
        "socket_timeout": timeout_s,
        **parsed.servers[0],
    }
    try:
        if parsed.kind == "sentinel":
            return _sentinel_client(parsed.servers, settings, parsed.sentinel)
        if parsed.kind == "cluster":
            return _cluster_client(parsed.servers, settings)
        return Redis.from_pool(ConnectionPool(**settings))
    except (RedisError, ValueError, TypeError):  # their texts may hold the password
        _fail("has query parameters that redis-py does not take for this kind of server")


Settings = Mapping[str, Any]
"""Keyword arguments of redis-py's connections."""


def _sentinel_client(
    sentinels: Sequence[Settings], settings: Settings, parameters: Mapping[str, str]
) -> Redis:
    """Return a client of the primary; every new connection asks the sentinels for its address."""
    shared = _without_address(settings)
    logins = {
        "db": 0,
        "username": parameters["sentinel_username"] or None,
        "password": parameters["sentinel_password"] or None,
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [(s.get("host", "localhost"), s.get("port", 26379)) for s in sentinels],
        sentinel_kwargs=shared | logins,
        **shared,
    )
    return cast(Redis, sentinel.master_for(parameters["service"]))


def _cluster_client(nodes: Sequence[Settings], settings: Settings) -> RedisCluster:
    return RedisCluster(
        startup_nodes=[ClusterNode(n.get("host", "localhost"), n.get("port", 6379)) for n in nodes],
        require_full_coverage=False,  # keep serving the slots that are covered
        **_without_address(settings),
    )


def _without_address(settings: Settings) -> dict[str, Any]:
    shared = {k: v for k, v in settings.items() if k not in ("host", "port", "connection_class")}
    return shared | {"ssl": settings.get("connection_class") is SSLConnection}


def _fail(message: str) -> NoReturn:
    raise ConfigInvalid(f"redis.url: {message}; see docs/features.md", field="redis.url") from None


class _Server:
    """The pipeliners of one server.

    With `replicas`, writes have their own pipeliner, because WAIT blocks the commands after it.
    """

    def __init__(
        self, name: str, acquire: Callable[[], AbstractConnection], timeout_ms: int, replicas: int
    ) -> None:
        received = Received()
        self._reads = self._writes = Pipeliner(
            name, acquire, timeout_ms=timeout_ms, received=received
        )
        if replicas:
            self._writes = Pipeliner(
                name, acquire, timeout_ms=timeout_ms, replicas=replicas, received=received
            )

    @property
    def is_idle(self) -> bool:
        return self._reads.is_idle and self._writes.is_idle

    async def execute(self, commands: Sequence[Command], *, writes: int) -> list[Reply]:
        """Send commands, the first `writes` of which are writes; reads see those writes."""
        if not writes:
            return await self._reads.execute(commands)
        if self._writes is self._reads and (len(commands) == writes or fits_pipeline(commands)):
            return await self._writes.execute(commands)
        replies = await self._writes.execute(commands[:writes])
        if len(commands) > writes:
            replies += await self._reads.execute(commands[writes:])
        return replies

    async def close(self) -> None:
        await asyncio.gather(self._reads.close(), self._writes.close())


class Standalone:
    """One server, or the primary of a Sentinel service."""

    def __init__(self, client: Redis, *, timeout_ms: int, replicas: int) -> None:
        pool = client.connection_pool
        self._client = client
        self._by_sentinel = isinstance(pool, SentinelConnectionPool)
        self._server = _Server(_name(pool), pool.get_available_connection, timeout_ms, replicas)

    async def execute(
        self, keys: Sequence[bytes], commands: Sequence[Command], *, writes: int = 0
    ) -> list[Reply]:
        replies = await self._server.execute(commands, writes=writes)
        if self._by_sentinel and any(isinstance(reply, ReadOnlyError) for reply in replies):
            raise ConnectionLost("Redis: the primary has become a replica")
        return replies

    async def close(self) -> None:
        await self._server.close()
        await close_client(self._client)


async def close_client(client: Client) -> None:
    """Close a client's connections, including those to sentinels and startup nodes."""
    if isinstance(client, RedisCluster):
        await client.nodes_manager.aclose()
        await client.nodes_manager.aclose("startup_nodes")
    elif isinstance(client.connection_pool, SentinelConnectionPool):
        await client.connection_pool.sentinel_manager.aclose()
    await client.aclose()


def _name(pool: ConnectionPool) -> str:
    """Return the server's address for messages."""
    if isinstance(pool, SentinelConnectionPool):
        return f"service {pool.service_name!r}"
    settings = pool.connection_kwargs
    return (
        settings.get("path") or f"{settings.get('host', 'localhost')}:{settings.get('port', 6379)}"
    )


class Cluster:
    """The nodes of a Redis Cluster; redis-py keeps the slot table.

    One call follows MOVED, ASK, TRYAGAIN and a lost node for `timeout_ms`, and an erring node
    triggers a refresh of the slot table. A node's failure becomes the error of its own
    commands, so that the replies of the other shards are not lost. redis-py's own pipeline is not
    used: if one node is down, it closes the connections to all nodes and pauses for 250 ms.
    """

    def __init__(self, client: RedisCluster, *, timeout_ms: int, replicas: int) -> None:
        self._client = client
        self._timeout_ms = timeout_ms
        self._replicas = replicas
        self._servers: dict[ClusterNode, _Server] = {}
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = -_REFRESH_PAUSE_S

    async def execute(
        self, keys: Sequence[bytes], commands: Sequence[Command], *, writes: int = 0
    ) -> list[Reply]:
        timeout_s = self._timeout_ms / 1000
        if not self._client.nodes_manager.slots_cache:
            await self._load_slots(timeout_s)
        deadline = asyncio.get_running_loop().time() + timeout_s
        replies: list[Reply] = [None] * len(commands)
        pending: Sequence[int] = range(len(commands))
        for round_ in itertools.count(1):
            await self._send_round(pending, keys, commands, replies, writes)
            pending = [i for i in pending if isinstance(replies[i], _RETRIED_ERRORS)]
            late = asyncio.get_running_loop().time() > deadline
            if not pending or (late and round_ >= _FEWEST_ROUNDS):
                break
            self._refresh_slots()
            # A redirection is followed at once, but nodes that disagree send to each other.
            if round_ > 1 or not isinstance(replies[pending[0]], AskError):
                await asyncio.sleep(_ROUND_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311
        return replies

    async def close(self) -> None:
        if self._refreshing:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        await asyncio.gather(*(server.close() for server in self._servers.values()))
        await close_client(self._client)

    async def _send_round(
        self,
        pending: Sequence[int],
        keys: Sequence[bytes],
        commands: Sequence[Command],
        replies: list[Reply],
        writes: int,
    ) -> None:
        """Send pending commands to their nodes, or to where the last reply redirects them."""
        by_node: dict[ClusterNode, list[int]] = {}
        asking: set[int] = set()
        for i in pending:
            try:
                node = await self._node(keys[i], replies[i])
            except SlotNotCoveredError as exc:
                replies[i] = ClusterDownError(str(exc))
                continue
            if isinstance(replies[i], AskError) and not isinstance(replies[i], MovedError):
                asking.add(i)
            by_node.setdefault(node, []).append(i)
        await asyncio.gather(
            *(
                self._send(node, indices, commands, replies, asking, writes)
                for node, indices in by_node.items()
            )
        )

    async def _node(self, key: bytes, last_reply: Reply) -> ClusterNode:
        """Return the node to send to. Raises SlotNotCoveredError."""
        nodes = self._client.nodes_manager
        slot = self._client.keyslot(key)
        if isinstance(last_reply, MovedError):
            if slot in nodes.slots_cache:
                await nodes.move_slot(last_reply)
        elif isinstance(last_reply, AskError):
            host, port = last_reply.host, last_reply.port
            # A node that gets its first slot is not in the slot table yet.
            return nodes.get_node(host=host, port=port) or ClusterNode(
                host, port, **nodes.connection_kwargs
            )
        if slot not in nodes.slots_cache:
            raise SlotNotCoveredError(f"slot {slot} is not covered by the cluster")
        return nodes.get_node_from_slot(slot)

    async def _send(
        self,
        node: ClusterNode,
        indices: Sequence[int],
        commands: Sequence[Command],
        replies: list[Reply],
        asking: Collection[int],
        writes: int,
    ) -> None:
        """Send one node its commands; if it does not answer, each of them gets an error."""
        sent: list[Command] = []
        sent_writes = 0
        for i in indices:
            sent += (("ASKING",), commands[i]) if i in asking else (commands[i],)
            if i < writes:
                sent_writes = len(sent)
        try:
            received = iter(await self._server(node).execute(sent, writes=sent_writes))
        except (Unavailable, Overloaded) as exc:
            # Retry only a lost connection: the other failures have used up their time.
            error = ClusterDownError if isinstance(exc, ConnectionLost) else ResponseError
            for i in indices:
                replies[i] = error(str(exc))
            self._refresh_slots()
            return
        for i in indices:
            if i in asking:
                next(received)
            replies[i] = next(received)

    def _server(self, node: ClusterNode) -> _Server:
        if node not in self._servers:
            self._servers[node] = _Server(
                node.name, node.acquire_connection, self._timeout_ms, self._replicas
            )
        return self._servers[node]

    async def _load_slots(self, timeout_s: float) -> None:
        try:
            timeout_s += CONNECT_TIMEOUT_S  # the table is read over a new connection
            # Shielded: other callers wait for the same table if this one is cancelled.
            await asyncio.wait_for(asyncio.shield(self._refresh_slots()), timeout_s)
        except (RedisError, OSError) as exc:  # TimeoutError among them, whose text is empty
            raise Unavailable(
                f"Redis Cluster: cannot load the slot table: {str(exc) or 'timed out'}",
                retry_after_ms=RETRY_AFTER_MS,
            ) from exc

    def _refresh_slots(self) -> "asyncio.Task[None]":
        """Reload the slot table in the background, at most every `_REFRESH_PAUSE_S`."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._read_slots(), name="cluster-slots")
            # Retrieves the exception: where nobody awaits the task, the old table stays in use.
            self._refreshing.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._refreshing

    async def _read_slots(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._refreshed_at + _REFRESH_PAUSE_S - loop.time())
        nodes = self._client.nodes_manager
        await nodes.initialize()
        self._refreshed_at = loop.time()
        known = set(nodes.nodes_cache.values())
        # A node without slots is not in the table, but may be about to get or have just lost one.
        gone = [node for node in self._servers if node not in known]
        unused = [self._servers.pop(node) for node in gone if self._servers[node].is_idle]
        await asyncio.gather(*(server.close() for server in unused))
