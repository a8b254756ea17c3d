"""The connection to a server: `--server`, errors as one line, lists page by page."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Any, Protocol, TypeVar

import click
import grpc
from featsvc_client import DEFAULT_TARGET, Client, explain
from featsvc_client.v1 import hashing_pb2

from featsvc.cli.output import json_option

MAX_PAGE_ROWS = 1000
"""The largest page that a server returns."""


class _PageRequest(Protocol):
    page_size: int
    page_token: str


Request = TypeVar("Request", bound=_PageRequest)


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
        with Client(server) as client:
            yield client
    except grpc.RpcError as exc:
        raise click.ClickException(str(explain(exc, server))) from exc


def read_pages(
    call: Callable[[Request], Any], request: Request, rows: str, limit: int = sys.maxsize
) -> Iterator[Any]:
    """Yield the pages of a list call, at most `limit` rows; `rows` is the field that holds them."""
    while limit > 0:
        request.page_size = min(MAX_PAGE_ROWS, limit)
        page = call(request)
        yield page
        if not page.next_page_token:
            return
        request.page_token = page.next_page_token
        limit -= len(getattr(page, rows))


def describe_algorithm(client: Client, name: str) -> hashing_pb2.Algorithm:
    """Return what the server says of an algorithm, a size of one, or a model."""
    request = hashing_pb2.ListAlgorithmsRequest(algorithms=[name])
    algorithm: hashing_pb2.Algorithm = client.hashing.ListAlgorithms(request).algorithms[0]
    return algorithm
