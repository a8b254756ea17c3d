"""What `featsvc doctor` looks at on this machine; each check returns a line or raises."""

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
from featsvc_kernels.jit import CACHE_DIR

from featsvc import __version__
from featsvc.accounts import EmbeddedValkey, FeatureStore, load_definitions
from featsvc.accounts import warm as warm_accounts
from featsvc.banks.store import BankStore
from featsvc.config import load_config
from featsvc.hashing.pdq import hash_pdq
from featsvc.hashing.warm import warm as warm_hashing

_PACKAGES = ("grpcio", "numpy", "numba", "faiss-cpu", "redis", "uvloop", "simplejpeg", "pillow")
_MIN_FREE_BYTES = 2**30
# What pdqhash.compute says of the picture that `_pdq` draws.
_PDQ = "7e0051fffe1194aaab5554aa41fffb55fe0254aa01ff2b55ab557e007e005e00"


def kernels() -> str:
    """Run every kernel; importing this module has compiled or loaded them."""
    warm_hashing()
    warm_accounts()
    return f"compiled, kept in {CACHE_DIR}"


def _installation() -> str:
    return (
        f"{__version__} on Python {platform.python_version()}, {os.cpu_count()} cores, "
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
        raise click.ClickException(f"{existing} is not writable; choose another --data-dir")
    if free < _MIN_FREE_BYTES:
        raise click.ClickException(f"only {free / 2**20:,.0f} MiB free below {existing}")
    return f"{free / 2**30:,.1f} GiB free below {existing}"


def _pdq() -> str:
    """A drawn picture whose hash was recorded from the reference implementation."""
    rows, columns = np.mgrid[0:300, 0:400]
    picture = ((rows * rows // 90 + columns * 3) % 256).astype(np.uint8)
    found = hash_pdq(picture)
    if found.value.hex() != _PDQ:
        raise click.ClickException(f"a known picture hashes to {found.value.hex()}, not {_PDQ}")
    return "a known picture hashes as the reference implementation says"


def _features() -> str:
    file = load_config().features.file
    definitions = load_definitions(Path(file) if file else None)
    return f"{len(definitions.features) + len(definitions.derived)} in {definitions.source}"


def _redis() -> str:
    """Reach the configured Redis, or start and stop an embedded one on the side."""
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
    """Read the head of the bank store, where there is one."""
    config = load_config()
    if not config.banks.url and not Path(config.data_dir, "banks.db").exists():
        return "none yet; the first start makes them"
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
