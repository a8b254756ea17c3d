"""`featsvc doctor`: does this installation work, does a server serve?"""

from collections.abc import Callable, Mapping
from typing import Any

import click
import grpc
from featsvc_client import explain
from grpc_health.v1 import health_pb2, health_pb2_grpc

from featsvc.errors import FeatsvcError


@click.command()
@click.option("--kernels", is_flag=True, help="Only compile and warm the kernels.")
@click.option(
    "--server",
    metavar="HOST:PORT",
    envvar="FEATSVC_SERVER",
    show_envvar=True,
    help="Only check the health of this server.",
)
def doctor(kernels: bool, server: str | None) -> None:
    """Check this installation, or a server.

    Prints one line per check, and exits with 1 if one failed.
    """
    failed = 0
    for name, check in _checks(kernels, server).items():
        try:
            click.echo(f"ok    {name:<14} {check()}")
        except (FeatsvcError, click.ClickException, OSError) as exc:
            failed += 1
            click.echo(f"FAIL  {name:<14} {exc}")
    if failed:
        raise click.exceptions.Exit(1)


def _checks(kernels: bool, server: str | None) -> Mapping[str, Callable[[], str]]:
    if server:
        return {f"server {server}": lambda: _health(server)}
    # Imported late: a health probe runs every few seconds and needs none of the parts.
    from featsvc.cli import checks  # noqa: PLC0415

    return {"kernels": checks.kernels} if kernels else checks.CHECKS


def _health(server: str) -> str:
    """Return SERVING. Raises ClickException for any other status."""
    with grpc.insecure_channel(server) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
        except grpc.RpcError as exc:
            raise click.ClickException(str(explain(exc, server))) from exc
    status: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
    if answer.status != health_pb2.HealthCheckResponse.SERVING:
        raise click.ClickException(status)
    return status
