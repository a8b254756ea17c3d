"""The connection to a server: `--server`, errors as one line."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click
from click.core import ParameterSource
from featsvc_client import DEFAULT_TARGET, Client, ServiceError
from featsvc_client.v1 import hashing_pb2

from featsvc.addresses import check_target
from featsvc.cli.output import json_option
from featsvc.cli.words import visible


def check_server(ctx: click.Context, param: click.Parameter, value: str) -> str:
    """Return the target of `--server` or FEATSVC_SERVER. Raises ClickException for a wrong one."""
    if ctx.resilient_parsing:  # a shell completes the command
        return value
    by_variable = ctx.get_parameter_source(str(param.name)) is ParameterSource.ENVIRONMENT
    try:
        return check_target(value)
    except ValueError as exc:
        origin = "FEATSVC_SERVER" if by_variable else "--server"
        raise click.ClickException(f"{origin} {exc}") from None


def _check_variables() -> None:
    """Refuse a misspelt FEATSVC_SERVER, which would let the command change another server."""
    meant = [name for name in os.environ if name.upper().startswith("FEAT")]
    # Imported late: it takes longer than the rest of the command, and few machines need it.
    if meant and (meant != ["FEATSVC_SERVER"] or not os.environ["FEATSVC_SERVER"]):
        from featsvc.config import check_variables  # noqa: PLC0415

        check_variables(os.environ)


def with_client(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--server`, and pass the command a `client` that is connected to it."""

    @click.option(
        "--server",
        metavar="HOST:PORT",
        envvar="FEATSVC_SERVER",
        default=DEFAULT_TARGET,
        show_default=True,
        show_envvar=True,
        callback=check_server,
        help="The service to call.",
    )
    @wraps(command)
    def connected(server: str, **arguments: Any) -> None:
        _check_variables()
        with connect(server) as client:
            command(client=client, **arguments)

    return connected


def remote_command(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--server` and `--json`, and pass the command a `client`."""
    return with_client(json_option(command))


@contextmanager
def connect(server: str) -> Iterator[Client]:
    """Yield a client. A call that fails ends the command with one line. Raises ClickException."""
    try:
        # Whoever types a command sees at once why it fails. A change may take as long as it takes.
        client = Client(server, bank_timeout_s=None, max_attempts=1)
    except ValueError as exc:
        raise click.ClickException(str(exc)) from exc
    with client:
        try:
            yield client
        except ServiceError as exc:
            # The word for docs/errors.md comes last.
            word = f" ({exc.reason})" if exc.reason else ""
            raise click.ClickException(f"{visible(exc.message)}{word}") from exc


def describe_algorithm(client: Client, name: str) -> hashing_pb2.Algorithm:
    """Return what the server says of an algorithm, a size of one, or a model."""
    request = hashing_pb2.ListAlgorithmsRequest(algorithms=[name])
    algorithm: hashing_pb2.Algorithm = client.hashing.ListAlgorithms(request).algorithms[0]
    return algorithm
