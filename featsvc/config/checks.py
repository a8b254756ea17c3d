"""What types and ranges cannot say: texts, addresses, files, and settings that exclude each other.

A check of a value raises ValueError, whose text follows the key. It never repeats a value: even
that of an address may be a URL with a password, set for the wrong key.
"""

import ipaddress
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from featsvc.addresses import MAX_PORT, parse_database_url, parse_redis_url, split_address
from featsvc.config.keys import Config, Configured

_QUOTES = ("'", '"')
_EVERY_INTERFACE = ("0.0.0.0", "[::]")  # noqa: S104 (compared, not bound)


def check_text(value: str, *, may_be_empty: bool) -> None:
    """Refuse what env files and shells add to a value, or take from it."""
    if not value and not may_be_empty:
        raise ValueError("is set, but empty; give a value, or do not set it")
    if value != value.strip():
        raise ValueError("begins or ends with white space; remove it")
    if value.startswith(_QUOTES) or value.endswith(_QUOTES):
        raise ValueError("holds its quotes; in env files, values have none")
    if not value.isprintable():
        raise ValueError("holds control characters; remove them")


def check_value(key: str, value: str) -> None:
    """Refuse a text that can never be right for the key, whatever is on this machine."""
    if key in _CHECKS:
        _CHECKS[key](value)


def _check_metrics(value: str) -> None:
    if not split_address(value)[1]:
        raise ValueError("must have a port from 1 to 65535: nobody would know where 0 is")


def _check_redis(value: str) -> None:
    try:
        if value != "embedded":
            parse_redis_url(value)
    except ValueError as exc:
        raise ValueError(f"{exc}; or write embedded for the built-in Valkey") from None


def _check_path(value: str) -> None:
    if not value:
        raise ValueError("must not be empty")
    if "://" in value:
        raise ValueError("must be a path, not a URL")
    if value.startswith("~") or "${" in value:
        raise ValueError("must be a whole path: ~ and ${...} are not replaced")


def _check_not_empty(value: str) -> None:
    if not value:
        raise ValueError("must not be empty")


_CHECKS: Mapping[str, Callable[[str], object]] = {
    "data_dir": _check_path,
    "server.listen": split_address,
    "banks.url": parse_database_url,
    "redis.url": _check_redis,
    "features.file": _check_path,
    "features.stream_group": _check_not_empty,
    "embed.models_file": _check_path,
    "metrics.listen": _check_metrics,
}


def find_conflicts(configured: Configured) -> Iterator[str]:
    """Yield a line for each setting that cannot work on this machine, or with another setting."""
    config = configured.config
    yield from _metrics_ports(configured)
    place = _not_a_folder(Path(config.data_dir))
    # Commands that keep no data must not fail for a file that is called as the default.
    if place is not None and "data_dir" in configured.origins:
        yield f"{configured.where('data_dir')} lies in or is {place}, which is not a folder"
    for key in ("features.file", "embed.models_file"):
        if value := config.value(key):
            path = Path(value).absolute()
            if not path.is_file():
                yield f"{configured.where(key)}: there is no file {path}"
            elif not os.access(path, os.R_OK):
                yield f"{configured.where(key)}: this user cannot read {path}"
    yield from _sqlite_file(configured)


def _not_a_folder(path: Path) -> Path | None:
    """Return what is there instead of a folder, or of one above it."""
    for place in (path.absolute(), *path.absolute().parents):
        if os.path.lexists(place):
            return None if place.is_dir() else place
    return None


def _sqlite_file(configured: Configured) -> Iterator[str]:
    url = configured.config.banks.url
    if not url.startswith("sqlite"):
        return
    path = Path(parse_database_url(url).database or "")
    if path.is_dir():
        yield f"{configured.where('banks.url')} names a folder; name a file in it"
    elif (place := _not_a_folder(path.parent)) is not None:
        yield f"{configured.where('banks.url')} lies in {place}, which is not a folder"


def _metrics_ports(configured: Configured) -> Iterator[str]:
    """Worker i serves metrics on PORT + i."""
    config: Config = configured.config
    if not config.metrics.listen:
        return
    host, first = split_address(config.metrics.listen)
    server_host, server_port = split_address(config.server.listen)
    last = first + config.server.workers - 1
    where = configured.where("metrics.listen")
    if last > MAX_PORT:
        yield (
            f"{where} needs ports {first} to {last} for {config.server.workers} workers; the "
            f"last port is {MAX_PORT}"
        )
    if first <= server_port <= last and not _are_apart(host, server_host):
        ports = f"port {first}" if first == last else f"ports {first} to {last}, one a worker"
        yield f"{where} takes {ports}, and {configured.where('server.listen')} is one of them"


def _are_apart(a: str, b: str) -> bool:
    """Return whether two hosts are surely different interfaces."""
    if a in _EVERY_INTERFACE or b in _EVERY_INTERFACE:
        return False
    try:
        return ipaddress.ip_address(a.strip("[]")) != ipaddress.ip_address(b.strip("[]"))
    except ValueError:
        return False
