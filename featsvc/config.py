"""Configuration: `featsvc.toml`, then the environment, then command-line flags; the last one wins.

Read once at start, validated, frozen, handed down. A key `K` of section `[S]` is overridden by the
variable `FEATSVC_S_K` in upper case, for example `FEATSVC_REDIS_URL`. An unknown key or variable
of a known section is an error, not a silent typo. `featsvc.example.toml` shows every key.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec

from featsvc.errors import ConfigInvalid

PositiveInt = Annotated[int, msgspec.Meta(ge=1)]


class ServerConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    listen: str = "127.0.0.1:50051"
    """HOST:PORT; port 0 picks a free one."""
    grace_period_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 10.0
    """How long SIGTERM waits for requests in flight."""
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    """Processes that answer on the one port; 1 is the service's own."""
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    """Threads of a worker that decode, hash and search; 0 shares the cores out."""
    max_queue: PositiveInt = 256
    """Requests that may wait for a thread of a worker; beyond, RESOURCE_EXHAUSTED at once."""


class MediaConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    max_content_bytes: PositiveInt = 32 * 2**20
    max_pixels: PositiveInt = 100_000_000
    max_frames: PositiveInt = 256
    max_aspect_ratio: PositiveInt = 200
    max_decode_ms: PositiveInt = 10_000
    """Budget of wall time for decoding one piece of content."""


class BanksConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    url: str = ""
    """SQLAlchemy URL; empty means SQLite in the data folder."""
    poll_interval_ms: PositiveInt = 100
    """How often the newest revision is looked up."""
    indexer: bool = True
    """Whether this service runs the indexer, which builds segments in its data folder."""


class RedisConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    url: str = "embedded"
    """`embedded`, or a redis:// , rediss:// or unix:// URL."""
    timeout_ms: PositiveInt = 250
    """Budget of one trip; beyond, features are DEGRADED."""


class EmbedConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    models_file: str = ""
    """Learned models; empty means none. Needs the extra `embed`."""
    threads: Annotated[int, msgspec.Meta(ge=0, le=256)] = 0
    """Threads that run learned models; 0 means the cores shared out among the workers."""
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 16
    max_wait_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 2.0
    """How long a free thread lets a picture wait for company."""
    max_latency_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] = 1000.0
    """Pictures that would be answered later are refused with RESOURCE_EXHAUSTED."""


class FeaturesConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    file: str = ""
    """Definitions; empty means the shipped ones."""
    stream: str = ""
    """Redis Stream whose events are applied; empty means none."""
    stream_group: Annotated[str, msgspec.Meta(min_length=1)] = "featsvc"
    """Consumer group; services of one group share the stream."""
    stream_max_tries: PositiveInt = 5
    """Deliveries after which an entry becomes a dead letter."""


class MetricsConfig(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    listen: str = ""
    """HOST:PORT of the Prometheus endpoint of worker 0, worker i has PORT + i; empty means none."""


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """The whole configuration; paths are absolute or relative to the working folder."""

    data_dir: str = "data"
    server: ServerConfig = ServerConfig()
    media: MediaConfig = MediaConfig()
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
# Read by the client, not by the server's configuration.
_FOREIGN = frozenset({"FEATSVC_SERVER", "FEATSVC_CONFIG"})


def load_config(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Config:
    """Read the configuration.

    Parameters: `path` of a TOML file (`FEATSVC_CONFIG` where None; no file at all is fine),
    `environ` instead of the process's environment, `overrides` keyed "section.key" or
    "data_dir" (None values are skipped).

    Raises ConfigInvalid, naming file or variable and key.
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
    """The key that a variable sets; empty where it is none of ours.

    Kubernetes sets FEATSVC_SERVICE_HOST and the like by itself for a service of that name, so
    only what begins with the name of a section is taken for a setting.
    """
    if not variable.startswith("FEATSVC_") or variable in _FOREIGN:
        return ""
    name = variable.removeprefix("FEATSVC_").lower()
    section, _, key = name.partition("_")
    if name == "data_dir" or not key:
        return name if name == "data_dir" else ""
    return f"{section}.{key}" if section in _SECTIONS else ""


def _place(tree: dict[str, Any], key: str, value: object, origin: str) -> None:
    """Set one key and validate at once, so that the message names where the value came from."""
    section, _, leaf = key.rpartition(".")
    target: dict[str, Any] = tree.setdefault(section, {}) if section else tree
    target[leaf] = value
    _convert({section: {leaf: value}} if section else {leaf: value}, origin)


def _convert(tree: dict[str, Any], origin: str) -> Config:
    try:
        return msgspec.convert(tree, Config, strict=False)
    except msgspec.ValidationError as exc:
        message = str(exc).replace("`$.", "`").replace(" - at ", " at ")
        raise ConfigInvalid(f"{origin}: {message}; see featsvc.example.toml") from exc
