"""Compiles the kernels that a command needs before it imports them, and says so on stderr."""

import sys
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager

import click

from featsvc.cli.words import echo

_HASHING = (
    *("colour", "framing", "minhash", "near_copies", "pdq"),
    *("jarosz", "png", "resample", "samples", "segments", "tilting", "tlsh", "vp8l", "wavelet"),
)
NEEDED: Mapping[str, Collection[str]] = {
    "serve": (),
    "hash": _HASHING,
    "features": ("fold", "sketch"),
}
"""Command -> the modules of `featsvc_kernels` that it imports; empty for all."""
_LINES = 4
"""How often a log that is no terminal says how far it is."""


def prepare_kernels(command: str, *, portable: bool = False) -> None:
    """Compile the kernels that a command of `NEEDED` imports and no cache has, in parallel.

    If `portable`, for the oldest CPU that images support instead of this machine's.
    """
    # Imported late: it imports Numba, which `--help` does not need.
    from featsvc_kernels import compiling  # noqa: PLC0415

    missing = compiling.find_missing(NEEDED[command] or compiling.SECONDS, portable=portable)
    if not missing:
        return
    if lacking := compiling.unusable_baseline(missing):
        echo(
            "the compiled kernels of this installation need instructions that this CPU lacks: "
            f"{', '.join(lacking)}",
            err=True,
        )
    when = "once" if compiling.can_cache(missing, portable=portable) else "for this run only"
    echo(f"compiling kernels {when}, about {compiling.estimate_s(missing):.0f} s", err=True)
    if when != "once":
        echo("no cache folder is writable; set NUMBA_CACHE_DIR to one", err=True)
    with _shown() as on_progress:
        compiling.compile_modules(missing, on_progress, portable=portable)
    if portable and compiling.find_missing(missing, portable=True):
        raise click.ClickException("the kernels could not be compiled into NUMBA_CACHE_DIR")


@contextmanager
def _shown() -> Iterator[Callable[[float], None]]:
    """Yield a function that shows the share done: a bar on a terminal, elsewhere a few lines."""
    # Imported late, as above.
    from featsvc.cli import output  # noqa: PLC0415

    start = time.monotonic()
    said = 0
    with output.progress() as bar:
        task = bar.add_task("compiling kernels", total=1.0, rate="")

        def show(share: float) -> None:
            nonlocal said
            bar.update(task, completed=share)
            if not sys.stderr.isatty() and int(share * _LINES) > said:
                said = int(share * _LINES)
                elapsed_s = time.monotonic() - start
                echo(f"compiled {share:.0%} of the kernels in {elapsed_s:.0f} s", err=True)

        yield show
