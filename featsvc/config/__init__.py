"""Configuration: `featsvc.toml`, then the environment, then command-line options; the last wins.

It is read and validated once, at start. The variable `FEATSVC_S_K` overrides key `k` of section
`[s]`, for example `FEATSVC_REDIS_URL`. Errors are: a wrong value from any source, a key or a
variable that does not exist (`variables.py`), settings that exclude each other, and files that are
not there. One error names all of them. `featsvc.example.toml` documents every key.

A variable or an option that is set to nothing is an error as well: compose files pass `${URL}` as
an empty text where URL is not set, and the default would be another store.
"""

from featsvc.config.keys import (
    DEFAULTS,
    BanksConfig,
    Config,
    Configured,
    EmbedConfig,
    FeaturesConfig,
    MetricsConfig,
    RedisConfig,
    ServerConfig,
)
from featsvc.config.reading import check_variables, load_config, read_config

__all__ = [
    "DEFAULTS",
    "BanksConfig",
    "Config",
    "Configured",
    "EmbedConfig",
    "FeaturesConfig",
    "MetricsConfig",
    "RedisConfig",
    "ServerConfig",
    "check_variables",
    "load_config",
    "read_config",
]
