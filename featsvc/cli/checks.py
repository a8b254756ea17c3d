"""The checks of `featsvc doctor` on this machine. Each returns a line, or raises."""

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
from featsvc_kernels.jit import cache_folder

from featsvc.accounts import EmbeddedValkey, FeatureStore, load_definitions
from featsvc.accounts import warm as warm_accounts
from featsvc.banks.store import BankStore
from featsvc.config import load_config
from featsvc.hashing.pdq import hash_pdq
from featsvc.hashing.warm import warm as warm_hashing

_PACKAGES = ("grpcio", "numpy", "numba", "faiss-cpu", "redis", "uvloop", "simplejpeg", "pillow")
_MIN_FREE_BYTES = 2**30
# The hash that pdqhash.compute gives for the picture of `_pdq`.
_PDQ = "7e0051fffe1194aaab5554aa41fffb55fe0254aa01ff2b55ab557e007e005e00"


def kernels() -> str:
    """Run every kernel. Importing this module has compiled them, or loaded them from the cache."""
    warm_hashing()
    warm_accounts()
    folder = cache_folder("featsvc_kernels.pdq")
    if folder is None:
        return "compiled, not cached: no cache folder is writable; set NUMBA_CACHE_DIR"
    return f"compiled, cached in {folder.parent}"


def _installation() -> str:
    version = metadata.version("featsvc")
    return (
        f"{version} on Python {platform.python_version()}, {os.cpu_count()} cores, "
        f"{sys.platform} {platform.machine()}"
    )


def _packages() -> str:
    return ", ".join(f"{name} {metadata.version(name)}" for name in _PACKAGES)


def _configuration() -> str:
    return f"valid; data_dir is {Path(load_config().data_dir).resolve()}"


def _disk() -> str:
    path = Path(load_config().data_dir).resolve()
    existing = next(p for p in (path, *path.parents) if p.exists())
    free = shutil.disk_usage(existing).free
    if not os.access(existing, os.W_OK):
        raise click.ClickException(f"{existing} is not writable; choose another data_dir")
    if free < _MIN_FREE_BYTES:
        raise click.ClickException(
            f"{existing} has only {free / 2**20:,.0f} MiB free; choose another data_dir"
        )
    return f"{existing} has {free / 2**30:,.1f} GiB free"


def _pdq() -> str:
    """Hash a drawn picture, whose hash is known from the reference implementation."""
    rows, columns = np.mgrid[0:300, 0:400]
    picture = ((rows * rows // 90 + columns * 3) % 256).astype(np.uint8)
    value = hash_pdq(picture).value.hex()
    if value != _PDQ:
        raise click.ClickException(f"a known picture hashes to {value}, not {_PDQ}")
    return "a known picture has the hash of the reference implementation"


def _features() -> str:
    file = load_config().features.file
    definitions = load_definitions(Path(file) if file else None)
    return f"{len(definitions.features) + len(definitions.derived)} in {definitions.source}"


def _redis() -> str:
    """Ping the configured Redis, or start, ping and stop an embedded Valkey."""
    config = load_config()

    async def ping(url: str) -> None:
        store = FeatureStore(url, load_definitions(), timeout_ms=2000)
        try:
            await store.ping()
        finally:
            await store.close()

    async def embedded() -> None:
        with tempfile.TemporaryDirectory(prefix="featsvc-doctor-") as folder:
            valkey = EmbeddedValkey(Path(folder))
            await valkey.start()
            try:
                await ping(valkey.url)
            finally:
                await valkey.stop()

    if config.redis.url == "embedded":
        asyncio.run(embedded())
        return "the embedded Valkey starts and answers"
    asyncio.run(ping(config.redis.url))
    return "reached"


def _banks() -> str:
    """Read the revision of the bank store, if there is one."""
    config = load_config()
    if not config.banks.url and not Path(config.data_dir, "banks.db").exists():
        return "no store yet; the first start creates it"
    store = BankStore(config.banks_url)
    try:
        return f"reached, at revision {store.head().revision}"
    finally:
        store.close()


CHECKS: Mapping[str, Callable[[], str]] = {
    "featsvc": _installation,
    "packages": _packages,
    "configuration": _configuration,
    "disk": _disk,
    "kernels": kernels,
    "pdq": _pdq,
    "features": _features,
    "redis": _redis,
    "banks": _banks,
}
