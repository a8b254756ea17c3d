"""Which server holds a key: one server for now behind the seam that Sentinel and Cluster share."""

import ssl
from collections.abc import Sequence
from typing import Protocol
from urllib.parse import parse_qs, unquote, urlsplit

from featsvc.accounts.connection import Endpoint, Reply
from featsvc.accounts.link import Link
from featsvc.errors import ConfigInvalid


class Topology(Protocol):
    """Sends commands to whichever servers hold their keys."""

    async def execute(self, keys: Sequence[bytes], commands: Sequence[bytes]) -> list[Reply]:
        """One reply a command, in order; commands[i] goes where keys[i] lies."""
        ...

    async def close(self) -> None: ...


class Standalone:
    """One server."""

    def __init__(self, endpoint: Endpoint, *, timeout_ms: int, script: str) -> None:
        async def resolve() -> Endpoint:
            return endpoint

        self._link = Link(resolve, timeout_ms=timeout_ms, script=script)

    async def execute(self, keys: Sequence[bytes], commands: Sequence[bytes]) -> list[Reply]:
        return await self._link.execute(commands)

    async def close(self) -> None:
        await self._link.close()


def parse_url(url: str) -> Endpoint:
    """`redis://[user:password@]host[:port][/db]`, `rediss://` the same over TLS (`?ca=FILE`,
    `?cert=FILE&key=FILE`), `unix://[user:password@]/path[?db=N]`. Raises ConfigInvalid."""
    parts = urlsplit(url)
    query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
    username, password = unquote(parts.username or ""), unquote(parts.password or "")
    try:
        db = (
            int(query.pop("db", "") or parts.path.strip("/") or 0)
            if parts.scheme != "unix"
            else int(query.pop("db", 0))
        )
        port = parts.port or 6379
    except ValueError:
        raise ConfigInvalid("redis.url: port and database must be whole numbers") from None
    if parts.scheme == "unix":
        return Endpoint(path=unquote(parts.path), db=db, username=username, password=password)
    if parts.scheme not in ("redis", "rediss") or not parts.hostname:
        raise ConfigInvalid(
            "redis.url: write embedded, redis://HOST:PORT/DB, rediss://HOST:PORT/DB or unix:///PATH"
        )
    tls = _tls_context(query) if parts.scheme == "rediss" else None
    return Endpoint(parts.hostname, port, "", db, username, password, tls)


def _tls_context(query: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=query.get("ca"))
        if "cert" in query:
            context.load_cert_chain(query["cert"], query.get("key"))
    except (OSError, ssl.SSLError) as exc:
        raise ConfigInvalid(f"redis.url: certificate files cannot be read: {exc}") from exc
    return context


def connect(url: str, *, timeout_ms: int, script: str) -> Topology:
    """The topology that a URL names; it connects on first use. Raises ConfigInvalid."""
    return Standalone(parse_url(url), timeout_ms=timeout_ms, script=script)
