"""What commands that talk to a server share: `--server`, `--json`, and errors as one line."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import click
import grpc
from featsvc_client import DEFAULT_TARGET, Client, explain

F = TypeVar("F", bound=Callable[..., Any])


def server_option(command: F) -> F:
    return click.option(
        "--server",
        metavar="HOST:PORT",
        envvar="FEATSVC_SERVER",
        default=DEFAULT_TARGET,
        show_default=True,
        show_envvar=True,
        help="The service to talk to.",
    )(command)


def json_option(command: F) -> F:
    return click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")(command)


@contextmanager
def connect(server: str) -> Iterator[Client]:
    """A client whose failed calls become one-line errors of the command."""
    try:
        with Client(server) as client:
            yield client
    except grpc.RpcError as exc:
        raise click.ClickException(str(explain(exc, server))) from exc
