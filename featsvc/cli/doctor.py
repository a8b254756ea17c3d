"""`featsvc doctor`: does this installation work, does a server serve?"""

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import click
import grpc
from featsvc_client import Client, ServiceError, explain
from featsvc_client.v1 import matching_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from featsvc.cli.remote import check_server, connect
from featsvc.cli.words import counted, echo
from featsvc.errors import FeatsvcError

_INDENT = "\n" + " " * 21


class CheckSkipped(Exception):
    """A check cannot run, because another one failed."""


def _check_server(ctx: click.Context, param: click.Parameter, value: str | None) -> str | None:
    return None if value is None else check_server(ctx, param, value)


@click.command()
@click.option("--kernels", is_flag=True, help="Only compile and warm the kernels.")
@click.option(
    "--portable",
    is_flag=True,
    help="Compile for every CPU of an image (x86-64-v3; on ARM any), not for this machine's.",
)
@click.option(
    "--server",
    metavar="HOST:PORT",
    callback=_check_server,
    help="Only check the health of this server, not this installation.",
)
@click.option(
    "--config",
    "config_file",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="The configuration to check, as of featsvc serve.",
)
def doctor(kernels: bool, portable: bool, server: str | None, config_file: Path | None) -> None:
    """Check this installation and its configuration, or a server.

    Prints the result of each check, `ok`, `FAIL` or `skip`, with lines that begin with `warn` for
    what works but not as one would want, and exits with 1 if a check failed. FEATSVC_SERVER is not
    read: only --server makes it check a server.
    """
    if server and (kernels or portable):
        raise click.UsageError("--server checks a server only: leave out --kernels and --portable")
    failed = 0
    for name, check in _checks(kernels, portable, server, config_file).items():
        try:
            mark, text = "ok", check()
        except CheckSkipped as exc:
            mark, text = "skip", str(exc)
        except (FeatsvcError, click.ClickException, OSError) as exc:
            failed += 1
            mark, text = "FAIL", str(exc)
        for line in f"{mark:<5} {name:<14} {text}".replace("\n  ", _INDENT).split("\n"):
            echo(line)
    if failed:
        raise click.exceptions.Exit(1)


def _checks(
    kernels: bool, portable: bool, server: str | None, config_file: Path | None
) -> Mapping[str, Callable[[], str]]:
    if server is not None:
        return {f"server {server}": lambda: _serving(server)}
    # Imported late: a health probe runs every few seconds and needs none of the parts.
    from featsvc.cli.kernels import prepare_kernels  # noqa: PLC0415

    prepare_kernels("serve", portable=portable)
    from featsvc.cli import checks  # noqa: PLC0415

    return {"kernels": checks.kernels} if kernels else checks.checks(config_file)


def _serving(server: str) -> str:
    """Return SERVING and what is not searched or served. Raises ClickException if not SERVING."""
    with connect(server) as client:
        try:
            stub: Any = health_pb2_grpc.HealthStub(client.channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
            status: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                raise click.ClickException(status)
        except grpc.RpcError as exc:
            raise click.ClickException(str(explain(exc, server))) from exc
        # Not failures: a server that is restarted for them would not search more.
        warnings = [f"\n{'warn':<20} {line}" for line in _warnings(client)]
    return "".join([status, *warnings])


def _warnings(client: Client) -> Iterator[str]:
    try:
        index = client.matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest(), timeout=5)
    except ServiceError as exc:
        yield f"the state of its index is unknown: {exc}"
        return
    for cause in index.set_aside:
        yield (
            f"not searched: {counted(cause.signals, 'signal')} of {cause.algorithm}: "
            f"{cause.reason}, such as {', '.join(cause.entries)}"
        )
    if not any(algorithm.entries for algorithm in index.algorithms):
        yield "nothing can match: no bank holds an entry"
    if index.failure:
        yield f"still serving revision {index.served_revision}: {index.failure}"
