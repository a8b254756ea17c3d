"""The checks of `featsvc doctor` on this machine. Each returns one or more lines, or raises."""

import asyncio
import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from importlib import metadata
from pathlib import Path

import click
import numpy as np
from featsvc_kernels import compiling

from featsvc.accounts import EmbeddedValkey, FeatureStore, load_definitions
from featsvc.accounts import warm as warm_accounts
from featsvc.accounts.legacy import LegacyCount, count_legacy
from featsvc.addresses import shown_database_url
from featsvc.banks.store import BankStore
from featsvc.cli.doctor import CheckSkipped
from featsvc.cli.start_report import read_holdings, served_models, shown_redis, warnings
from featsvc.cli.words import counted
from featsvc.config import DEFAULTS, Config, Configured, read_config
from featsvc.errors import ConfigInvalid, Unavailable
from featsvc.hashing.pdq import hash_pdq
from featsvc.hashing.warm import warm as warm_hashing
from featsvc.media.codecs import libtiff

_PACKAGES = ("grpcio", "numpy", "numba", "faiss-cpu", "redis", "uvloop", "simplejpeg", "pillow")
_MIN_FREE_BYTES = 2**30
# The hash that pdqhash.compute gives for the picture of `_pdq`.
_PDQ = "7e0051fffe1194aaab5554aa41fffb55fe0254aa01ff2b55ab557e007e005e00"


def kernels() -> str:
    """Run every kernel, compiled before by `prepare_kernels`."""
    warm_hashing()
    warm_accounts()
    found = compiling.find_cache()
    if found is None:
        return "compiled, not cached: no cache folder is writable; set NUMBA_CACHE_DIR"
    folder, cpu = found
    return f"compiled for {cpu}, cached in {folder}"


def _installation() -> str:
    version = metadata.version("featsvc")
    return (
        f"{version} on Python {platform.python_version()}, {counted(os.cpu_count() or 1, 'core')}, "
        f"{sys.platform} {platform.machine()}"
    )


def _packages() -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)


def _libtiff() -> str:
    version = libtiff.version()
    if version is None:
        return "missing: the installed Pillow has it built in; compressed TIFF is not decoded"
    return f"{version}, of the installed Pillow"


