"""The keys of the configuration: their types, ranges and defaults.

`featsvc.example.toml` documents every key; `featsvc.config.checks` holds what a range cannot say.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any

import msgspec
import msgspec.inspect

from featsvc.media import Limits

_HOUR_MS = 3_600_000
_Count = Annotated[int, msgspec.Meta(ge=1, le=1_000_000)]
_DurationMs = Annotated[int, msgspec.Meta(ge=1, le=_HOUR_MS)]
_Threads = Annotated[int, msgspec.Meta(ge=0, le=256)]


class _Section(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A section of the file; `featsvc.example.toml` documents its keys."""


class ServerConfig(_Section, frozen=True):
    listen: str = "127.0.0.1:50051"
    grace_period_s: Annotated[float, msgspec.Meta(ge=0, le=3600)] = 10.0
    workers: Annotated[int, msgspec.Meta(ge=1, le=256)] = 1
    threads: _Threads = 0
    max_queue: _Count = 256


class BanksConfig(_Section, frozen=True):
    url: str = ""
    poll_interval_ms: _DurationMs = 100
    indexer: bool = True


class RedisConfig(_Section, frozen=True):
    url: str = "embedded"
    timeout_ms: _DurationMs = 250


class EmbedConfig(_Section, frozen=True):
    models_file: str = ""
    threads: _Threads = 0
    max_batch: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 16
    max_wait_ms: Annotated[float, msgspec.Meta(ge=0, le=1000)] = 2.0
    max_latency_ms: Annotated[float, msgspec.Meta(gt=0, le=60_000)] = 1000.0


class FeaturesConfig(_Section, frozen=True):
    file: str = ""
    stream: str = ""
    stream_group: str = "featsvc"
    stream_max_tries: _Count = 5


class MetricsConfig(_Section, frozen=True):
    listen: str = ""


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

    def value(self, key: str) -> Any:
        """Return the value of "section.key" or "data_dir"."""
        section, _, leaf = key.rpartition(".")
        return getattr(getattr(self, section) if section else self, leaf)


SECTIONS = tuple(f.name for f in msgspec.structs.fields(Config) if f.name != "data_dir")
DEFAULTS: Mapping[str, Any] = MappingProxyType(
    {"data_dir": Config().data_dir}
    | {
        f"{section}.{name}": value
        for section in SECTIONS
        for name, value in msgspec.structs.asdict(getattr(Config(), section)).items()
    }
)
"""Every key, "section.key" or "data_dir", and its default."""


@dataclass(frozen=True, slots=True)
class Configured:
    """A configuration, and for every key that is set the file, variable or option that set it."""

    config: Config
    origins: Mapping[str, str]

    def where(self, key: str) -> str:
        """Return `ORIGIN: KEY`, for messages."""
        return f"{self.origins[key]}: {key}" if key in self.origins else key


def expected(key: str) -> str:
    """Return what a value of the key must be, for messages."""
    section, _, leaf = key.rpartition(".")
    struct = type(getattr(Config(), section)) if section else Config
    types = {f.name: f.type for f in msgspec.structs.fields(struct)}
    kind: Any = msgspec.inspect.type_info(types[leaf])
    if isinstance(kind, msgspec.inspect.BoolType):
        return "true or false"
    if isinstance(kind, msgspec.inspect.StrType):
        return "a text"
    number = "a whole number" if isinstance(kind, msgspec.inspect.IntType) else "a number"
    least = f"from {kind.ge:g}" if kind.ge is not None else f"above {kind.gt:g},"
    return f"{number} {least} to {kind.le:,}"
