"""The connection to a server: `--server`, errors as one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any

import click
from featsvc_client import DEFAULT_TARGET, Client, ServiceError
from featsvc_client.v1 import hashing_pb2

from featsvc.cli.output import json_option


def with_client(command: Callable[..., None]) -> Callable[..., None]:
    """Add `--server`, and pass the command a `client` that is connected to it."""

    @click.option(
        "--server",
        metavar="HOST:PORT",
        envvar="FEATSVC_SERVER",
        default=DEFAULT_TARGET,
        show_default=True,
        show_envvar=True,
        help="The service to call.",
    )
    @wraps(command)
    def connected(server: str, **arguments: Any) -> None:
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
            raise click.ClickException(str(exc)) from exc


def describe_algorithm(client: Client, name: str) -> hashing_pb2.Algorithm:
    """Return what the server says of an algorithm, a size of one, or a model."""
    request = hashing_pb2.ListAlgorithmsRequest(algorithms=[name])
    algorithm: hashing_pb2.Algorithm = client.hashing.ListAlgorithms(request).algorithms[0]
    return algorithm
