"""Which server holds a key: one server, the primary that Sentinel names, or a Cluster's nodes.

The URLs are redis-py's own, query parameters included, and two more:

    redis://[USER:PASSWORD@]HOST[:PORT][/DB]           rediss:// for TLS, with ?ssl_ca_certs=FILE
    unix://[USER:PASSWORD@]/PATH[?db=N]
    redis+sentinel://[USER:PASSWORD@]HOST[:PORT],...[/DB]?service=NAME
    redis+cluster://[USER:PASSWORD@]HOST[:PORT],...

rediss+sentinel and rediss+cluster mean TLS. Sentinels that want a password of their own get
`sentinel_username` and `sentinel_password`. Percent-encode what is special in a URL.
"""

import asyncio
import random
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NoReturn, Protocol, cast
from urllib.parse import parse_qsl, urlencode, urlsplit

from redis.asyncio import (
    ConnectionPool,
    Redis,
    RedisCluster,
    Sentinel,
    SentinelConnectionPool,
    SSLConnection,
)
from redis.asyncio.cluster import ClusterNode
from redis.asyncio.connection import AbstractConnection, parse_url
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

from featsvc.accounts.link import Command, ConnectionLost, Link, Reply
from featsvc.errors import ConfigInvalid, Overloaded, Unavailable

_CONNECT_TIMEOUT_S = 1.0
_READ_BYTES = 2**18  # many rings in one read
_ROUNDS = 4
_ROUND_PAUSE_S = 0.02
_REFRESH_PAUSE_S = 0.1
_SENTINEL_PARAMETERS = ("service", "sentinel_username", "sentinel_password")
_WORTH_ANOTHER_ROUND = (AskError, ClusterDownError, ReadOnlyError, TryAgainError)

Client = Redis | RedisCluster


class Topology(Protocol):
    """Sends commands to whichever servers hold their keys."""

    async def execute(
        self, keys: Sequence[bytes], commands: Sequence[Command], *, writes: int = 0
    ) -> list[Reply]:
        """One reply a command, in order; commands[i] goes where keys[i] lies. The first `writes`
        of them change something, and are done when the replicas asked for have them.

        Errors of single commands are values. Raises Unavailable where nothing was answered,
        ConnectionLost where it may help to send the same once more.
        """
        ...

    async def close(self) -> None:
        """Let go of every connection."""
        ...


def connect(url: str, *, timeout_ms: int, replicas: int = 0) -> Topology:
    """The topology that a URL names; it connects on first use. Raises ConfigInvalid."""
    client = open_client(url)
    if isinstance(client, RedisCluster):
        return Cluster(client, timeout_ms=timeout_ms, replicas=replicas)
    return Standalone(client, timeout_ms=timeout_ms, replicas=replicas)


def open_client(url: str, *, timeout_s: float = _CONNECT_TIMEOUT_S) -> Client:
    """redis-py's client for a URL; it connects on first use, and waits `timeout_s` for an answer.

    Raises ConfigInvalid, which never repeats what stands in the URL.
    """
    parts = urlsplit(url)
    scheme, _, kind = parts.scheme.partition("+")
    if scheme not in ("redis", "rediss", "unix") or kind not in ("", "sentinel", "cluster"):
        _fail("begins with none of unix:// redis:// rediss:// redis+sentinel:// redis+cluster://")
    database = parts.path.strip("/")
    if scheme != "unix" and database and not database.isdecimal():
        _fail("after the host stands the number of a database; percent-encode what is special")
    login, _, hosts = parts.netloc.rpartition("@")
    query = dict(parse_qsl(parts.query))
    own = {name: query.pop(name, "") for name in _SENTINEL_PARAMETERS}
    try:
        servers = [
            parse_url(
                parts._replace(
                    scheme=scheme, netloc=f"{login}@{host}", query=urlencode(query)
                ).geturl()
            )
            for host in hosts.split(",")
        ]
        if not kind and len(servers) > 1:
            _fail("several hosts: write redis+cluster:// or redis+sentinel://")
        settings: dict[str, Any] = {
            "client_name": "featsvc",
            "protocol": 2,
            "retry": Retry(NoBackoff(), 0),  # what is worth repeating is known further up
            "socket_connect_timeout": _CONNECT_TIMEOUT_S,
            "socket_read_size": _READ_BYTES,
            "socket_timeout": timeout_s,
            **servers[0],
        }
        if kind == "sentinel":
            return _sentinel_client(servers, settings, own)
        if kind == "cluster":
            return _cluster_client(servers, settings)
        pool = ConnectionPool(**settings)
        pool.make_connection()  # type: ignore[no-untyped-call]  # refuses unknown parameters
    except (OSError, RedisError, ValueError, TypeError):  # their words may hold the password
        _fail("cannot be read; percent-encode what is special, and check the parameters")
    return Redis.from_pool(pool)


