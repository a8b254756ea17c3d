"""`featsvc serve`: run the service until SIGTERM or SIGINT."""

from pathlib import Path

import click

from featsvc.app import run
from featsvc.config import load_config

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
    workers serve, it prints one line, `serving on HOST:PORT`. After SIGTERM or SIGINT it finishes
    the calls in flight, within the grace period, and exits.
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
