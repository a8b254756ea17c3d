"""Addresses in the configuration: HOST:PORT, a client's target, the URLs of the two stores.

They are parsed here only, so that a wrong one is refused when the configuration is read; nothing is
connected. Every function raises ValueError, whose text says what to write. The text never repeats
any part of a URL that may be a password, so it does not chain the errors of the parsers, which do.
"""

import ipaddress
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, parse_qsl, urlencode, urlsplit

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

MAX_PORT = 2**16 - 1
POSTGRESQL = "postgresql+psycopg"
_SQLITE = ("sqlite", "sqlite+pysqlite")
_DATABASE_HINT = f"sqlite:////ABSOLUTE/FILE or {POSTGRESQL}://USER:PASSWORD@HOST/NAME"
_REDIS_HINT = "unix://, redis://, rediss://, redis+sentinel:// or redis+cluster://"
_SENTINEL_PARAMETERS = ("service", "sentinel_username", "sentinel_password")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9._-]*[A-Za-z0-9_.])?")
# Name resolvers of gRPC: the rest of such a target is for them.
_RESOLVED = re.compile(r"(?:dns|unix|unix-abstract|ipv4|ipv6|vsock|xds):.", re.DOTALL)


def split_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT, where PORT is 0 to 65535; an IPv6 host keeps its brackets."""
    host, colon, port = address.rpartition(":")
    if "/" in address or "@" in address:
        raise ValueError("must be HOST:PORT, not a URL or a path")
    if address.count(":") > 1 and not host.endswith("]"):
        raise ValueError("must be HOST:PORT; put an IPv6 host into brackets, as in [::1]:50051")
    if not colon:
        raise ValueError("must be HOST:PORT; it has no port")
    if not host:
        raise ValueError(
            f"must be HOST:PORT; the host is missing, such as 127.0.0.1{colon}{port[:5]}"
        )
    if not re.fullmatch("[0-9]{1,5}", port) or int(port) > MAX_PORT:
        raise ValueError(f"must be HOST:PORT, where PORT is a number from 0 to {MAX_PORT}")
    if not _is_host(host):
        raise ValueError("must be HOST:PORT, where HOST is a name or an IP address")
    return host, int(port)


def _is_host(host: str) -> bool:
    try:
        if host.startswith("["):
            return host.endswith("]") and bool(ipaddress.IPv6Address(host[1:-1]))
        if re.fullmatch(r"[0-9.]+", host):
            return ipaddress.IPv4Address(host) is not None
    except ValueError:
        return False
    return _HOST.fullmatch(host) is not None


def check_target(target: str) -> str:
    """Return the target of a client: HOST:PORT, or one with a scheme that gRPC knows.

    `dns:///HOST:PORT`, `unix:PATH` and the like are not checked further.
    """
    if _RESOLVED.match(target):
        return target
    if _is_host(target):
        raise ValueError(f"has no port; write {target}:50051")
    if "://" in target:
        raise ValueError("is a web address; write HOST:PORT, such as localhost:50051")
    _, port = split_address(target)
    if not port:
        raise ValueError("must be HOST:PORT, where PORT is a number from 1 to 65535")
    return target


def parse_database_url(url: str) -> "URL":
    """Parse the SQLAlchemy URL of the banks: SQLite with an absolute file, or PostgreSQL."""
    # Imported late, here and below: most configurations name no store.
    from sqlalchemy import exc, make_url  # noqa: PLC0415

    try:
        parsed = make_url(url)
    except (exc.ArgumentError, ValueError):
        raise ValueError(
            f"is no database URL; write {_DATABASE_HINT}, and percent-encode special characters"
        ) from None
    if parsed.drivername in _SQLITE:
        _check_sqlite(parsed)
    elif parsed.drivername == POSTGRESQL:
        _check_postgresql(parsed)
    elif parsed.get_backend_name() in ("postgresql", "postgres"):
        raise ValueError(f"names a driver that is not installed; write {_suggested(parsed)}")
    else:
        raise ValueError(f"names a database that is not supported; write {_DATABASE_HINT}")
    return parsed


def _check_sqlite(parsed: "URL") -> None:
    if parsed.host or parsed.username or parsed.port:
        raise ValueError("names a host; write sqlite:////ABSOLUTE/FILE, with four slashes")
    if not parsed.database or parsed.database == ":memory:":
        raise ValueError("must name a file: all workers must be able to open the database")
    if not Path(parsed.database).is_absolute():
        raise ValueError(
            "names a file relative to the working folder; write sqlite:////ABSOLUTE/FILE, with "
            "four slashes"
        )
    if parsed.query:
        raise ValueError("has parameters, which SQLite does not take here; remove them")


def _check_postgresql(parsed: "URL") -> None:
    import psycopg  # noqa: PLC0415
    from psycopg.conninfo import make_conninfo  # noqa: PLC0415

    _check_server(parsed.host or "", parsed.port)
    try:
        _, arguments = parsed.get_dialect()().create_connect_args(parsed)
        make_conninfo("", **arguments)
    except (psycopg.Error, ValueError, TypeError):
        raise ValueError("has parameters that PostgreSQL's libpq does not know") from None


def _check_server(host: str, port: int | None) -> None:
    """Refuse what parsers take for a host if a password has characters that are not encoded."""
    if host and not (_is_host(host) or _is_host(f"[{host}]")):
        raise ValueError("has no valid host; percent-encode special characters of the password")
    if port is not None and not 1 <= port <= MAX_PORT:
        raise ValueError(f"must have a port from 1 to {MAX_PORT}")


def _suggested(parsed: "URL") -> str:
    if parsed.host and not _is_host(parsed.host):
        return _DATABASE_HINT
    plain = _shown(parsed, POSTGRESQL)
    login = ":".join(
        word for word, given in (("USER", parsed.username), ("PASSWORD", parsed.password)) if given
    )
    return plain.replace("://", f"://{login}@" if login else "://", 1)


def _shown(parsed: "URL", driver: str) -> str:
    from sqlalchemy.engine import URL  # noqa: PLC0415

    # `parsed.set` could not remove the user.
    plain = URL.create(driver, host=parsed.host, port=parsed.port, database=parsed.database)
    return plain.render_as_string()


def shown_database_url(url: str) -> str:
    """Return a URL of `parse_database_url` without user, password and parameters."""
    parsed = parse_database_url(url)
    return _shown(parsed, parsed.drivername)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """A parsed Redis URL.

    `kind` is "" for one server, "sentinel" or "cluster". `servers` are redis-py's arguments of each
    host, `sentinel` the parameters of the sentinels.
    """

    scheme: str
    kind: str
    servers: tuple[Mapping[str, Any], ...]
    sentinel: Mapping[str, str]

    def shown(self) -> str:
        """Return the URL without user, password and parameters."""
        scheme = f"{self.scheme}+{self.kind}" if self.kind else self.scheme
        if self.scheme == "unix":
            return f"unix://{self.servers[0]['path']}"
        default = 26379 if self.kind == "sentinel" else 6379
        hosts = ",".join(f"{_bracketed(s['host'])}:{s.get('port', default)}" for s in self.servers)
        return f"{scheme}://{hosts}" + (f"/{db}" if (db := self.servers[0].get("db")) else "")


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def parse_redis_url(url: str) -> RedisUrl:
    """Parse the URL of a Redis; `featsvc.accounts.topology` documents the schemes."""
    from redis.asyncio.connection import ConnectionPool, parse_url  # noqa: PLC0415
    from redis.exceptions import RedisError  # noqa: PLC0415

    parts, scheme, kind = _split_redis_url(url)
    login, _, hosts = parts.netloc.rpartition("@")
    query = dict(parse_qsl(parts.query, keep_blank_values=True))
    sentinel = {name: query.pop(name, "") for name in _SENTINEL_PARAMETERS}
    servers: list[dict[str, Any]] = []
    try:
        for host in hosts.split(","):
            one = parts._replace(scheme=scheme, netloc=f"{login}@{host}", query=urlencode(query))
            servers.append(dict(parse_url(one.geturl())))
            # Makes no connection, but refuses unknown parameters.
            ConnectionPool(**servers[-1]).make_connection()  # type: ignore[no-untyped-call]
    except (OSError, RedisError, ValueError, TypeError):
        raise ValueError(
            "cannot be parsed; percent-encode special characters, and check the query parameters"
        ) from None
    if kind == "sentinel" and not sentinel["service"]:
        raise ValueError(
            "redis+sentinel:// needs ?service=NAME, the sentinels' name for the primary"
        )
    if kind == "cluster" and any(server.get("db") for server in servers):
        raise ValueError("a cluster has only database 0")
    return RedisUrl(scheme, kind, tuple(servers), sentinel)


def _split_redis_url(url: str) -> tuple[SplitResult, str, str]:
    """Return the parts of a URL, its scheme without the kind, and the kind."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise ValueError("cannot be parsed; percent-encode special characters") from None
    scheme, plus, kind = parts.scheme.partition("+")
    if scheme not in ("redis", "rediss", "unix") or kind not in (
        ("sentinel", "cluster") if plus and scheme != "unix" else ("",)
    ):
        raise ValueError(f"must begin with {_REDIS_HINT}")
    if "#" in url:
        raise ValueError("must hold no #; percent-encode special characters")
    hosts = parts.netloc.rpartition("@")[2]
    if scheme == "unix":
        if hosts or not parts.path.strip("/"):
            raise ValueError("must name a socket: unix:///ABSOLUTE/PATH, with three slashes")
        return parts, scheme, kind
    database = parts.path.removeprefix("/")
    if database and not re.fullmatch("[0-9]{1,9}", database):
        raise ValueError("the path must be a database number; percent-encode special characters")
    if not kind and "," in hosts:
        raise ValueError("has several hosts; use redis+cluster:// or redis+sentinel://")
    for host in hosts.split(","):
        _check_redis_host(host)
    return parts, scheme, kind


def _check_redis_host(host: str) -> None:
    name, _, port = host.rpartition(":") if re.search(r":[^\]]*$", host) else (host, "", "6379")
    if not name:
        raise ValueError("names no host; write redis://HOST:6379/0")
    if not _is_host(name) or not re.fullmatch("[0-9]{1,5}", port) or not 1 <= int(port) <= MAX_PORT:
        raise ValueError(
            "cannot be parsed: after the login comes HOST or HOST:PORT; percent-encode special "
            "characters"
        )
