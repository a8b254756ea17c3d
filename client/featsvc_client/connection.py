"""How a client connects: target, TLS, token, channel options, and their environment variables.

| variable | stands for |
|---|---|
| `FEATSVC_SERVER` | `target` |
| `FEATSVC_TLS_CA_FILE`, `FEATSVC_TLS_CERTIFICATE_FILE`, `FEATSVC_TLS_KEY_FILE` | `tls` |
| `FEATSVC_TOKEN` | `token` |
"""

from __future__ import annotations

import ipaddress
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Union

import grpc

DEFAULT_TARGET = "localhost:50051"

Token = Union[str, Callable[[], str]]
"""A token, or a function that returns the current one; it is called for each call."""

GrpcOptions = Sequence[tuple[str, Any]]

_OPTIONS: dict[str, Any] = {
    # No limit here, since gRPC's own of 4 MiB is too small for pictures: the server has one.
    "grpc.max_send_message_length": -1,
    "grpc.max_receive_message_length": -1,
    # A server that is gone without a word is noticed within 30 s, and a NAT keeps an idle
    # connection. The server accepts a ping each 10 s.
    "grpc.keepalive_time_ms": 20_000,
    "grpc.keepalive_timeout_ms": 10_000,
    "grpc.keepalive_permit_without_calls": 1,
    "grpc.http2.max_pings_without_data": 0,
    # gRPC's own, 1 s to 2 minutes, leave a server that is back without calls for as long.
    "grpc.initial_reconnect_backoff_ms": 200,
    "grpc.min_reconnect_backoff_ms": 5_000,
    "grpc.max_reconnect_backoff_ms": 10_000,
}


@dataclass(frozen=True)
class TlsOptions:
    """Files (PEM) of a TLS connection; each may be left out.

    `ca_file` has the certificates that the server's is checked against; without it gRPC's own list
    is used. `certificate_file` and `key_file` identify the client, for servers that ask (mTLS).
    """

    ca_file: str | os.PathLike[str] | None = None
    certificate_file: str | os.PathLike[str] | None = None
    key_file: str | os.PathLike[str] | None = None


def default_target() -> str:
    """Return the environment variable `FEATSVC_SERVER`, or localhost:50051."""
    return os.environ.get("FEATSVC_SERVER") or DEFAULT_TARGET


def default_tls() -> TlsOptions | None:
    """Return the options of `FEATSVC_TLS_*`, or None if none of them is set."""
    given = {
        field.name: os.environ.get(f"FEATSVC_TLS_{field.name.upper()}") or None
        for field in fields(TlsOptions)
    }
    return TlsOptions(**given) if any(given.values()) else None


def channel_options(options: GrpcOptions) -> GrpcOptions:
    """Return the options of gRPC, those of the caller before our own."""
    return list({**_OPTIONS, **dict(options)}.items())


def channel_credentials(tls: TlsOptions | bool | None) -> grpc.ChannelCredentials | None:
    """Return the credentials of a connection; None is one without TLS.

    `tls` is None for the environment's, True for gRPC's own list of authorities. Raises ValueError
    where a file cannot be used.
    """
    options = default_tls() if tls is None else TlsOptions() if tls is True else tls or None
    if options is None:
        return None
    if bool(options.certificate_file) != bool(options.key_file):
        missing = "key_file" if options.certificate_file else "certificate_file"
        raise ValueError(f"{_named(missing)}: missing; a client has a certificate and its key")
    return grpc.ssl_channel_credentials(
        _pem("ca_file", options.ca_file),
        _pem("key_file", options.key_file),
        _pem("certificate_file", options.certificate_file),
    )


def authorization(target: str, token: Token | None, secure: bool) -> Callable[[], str] | None:
    """Return a function that returns the `authorization` of a call; None without a token.

    Raises ValueError for a token that would cross a network without TLS.
    """
    token = token or os.environ.get("FEATSVC_TOKEN") or None
    if token is None:
        return None
    if not secure and not is_local(target):
        raise ValueError(
            f"token (FEATSVC_TOKEN): without TLS everyone on the way to {target} can read it; pass "
            "tls=True, or for a certificate of your own authority tls=TlsOptions(ca_file=...) "
            "(FEATSVC_TLS_CA_FILE)"
        )
    if callable(token):
        return lambda: _bearer(token())
    header = _bearer(token)
    return lambda: header


def is_local(target: str) -> bool:
    """Whether a target is on this machine: a loopback address, `localhost` or a Unix socket."""
    if re.match(r"unix(-abstract)?:", target):
        return True
    address = re.sub(r"^(dns|ipv4|ipv6):(//[^/]*/)?", "", target)
    host = re.sub(r":\d+$", "", address).strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _pem(name: str, path: str | os.PathLike[str] | None) -> bytes | None:
    if path is None:
        return None
    try:
        content = Path(path).read_bytes()
    except OSError as exc:
        problem = f"cannot read {os.fspath(path)}: {exc.strerror}"
        raise ValueError(f"{_named(name)}: {problem}") from exc
    if b"-----BEGIN " not in content:
        raise ValueError(f"{_named(name)}: {os.fspath(path)} is not PEM; convert it with `openssl`")
    return content


def _named(name: str) -> str:
    return f"tls.{name} (FEATSVC_TLS_{name.upper()})"


def _bearer(token: str) -> str:
    # Checked here, since gRPC's own message would quote it.
    token = token.strip()
    if not re.fullmatch(r"[!-~]+", token):
        raise ValueError("token (FEATSVC_TOKEN): empty, or not printable ASCII without blanks")
    return f"Bearer {token}"
