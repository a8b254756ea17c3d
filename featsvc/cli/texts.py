"""Texts that a user names: `--text` and `--text-file`."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import click
from featsvc_client.v1 import types_pb2

from featsvc.cli.files import read_content
from featsvc.errors import FeatsvcError
from featsvc.signals.text_views import MAX_TEXT_BYTES, decode_text

F = TypeVar("F", bound=Callable[..., Any])

STDIN = "-"


def text_options(*, multiple: bool = False) -> Callable[[F], F]:
    """`text` and `text_file` of a command; several of each where it says so."""
    repeatable = " Repeatable." if multiple else ""

    def add(command: F) -> F:
        of_file = click.option(
            "--text-file", metavar="FILE", multiple=multiple,
            help=f"A text file in UTF-8; - reads the standard input.{repeatable}",
        )(command)  # fmt: skip
        return click.option(
            "--text", metavar="TEXT", multiple=multiple,
            help=f"A text, as it is; it is kept in your shell's history.{repeatable}",
        )(of_file)  # fmt: skip

    return add


def read_text(path: str) -> str:
    """The text in a file, or on the standard input. Raises ClickException."""
    try:
        if path == STDIN:
            return decode_text(sys.stdin.buffer.read(MAX_TEXT_BYTES + 1))
        return decode_text(read_content(Path(path), MAX_TEXT_BYTES))
    except FeatsvcError as exc:
        raise click.ClickException(f"{path}: {exc}") from exc


def text_content(text: str | None, text_file: str | None) -> types_pb2.Content | None:
    """What the two options say; None where neither is given."""
    if text_file is not None:
        text = read_text(text_file)
    return None if text is None else types_pb2.Content(text=text)
