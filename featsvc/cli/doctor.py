"""`featsvc doctor`: does this installation work, and does that server serve?"""

import os
import platform
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

import click

from featsvc import __version__
from featsvc.config import load_config
from featsvc.errors import FeatsvcError

PACKAGES = ("grpcio", "numpy", "numba", "faiss-cpu", "redis", "uvloop", "simplejpeg", "pillow")
MIN_FREE_BYTES = 2**30


@click.command(short_help="Check this installation and a server.")
@click.option("--kernels", is_flag=True, help="Only compile and warm the kernels.")
@click.option(
    "--server", metavar="HOST:PORT", envvar="FEATSVC_SERVER", help="Only ask this server's health."
)
def doctor(kernels: bool, server: str | None) -> None:
    """Check this installation; with --server, ask a server whether it serves.

    Prints one line a check and exits 1 if one failed.
    """
    if server:
        checks: dict[str, Callable[[], str]] = {f"server {server}": lambda: _health(server)}
    elif kernels:
        checks = {"kernels": _kernels}
    else:
        checks = {
            "featsvc": lambda: (
                f"{__version__} on Python {platform.python_version()}, "
                f"{os.cpu_count()} cores, {sys.platform} {platform.machine()}"
            ),
            "packages": lambda: ", ".join(f"{p} {metadata.version(p)}" for p in PACKAGES),
            "configuration": lambda: f"data_dir {Path(load_config().data_dir).resolve()}",
            "disk": _disk,
            "kernels": _kernels,
            "pdq": _pdq,
            "features": _features,
            "redis": _redis,
            "banks": _banks,
        }
    failed = 0
    for name, check in checks.items():
        try:
            click.echo(f"ok    {name:<14} {check()}")
        except (FeatsvcError, click.ClickException, OSError, metadata.PackageNotFoundError) as exc:
            failed += 1
            click.echo(f"FAIL  {name:<14} {exc}")
    if failed:
        raise click.exceptions.Exit(1)
