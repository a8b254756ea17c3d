"""Read what a user names on the command line: files, texts, signals, lists of names."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import click
from featsvc_client.v1 import types_pb2

from featsvc.cli.output import Command
from featsvc.cli.words import counted
from featsvc.errors import FeatsvcError, shown
from featsvc.signals.text_views import MAX_TEXT_BYTES, decode_text

STDIN = "-"
MAX_REQUEST_BYTES = 32 * 2**20
"""The default of media.max_content_bytes: the content of one request."""


def split_names(text: str) -> list[str]:
    """Split `a,b` into names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def parse_signal(text: str, option: str) -> types_pb2.Signal:
    """Parse ALGORITHM:HEX; the server checks both parts. Raises BadParameter."""
    algorithm, colon, value = text.strip().partition(":")
    if not (algorithm and colon and value):
        raise click.BadParameter(
            f"{shown(text)!r} is not ALGORITHM:HEX, such as pdq:f8f8f0...", param_hint=option
        )
    return types_pb2.Signal(algorithm=algorithm.strip(), value=value.strip())


def printable(path: Path | str) -> str:
    """Return a path as text; bytes that are not UTF-8 become `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def read_file(path: Path, max_bytes: int = MAX_REQUEST_BYTES) -> bytes:
    """Read a file of at most `max_bytes`. Raises ClickException."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as exc:
        raise click.ClickException(f"{path}: cannot be read: {exc.strerror}") from exc
    if len(content) > max_bytes:
        raise click.ClickException(f"{path}: larger than {counted(max_bytes, 'byte')}")
    return content


def read_text(path: str) -> str:
    """Read a text file in UTF-8; `-` is standard input. Raises ClickException."""
    limit = MAX_TEXT_BYTES + 1
    content = sys.stdin.buffer.read(limit) if path == STDIN else read_file(Path(path))
    try:
        return decode_text(content)
    except FeatsvcError as exc:
        raise click.ClickException(f"{path}: {exc}") from exc


def text_options(*, multiple: bool = False) -> Callable[[Command], Command]:
    """Add `--text` and `--text-file`; with `multiple` both are repeatable."""
    repeatable = " Repeatable." if multiple else ""

    def add(command: Command) -> Command:
        for name, metavar, text in (
            ("--text-file", "FILE", "A text file in UTF-8; - reads standard input."),
            ("--text", "TEXT", "A text. Your shell keeps it in its history."),
        ):
            command = click.option(
                name, metavar=metavar, multiple=multiple, help=text + repeatable
            )(command)
        return command

    return add