Settings = Mapping[str, Any]
"""Keyword arguments of redis-py's connections."""


def _sentinel_client(
    sentinels: Sequence[Settings], settings: Settings, own: Mapping[str, str]
) -> Redis:
    """The client of whichever server the sentinels call the primary, asked on each connection."""
    if not own["service"]:
        _fail("redis+sentinel:// wants ?service=NAME, the name the sentinels know the primary by")
    shared = _without_address(settings)
    logins = {
        "db": 0,
        "username": own["sentinel_username"] or None,
        "password": own["sentinel_password"] or None,
    }
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        [(s.get("host", "localhost"), s.get("port", 26379)) for s in sentinels],
        sentinel_kwargs=shared | logins,
        **shared,
    )
    return cast(Redis, sentinel.master_for(own["service"]))


def _cluster_client(nodes: Sequence[Settings], settings: Settings) -> RedisCluster:
    if settings.get("db"):
        _fail("a cluster has database 0 only")
    return RedisCluster(
        startup_nodes=[ClusterNode(n.get("host", "localhost"), n.get("port", 6379)) for n in nodes],
        require_full_coverage=False,  # what is left goes on serving
        **_without_address(settings),
    )


def _without_address(settings: Settings) -> dict[str, Any]:
    shared = {k: v for k, v in settings.items() if k not in ("host", "port", "connection_class")}
    return shared | {"ssl": settings.get("connection_class") is SSLConnection}


def _fail(message: str) -> NoReturn:
    raise ConfigInvalid(f"redis.url: {message}; see docs/features.md", field="redis.url") from None


class _Server:
    """The links to one server: with `replicas`, confirmed writes have one of their own, because
    WAIT holds up what comes after it."""

    def __init__(
        self, name: str, acquire: Callable[[], AbstractConnection], timeout_ms: int, replicas: int
    ) -> None:
        self._link = self._writes = Link(name, acquire, timeout_ms=timeout_ms)
        if replicas:
            self._writes = Link(name, acquire, timeout_ms=timeout_ms, replicas=replicas)

    async def execute(self, commands: Sequence[Command], *, writes: int) -> list[Reply]:
        """Send commands, the first `writes` of which change something; reads see those writes."""
        if self._writes is self._link or not writes:
            return await self._link.execute(commands)
        replies = await self._writes.execute(commands[:writes])
        if len(commands) > writes:
            replies += await self._link.execute(commands[writes:])
        return replies

    async def close(self) -> None:
        await asyncio.gather(self._link.close(), self._writes.close())


class Standalone:
    """One server, or the primary of a Sentinel's service."""

    def __init__(self, client: Redis, *, timeout_ms: int, replicas: int) -> None:
        pool = client.connection_pool
        self._client = client
        self._server = _Server(_name(pool), pool.get_available_connection, timeout_ms, replicas)

    async def execute(
        self, keys: Sequence[bytes], commands: Sequence[Command], *, writes: int = 0
    ) -> list[Reply]:
        return await self._server.execute(commands, writes=writes)

    async def close(self) -> None:
        await self._server.close()
        await close_client(self._client)


async def close_client(client: Client) -> None:
    """Close its connections, those that found it as well."""
    if isinstance(client, RedisCluster):
        await client.nodes_manager.aclose()
        await client.nodes_manager.aclose("startup_nodes")
    elif isinstance(client.connection_pool, SentinelConnectionPool):
        await client.connection_pool.sentinel_manager.aclose()
    await client.aclose()


def _name(pool: ConnectionPool) -> str:
    """Where it is, for messages."""
    if isinstance(pool, SentinelConnectionPool):
        return f"service {pool.service_name!r}"
    where = pool.connection_kwargs
    return where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}"


