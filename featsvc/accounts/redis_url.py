"""Where the store is, as one URL.

    unix://[USER:PASSWORD@]/PATH[?db=N]
    redis://[USER:PASSWORD@]HOST[:PORT][/DB]
    redis+sentinel://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...][/DB]?service=NAME
    redis+cluster://[USER:PASSWORD@]HOST:PORT[,HOST:PORT...]

`rediss` in place of `redis` means TLS, to Sentinels as well, with `?ca=FILE` for a private
authority and `?cert=FILE&key=FILE` for a client certificate. Sentinels that want a password of
their own get `sentinel_user` and `sentinel_password`. Percent-encode what is special in a URL.
"""

import re
import ssl
from dataclasses import dataclass, replace
from typing import NoReturn
from urllib.parse import parse_qsl, unquote

from featsvc.accounts.connection import Endpoint
from featsvc.errors import ConfigInvalid

_URL = re.compile(
    r"(?P<scheme>unix|rediss?(?:\+sentinel|\+cluster)?)://"
    r"(?:(?P<user>[^:@/]*)(?::(?P<password>[^@/]*))?@)?"
    r"(?P<hosts>[^/?]*)(?P<path>/[^?]*)?(?:\?(?P<query>.*))?"
)
_HOST = re.compile(r"(?P<host>\[[0-9a-fA-F:.%]+\]|[^\[\]:]+)(?::(?P<port>[0-9]{1,5}))?")
_DEFAULT_PORTS = {"": 6379, "sentinel": 26379, "cluster": 6379}
_PARAMETERS = frozenset(
    {"db", "ca", "cert", "key", "service", "sentinel_user", "sentinel_password"}
)


@dataclass(frozen=True, slots=True)
class RedisUrl:
    """`topology` is "", "sentinel" or "cluster"; `endpoints` the server, the sentinels, or nodes
    to begin with. `server` carries what every server needs: user, password, database, TLS."""

    topology: str
    endpoints: tuple[Endpoint, ...]
    server: Endpoint
    service: str


def parse_redis_url(url: str) -> RedisUrl:
    """Raises ConfigInvalid, which never repeats the password."""
    match = _URL.fullmatch(url)
    if not match:
        _fail("begins with none of unix:// redis:// rediss:// redis+sentinel:// redis+cluster://")
    query = dict(parse_qsl(match["query"] or ""))
    if unknown := sorted(set(query) - _PARAMETERS):
        _fail(f"unknown parameter {unknown[0]!r}; known are {', '.join(sorted(_PARAMETERS))}")
    scheme, _, topology = match["scheme"].partition("+")
    path = unquote(match["path"] or "")
    server = Endpoint(
        username=unquote(match["user"] or ""),
        password=unquote(match["password"] or ""),
        db=_database(query.get("db", "") if scheme == "unix" else path.strip("/")),
        tls=_tls_context(query) if scheme == "rediss" else None,
    )
    if scheme == "unix":
        if not path or match["hosts"]:
            _fail("unix:// wants an absolute path, unix:///run/valkey.sock")
        return RedisUrl("", (replace(server, path=path),), server, "")
    if topology == "cluster" and server.db:
        _fail("a cluster has database 0 only")
    if topology == "sentinel" and not query.get("service"):
        _fail("redis+sentinel:// wants ?service=NAME, the name the sentinels know the primary by")
    login = server
    if topology == "sentinel":
        login = replace(
            server,
            db=0,
            username=query.get("sentinel_user", ""),
            password=query.get("sentinel_password", ""),
        )
    port = _DEFAULT_PORTS[topology]
    endpoints = tuple(_endpoint(text, port, login) for text in match["hosts"].split(","))
    if not topology and len(endpoints) > 1:
        _fail("several hosts: write redis+cluster:// or redis+sentinel://")
    return RedisUrl(topology, endpoints, server, query.get("service", ""))


def _endpoint(text: str, default_port: int, login: Endpoint) -> Endpoint:
    match = _HOST.fullmatch(text)
    if not match or int(match["port"] or 0) > 65535:
        _fail(f"{text!r} is no HOST:PORT")
    port = int(match["port"] or default_port)
    return replace(login, host=match["host"].strip("[]"), port=port)


def _database(text: str) -> int:
    if not text:
        return 0
    if not (text.isascii() and text.isdigit() and len(text) <= 5):
        _fail(f"database {text!r} is no number")
    return int(text)


def _tls_context(query: dict[str, str]) -> ssl.SSLContext:
    try:
        context = ssl.create_default_context(cafile=query.get("ca"))
        if "cert" in query:
            context.load_cert_chain(query["cert"], query.get("key"))
    except (OSError, ssl.SSLError) as exc:
        raise ConfigInvalid(f"redis.url: certificate files cannot be read: {exc}") from exc
    return context


def _fail(message: str) -> NoReturn:
    raise ConfigInvalid(f"redis.url: {message}; see docs/features.md", field="redis.url")
