"""`featsvc doctor`: does this installation work, does a server serve?"""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import click
import grpc
from featsvc_client import explain
from featsvc_client.v1 import matching_pb2, matching_pb2_grpc
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
        return {f"server {server}": lambda: _serving(server)}
    # Imported late: a health probe runs every few seconds and needs none of the parts.
    from featsvc.cli import checks  # noqa: PLC0415

    return {"kernels": checks.kernels} if kernels else checks.CHECKS


def _serving(server: str) -> str:
    """Return SERVING and what is not searched or served. Raises ClickException if not SERVING."""
    with grpc.insecure_channel(server) as channel:
        try:
            stub: Any = health_pb2_grpc.HealthStub(channel)
            answer = stub.Check(health_pb2.HealthCheckRequest(), timeout=5)
            status: str = health_pb2.HealthCheckResponse.ServingStatus.Name(answer.status)
            if answer.status != health_pb2.HealthCheckResponse.SERVING:
                raise click.ClickException(status)
        except grpc.RpcError as exc:
            raise click.ClickException(str(explain(exc, server))) from exc
        # Not failures: a server that is restarted for them would not search more.
        warnings = [f"\n{'warn':<20} {line}" for line in _warnings(channel, server)]
    return "".join([status, *warnings])


def _warnings(channel: grpc.Channel, server: str) -> Iterator[str]:
    try:
        matching = matching_pb2_grpc.MatchingServiceStub(channel)
        index = matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest(), timeout=5)
    except grpc.RpcError as exc:
        yield f"the state of its index is unknown: {explain(exc, server)}"
        return
    for cause in index.set_aside:
        yield (
            f"{cause.signals} signals of {cause.algorithm} are not searched: {cause.reason}, such "
            f"as {', '.join(cause.entries)}"
        )
    if index.failure:
        yield f"still serving revision {index.served_revision}: {index.failure}"
