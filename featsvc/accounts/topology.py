"""Which server holds a key: one server, the primary that Sentinel names, or a Cluster's nodes."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Protocol

import hiredis

from featsvc.accounts.cluster import Cluster
from featsvc.accounts.connection import Connection, ConnectionLost, Endpoint, Reply, pack
from featsvc.accounts.link import Server
from featsvc.accounts.redis_url import parse_redis_url
from featsvc.errors import Unavailable


class Topology(Protocol):
    """Sends commands to whichever servers hold their keys."""

    async def execute(
        self, keys: Sequence[bytes], commands: Sequence[bytes], *, writes: int = 0
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


class Standalone:
    """One server."""

    def __init__(self, endpoint: Endpoint, *, timeout_ms: int, script: str, replicas: int) -> None:
        async def connect(timeout_s: float) -> Connection:
            return await Connection.open(endpoint, timeout_s=timeout_s, script=script)

        self._primary = Server(connect, timeout_ms=timeout_ms, replicas=replicas)

    async def execute(
        self, keys: Sequence[bytes], commands: Sequence[bytes], *, writes: int = 0
    ) -> list[Reply]:
        return await self._primary.execute(commands, writes=writes)

    async def close(self) -> None:
        await self._primary.close()


class Sentinel:
    """The primary of a service, asked for anew on every connection."""

    def __init__(
        self,
        sentinels: Sequence[Endpoint],
        service: str,
        server: Endpoint,
        *,
        timeout_ms: int,
        script: str,
        replicas: int,
    ) -> None:
        self._sentinels = list(sentinels)
        self._service = service
        self._server = server
        self._script = script
        self._primary = Server(self._connect, timeout_ms=timeout_ms, replicas=replicas)

    async def execute(
        self, keys: Sequence[bytes], commands: Sequence[bytes], *, writes: int = 0
    ) -> list[Reply]:
        replies = await self._primary.execute(commands, writes=writes)
        if any(isinstance(r, hiredis.ReplyError) and str(r)[:8] == "READONLY" for r in replies):
            self._primary.reset()
            raise ConnectionLost(f"Redis service {self._service!r}: the primary was demoted")
        return replies

    async def close(self) -> None:
        await self._primary.close()

    async def _connect(self, timeout_s: float) -> Connection:
        primary = await self._find_primary(timeout_s)
        connection = await Connection.open(primary, timeout_s=timeout_s, script=self._script)
        (role,) = await connection.execute([pack("ROLE")])
        if not isinstance(role, list) or role[0] != b"master":
            connection.close()
            raise Unavailable(f"Redis at {primary}: is not the primary yet")
        return connection

    async def _find_primary(self, timeout_s: float) -> Endpoint:
        trouble: Exception | None = None
        for number, sentinel in enumerate(self._sentinels):
            try:
                connection = await Connection.open(sentinel, timeout_s=timeout_s)
                ask = pack("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self._service)
                (reply,) = await connection.execute([ask])
            except Unavailable as exc:
                trouble = exc
                continue
            connection.close()
            if isinstance(reply, list) and len(reply) == 2:
                # The one that answers is asked first next time.
                self._sentinels.insert(0, self._sentinels.pop(number))
                host, port = (part for part in reply if isinstance(part, bytes))
                return replace(self._server, host=host.decode(), port=int(port))
            trouble = Unavailable(f"sentinel {sentinel}: does not know {self._service!r}")
        raise Unavailable(f"no sentinel names a primary: {trouble}")


def connect(url: str, *, timeout_ms: int, script: str = "", replicas: int = 0) -> Topology:
    """The topology that a URL names; it connects on first use. Raises ConfigInvalid."""
    parsed = parse_redis_url(url)
    if parsed.topology == "cluster":
        return Cluster(
            parsed.endpoints,
            parsed.server,
            timeout_ms=timeout_ms,
            script=script,
            replicas=replicas,
        )
    if parsed.topology == "sentinel":
        return Sentinel(
            parsed.endpoints,
            parsed.service,
            parsed.server,
            timeout_ms=timeout_ms,
            script=script,
            replicas=replicas,
        )
    return Standalone(parsed.endpoints[0], timeout_ms=timeout_ms, script=script, replicas=replicas)