class Cluster:
    """The nodes of a Redis Cluster; redis-py holds the table of who serves which slot.

    MOVED, ASK, TRYAGAIN and a lost node are followed within one call, a bounded number of times;
    the table is read anew when a node errs. What a node cannot answer becomes the error of its own
    commands, so that the other shards' answers are not lost. redis-py's own pipeline is not used:
    one node that is away makes it close the connections to all and pause for 250 ms.
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
            await self._first_table(timeout_s)
        give_up = asyncio.get_running_loop().time() + timeout_s
        replies: list[Reply] = [None] * len(commands)
        pending: Sequence[int] = range(len(commands))
        for round_ in range(_ROUNDS):
            await self._round(pending, keys, commands, replies, writes)
            pending = [i for i in pending if isinstance(replies[i], _WORTH_ANOTHER_ROUND)]
            if not pending or asyncio.get_running_loop().time() > give_up:
                break
            self._refresh()
            if round_ + 1 < _ROUNDS and not isinstance(replies[pending[0]], AskError):
                await asyncio.sleep(_ROUND_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311
        return replies

    async def close(self) -> None:
        if self._refreshing:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        await asyncio.gather(*(server.close() for server in self._servers.values()))
        await close_client(self._client)

    async def _round(
        self,
        pending: Sequence[int],
        keys: Sequence[bytes],
        commands: Sequence[Command],
        replies: list[Reply],
        writes: int,
    ) -> None:
        """Send what is pending to where it belongs, or where the last reply redirects it."""
        shares: dict[ClusterNode, list[int]] = {}
        asking: set[int] = set()
        for i in pending:
            try:
                node = await self._node(keys[i], replies[i])
            except SlotNotCoveredError as exc:
                replies[i] = ClusterDownError(str(exc))
                continue
            if isinstance(replies[i], AskError) and not isinstance(replies[i], MovedError):
                asking.add(i)
            shares.setdefault(node, []).append(i)
        await asyncio.gather(
            *(
                self._send(node, members, commands, replies, asking, writes)
                for node, members in shares.items()
            )
        )

    async def _node(self, key: bytes, last: Reply) -> ClusterNode:
        """Raises SlotNotCoveredError."""
        nodes = self._client.nodes_manager
        if isinstance(last, MovedError):
            await nodes.move_slot(last)
        elif isinstance(last, AskError) and (
            node := nodes.get_node(host=last.host, port=last.port)
        ):
            return node
        return nodes.get_node_from_slot(self._client.keyslot(key))

    async def _send(
        self,
        node: ClusterNode,
        members: Sequence[int],
        commands: Sequence[Command],
        replies: list[Reply],
        asking: Collection[int],
        writes: int,
    ) -> None:
        """One node's share. What it does not answer becomes the members' error."""
        share: list[Command] = []
        own_writes = 0
        for i in members:
            share += (("ASKING",), commands[i]) if i in asking else (commands[i],)
            if i < writes:
                own_writes = len(share)
        try:
            answers = iter(await self._server(node).execute(share, writes=own_writes))
        except (Unavailable, Overloaded) as exc:
            # Only a lost connection is worth another round: the rest has used up its time.
            kind = ClusterDownError if isinstance(exc, ConnectionLost) else ResponseError
            for i in members:
                replies[i] = kind(str(exc))
            self._refresh()
            return
        for i in members:
            if i in asking:
                next(answers)
            replies[i] = next(answers)

    def _server(self, node: ClusterNode) -> _Server:
        if node not in self._servers:
            self._servers[node] = _Server(
                node.name, node.acquire_connection, self._timeout_ms, self._replicas
            )
        return self._servers[node]

    async def _first_table(self, timeout_s: float) -> None:
        try:
            # Shielded: others wait for the same table when this caller is cancelled.
            await asyncio.wait_for(asyncio.shield(self._refresh()), timeout_s)
        except TimeoutError:
            raise Unavailable("Redis Cluster: no slot table in time", retry_after_ms=500) from None
        except (RedisError, OSError) as exc:
            raise Unavailable(f"Redis Cluster: {exc}", retry_after_ms=500) from exc

    def _refresh(self) -> "asyncio.Task[None]":
        """Read the slot table anew, in the background, at most every `_REFRESH_PAUSE_S`."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._read_slots(), name="cluster-slots")
            # Its failure is seen by whoever awaits it; others are served from the old table.
            self._refreshing.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._refreshing

    async def _read_slots(self) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.sleep(self._refreshed_at + _REFRESH_PAUSE_S - loop.time())
        nodes = self._client.nodes_manager
        await nodes.initialize()
        self._refreshed_at = loop.time()
        known = set(nodes.nodes_cache.values())
        gone = [node for node in self._servers if node not in known]
        for node in gone:
            await self._servers.pop(node).close()
