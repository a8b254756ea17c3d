"""`featsvc serve`: run the service until SIGTERM or SIGINT."""

import contextlib
import logging
import os
import sys
import threading
from pathlib import Path

import click

from featsvc.cli.kernels import prepare_kernels
from featsvc.cli.words import visible
from featsvc.config import Config, load_config
from featsvc.errors import FeatsvcError

_log = logging.getLogger("featsvc.serve")

_EXAMPLE = Path(__file__).parents[1] / "featsvc.example.toml"


def _print_example(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    if value:
        click.echo(_EXAMPLE.read_text(encoding="utf-8"), nl=False)
        ctx.exit()


@click.command()
@click.option("--listen", metavar="HOST:PORT", help="Address to listen on. Port 0: any free port.")
@click.option("--workers", type=click.IntRange(1, 256), metavar="N", help="Processes that serve.")
@click.option("--data-dir", metavar="DIR", help="Folder of banks and embedded stores.")
@click.option("--redis", metavar="URL|embedded", help="Redis or Valkey for account features.")
@click.option("--features", metavar="FILE", help="Feature definitions instead of the shipped ones.")
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration in TOML; --example-config shows every key.",
)
@click.option(
    "--example-config",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_example,
    help="Print every key with its default and meaning, and exit.",
)
def serve(
    listen: str | None,
    workers: int | None,
    data_dir: str | None,
    redis: str | None,
    features: str | None,
    config_file: Path | None,
) -> None:
    """Run the service.

    Settings come from --config, FEATSVC_* variables and these options; the later one wins. Once all
    workers serve, it prints `serving on HOST:PORT`, then indented lines about what it serves, and
    warns on stderr if that can match nothing. After SIGTERM or SIGINT it finishes the calls in
    flight, within the grace period, and exits.
    """
    config = load_config(
        config_file,
        overrides={
            "server.listen": listen,
            "server.workers": workers,
            "data_dir": data_dir,
            "redis.url": redis,
            "features.file": features,
        },
    )
    # Late, as it may compile kernels: a wrong configuration must be refused before.
    prepare_kernels("serve")
    from featsvc.app import run  # noqa: PLC0415

    run(config, on_serving=lambda address: _announce(config, address))


def _announce(config: Config, address: str) -> None:
    """Print the address at once, and the report when the store has answered."""
    _print(f"serving on {address}\n")
    # A daemon: a store that does not answer must not hold up the end of the process.
    threading.Thread(target=_report, args=(config,), name="start-report", daemon=True).start()


def _report(config: Config) -> None:
    from featsvc.cli.start_report import start_report  # noqa: PLC0415

    try:
        block, warnings = start_report(config)
    except FeatsvcError as exc:  # a file that was there when the service started
        _log.warning("cannot say what is served: %s", exc)
        return
    _print(block)
    for warning in warnings:
        _log.warning("%s", warning)


def _print(text: str) -> None:
    """Write to stdout in one piece; a reader that has closed the pipe is no reason to end.

    Not through `sys.stdout`, whose buffer a daemon thread must not hold when the process ends.
    """
    if sys.stdout is not None:  # None where the service was started without one
        with contextlib.suppress(OSError):
            os.write(sys.stdout.fileno(), visible(text, keep="\n").encode())