def _pdq() -> str:
    """Hash a drawn picture, whose hash is known from the reference implementation."""
    rows, columns = np.mgrid[0:300, 0:400]
    picture = ((rows * rows // 90 + columns * 3) % 256).astype(np.uint8)
    value = hash_pdq(picture).value.hex()
    if value != _PDQ:
        raise click.ClickException(f"a known picture hashes to {value}, not {_PDQ}")
    return "a known picture has the hash of the reference implementation"


class _Configured:
    """The checks of what the configuration names. It is read once."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self._read: Configured | None = None

    @property
    def _config(self) -> Config:
        """Raises CheckSkipped where the configuration is wrong, which is said once."""
        if self._read is None:
            raise CheckSkipped("the configuration is wrong")
        return self._read.config

    def configuration(self) -> str:
        """Name every setting that is not the default, with its origin and without credentials."""
        self._read = read_config(self._file)
        config, origins = self._config, self._read.origins
        changed = [key for key, default in DEFAULTS.items() if config.value(key) != default]
        lines = [f"{key} = {_shown(key, config)} ({origins[key]})" for key in changed]
        count = f"{len(changed)} not the default" if changed else "all defaults"
        folder = Path(config.data_dir).resolve()
        return "\n  ".join([f"valid; data_dir is {folder}; settings: {count}", *lines])

    def disk(self) -> str:
        path = Path(self._config.data_dir).resolve()
        existing = next(p for p in (path, *path.parents) if p.exists())
        if not existing.is_dir():
            raise click.ClickException(f"{existing} is not a folder; choose another data_dir")
        free = shutil.disk_usage(existing).free
        if not os.access(existing, os.W_OK):
            raise click.ClickException(f"{existing} is not writable; choose another data_dir")
        if free < _MIN_FREE_BYTES:
            raise click.ClickException(
                f"{existing} has only {free / 2**20:,.0f} MiB free; choose another data_dir"
            )
        return f"{existing} has {free / 2**30:,.1f} GiB free"

    def features(self) -> str:
        file = self._config.features.file
        definitions = load_definitions(Path(file) if file else None)
        return f"{len(definitions.features) + len(definitions.derived)} in {definitions.source}"

    def models(self) -> str:
        learned = served_models(self._config)
        return f"{len(learned)} learned: {', '.join(learned)}" if learned else "built in only"

    def redis(self) -> str:
        """Ping the configured Redis, or start, ping and stop an embedded Valkey."""
        url = self._config.redis.url
        if url == "embedded":
            asyncio.run(_start_valkey())
            return "the embedded Valkey starts and answers"
        asyncio.run(_ping(url))
        return f"{shown_redis(self._config)} answers"

    def entities(self) -> str:
        """Count entities of the layout before one key each. An embedded Valkey must be running."""
        config = self._config
        url, socket = config.redis.url, Path(config.data_dir, "valkey", "valkey.sock").resolve()
        if url == "embedded":
            if not socket.exists():
                return "not counted: the embedded Valkey runs only with its service"
            url = f"unix://{socket}"
        file = config.features.file
        try:
            definitions = load_definitions(Path(file) if file else None)
            return _shown_legacy(asyncio.run(count_legacy(url, definitions.namespace)))
        except (ConfigInvalid, Unavailable) as exc:  # said by the checks of features and Redis
            raise CheckSkipped(f"not counted: {exc}") from exc

    def banks(self) -> str:
        """Count what the bank store holds, if there is one, and warn as a start would."""
        config = self._config
        if not config.banks.url and not Path(config.data_dir, "banks.db").exists():
            return "no store yet; the first start creates it"
        store = BankStore(config.banks_url)
        try:
            holdings = read_holdings(store)
            store.check_writable()
        finally:
            store.close()
        lines = [f"revision {holdings.revision}, {holdings.summary()}"]
        learned = served_models(config)
        lines += (f"{'warn':<20} {line}" for line in warnings(config, holdings, learned))
        return "\n".join(lines)


def _shown(key: str, config: Config) -> object:
    if key == "banks.url":
        return shown_database_url(config.banks.url)
    return shown_redis(config) if key == "redis.url" else config.value(key)


def _shown_legacy(count: LegacyCount) -> str:
    keys = counted(count.total, "key")
    looked = f"{keys} looked at"
    if count.scanned < count.total:
        looked = f"about {count.scanned:,} of the {keys} looked at"
    if not count.hashes and not count.keys:
        return f"none of the earlier layout; {looked}"
    hashes, own = counted(count.hashes, "hash"), counted(count.keys, "key")
    return (
        f"{hashes} of the earlier layout and {own} beside them; {looked}\n  they are read as they "
        "are, and an entity's next event moves its own; see docs/upgrading.md"
    )


async def _ping(url: str) -> None:
    store = FeatureStore(url, load_definitions(), timeout_ms=2000)
    try:
        await store.ping()
    finally:
        await store.close()


async def _start_valkey() -> None:
    with tempfile.TemporaryDirectory(prefix="featsvc-doctor-") as folder:
        valkey = EmbeddedValkey(Path(folder))
        await valkey.start()
        try:
            await _ping(valkey.url)
        finally:
            await valkey.stop()


def checks(config_file: Path | None) -> Mapping[str, Callable[[], str]]:
    """Return all checks by name, in their order."""
    configured = _Configured(config_file)
    return {
        "featsvc": _installation,
        "packages": _packages,
        "configuration": configured.configuration,
        "disk": configured.disk,
        "kernels": kernels,
        "libtiff": _libtiff,
        "pdq": _pdq,
        "features": configured.features,
        "models": configured.models,
        "redis": configured.redis,
        "entities": configured.entities,
        "banks": configured.banks,
    }
