"""Configuration: `featsvc.toml`, then the environment, then command-line options; the last wins.

It is read and validated once, at start. The variable `FEATSVC_S_K` overrides key `k` of section
`[s]`, for example `FEATSVC_REDIS_URL`. An unknown key, or an unknown variable of a known section,
is an error. `featsvc.example.toml` documents every key.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from featsvc.errors import ConfigInvalid
from featsvc.media import Limits

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]
_MAX_PORT = 2**16 - 1


def split_address(address: str) -> tuple[str, int]:
    """Split HOST:PORT; an IPv6 host keeps its brackets. Raises ValueError."""
    host, colon, port = address.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > _MAX_PORT:
        raise ValueError(f"listen must be HOST:PORT, not {address!r}")
    return host, int(port)


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of the file; `featsvc.example.toml` documents its keys."""


class ServerConfig(_Section, frozen=True):
    listen: str = "127.0.0.1:50051"
    grace_period_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 10.0
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    max_queue: PositiveInt = 256

    def __post_init__(self) -> None:
        split_address(self.listen)


class BanksConfig(_Section, frozen=True):
    url: str = ""
    poll_interval_ms: PositiveInt = 100
    indexer: bool = True


class RedisConfig(_Section, frozen=True):
    url: str = "embedded"
    timeout_ms: PositiveInt = 250


class EmbedConfig(_Section, frozen=True):
    models_file: str = ""
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 16
    max_wait_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 2.0
    max_latency_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] = 1000.0


class FeaturesConfig(_Section, frozen=True):
    file: str = ""
    stream: str = ""
    stream_group: Annotated[str, msgspec.Meta(min_length=1)] = "featsvc"
    stream_max_tries: PositiveInt = 5


class MetricsConfig(_Section, frozen=True):
    listen: str = ""

    def __post_init__(self) -> None:
        if self.listen:
            split_address(self.listen)


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration; paths are absolute or relative to the working folder."""

    data_dir: str = "data"
    server: ServerConfig = ServerConfig()
    media: Limits = Limits()
    banks: BanksConfig = BanksConfig()
    redis: RedisConfig = RedisConfig()
    features: FeaturesConfig = FeaturesConfig()
    embed: EmbedConfig = EmbedConfig()
    metrics: MetricsConfig = MetricsConfig()

    @property
    def banks_url(self) -> str:
        """SQLAlchemy URL of the bank store."""
        return self.banks.url or f"sqlite:///{Path(self.data_dir).resolve() / 'banks.db'}"


_SECTIONS = tuple(f.name for f in msgspec.structs.fields(Config) if f.name != "data_dir")
# Variables that are not settings of the server.
_FOREIGN = frozenset({"FEATSVC_SERVER", "FEATSVC_CONFIG"})


def load_config(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Config:
    """Read and validate the configuration.

    `path` is a TOML file; None means `FEATSVC_CONFIG`, or no file. `environ` replaces the
    environment of the process. `overrides` has keys "section.key" or "data_dir"; None values are
    skipped. Raises ConfigInvalid, naming the file, variable or option and the key.
    """
    environ = os.environ if environ is None else environ
    if path is None and environ.get("FEATSVC_CONFIG"):
        path = Path(environ["FEATSVC_CONFIG"])
    tree: dict[str, Any] = {}
    origin = "defaults"
    if path is not None:
        origin = str(path)
        try:
            tree = tomllib.loads(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
            raise ConfigInvalid(f"{path}: cannot be read: {exc}") from exc
        _convert(tree, origin)
    for variable, text in environ.items():
        if key := _key_of(variable):
            _place(tree, key, text, variable)
    for key, value in (overrides or {}).items():
        if value is not None:
            _place(tree, key, value, f"--{key.rpartition('.')[2].replace('_', '-')}")
    return _convert(tree, origin)


def _key_of(variable: str) -> str:
    """Return the key that a variable sets, or an empty string.

    Only variables that begin with the name of a section are settings: Kubernetes sets others, such
    as FEATSVC_SERVICE_HOST, for a service called featsvc.
    """
    if not variable.startswith("FEATSVC_") or variable in _FOREIGN:
        return ""
    name = variable.removeprefix("FEATSVC_").lower()
    section, _, key = name.partition("_")
    if name == "data_dir" or not key:
        return name if name == "data_dir" else ""
    return f"{section}.{key}" if section in _SECTIONS else ""


def _place(tree: dict[str, Any], key: str, value: object, origin: str) -> None:
    """Set one key and validate it, so that the message names the source of the value."""
    section, _, leaf = key.rpartition(".")
    target: dict[str, Any] = tree.setdefault(section, {}) if section else tree
    target[leaf] = value
    _convert({section: {leaf: value}} if section else {leaf: value}, origin)


def _convert(tree: dict[str, Any], origin: str) -> Config:
    try:
        return msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as exc:
        message = str(exc).replace("`$.", "`").replace(" - at ", " at ")
        raise ConfigInvalid(f"{origin}: {message}; see `featsvc serve --example-config`") from exc
