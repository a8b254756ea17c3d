"""`featsvc serve`: run the service until SIGTERM or SIGINT."""

from pathlib import Path

import click

from featsvc.app import run
from featsvc.config import load_config


@click.command(short_help="Run the service.")
@click.option("--listen", metavar="HOST:PORT", help="Address to listen on; port 0 picks one.")
@click.option("--workers", type=click.IntRange(1, 256), metavar="N", help="Processes that answer.")
@click.option("--data-dir", metavar="DIR", help="Where banks and embedded stores live.")
@click.option("--redis", metavar="URL|embedded", help="Redis or Valkey for account features.")
@click.option("--features", metavar="FILE", help="Feature definitions instead of the shipped ones.")
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Configuration in TOML; featsvc.example.toml shows every key.",
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

    Settings come from --config, then FEATSVC_* variables, then these options; the last one
    wins. Prints one line, `serving on HOST:PORT`, when health says SERVING, of
    all workers. SIGTERM or SIGINT
    finishes what is in flight within the grace period and exits.
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
    run(config, on_serving=lambda address: click.echo(f"serving on {address}"))
