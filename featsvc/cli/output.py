"""Printing: JSON lines for programs, tables for people."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import click
import msgspec
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)
from rich.table import Table

Command = TypeVar("Command", bound=Callable[..., Any])

WHOLE_CHARS = 256
_CUT_CHARS = 64

_encoder = msgspec.json.Encoder()


def json_option(command: Command) -> Command:
    """Add `--json`."""
    return click.option(
        "--json",
        "as_json",
        is_flag=True,
        # The default of --limit depends on it.
        is_eager=True,
        help="Print one JSON object per line.",
    )(command)


def json_line(value: object) -> None:
    """Print one compact JSON object and a newline."""
    click.echo(_encoder.encode(value).decode())


def json_lines(values: Iterable[object]) -> None:
    """Print one JSON object per line."""
    for value in values:
        json_line(value)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """Print a table, numbers to the right; a pipe gets lines of any width."""
    cells = list(rows)
    drawn = Table(
        title=title or None, title_justify="left", header_style="bold", box=box.SIMPLE_HEAD
    )
    for index, column in enumerate(columns):
        numeric = any(isinstance(row[index], int | float) for row in cells)
        drawn.add_column(column, overflow="fold", justify="right" if numeric else "left")
    for row in cells:
        drawn.add_row(*map(_cell, row))
    Console(width=None if sys.stdout.isatty() else 1000, highlight=False).print(drawn)


def _cell(value: object) -> str:
    if value is None:
        return ""
    # `--json` prints every digit.
    return escape(str(round(value, 6) if isinstance(value, float) else value))


def counted(number: int, singular: str, plural: str = "") -> str:
    """Return `1 entry` or `1,234 entries`; the plural has an s unless it is given."""
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"


def shorten(signal: str) -> str:
    """Cut the text form of a signal that is too long for a table, such as the grams of a text."""
    if len(signal) <= WHOLE_CHARS:
        return signal
    return f"{signal[:_CUT_CHARS]}... {len(signal):,} digits"


def progress(*, count: bool = False) -> Progress:
    """Return a progress bar on stderr, which is drawn on a terminal only.

    With `count` it counts things; otherwise it shows a percentage and the field `rate` of a task.
    """
    columns: tuple[ProgressColumn, ...] = (
        (MofNCompleteColumn(),)
        if count
        else (TaskProgressColumn(), TextColumn("{task.fields[rate]}"))
    )
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        *columns,
        TimeRemainingColumn(),
        console=Console(stderr=True),
        disable=not sys.stderr.isatty(),
        transient=True,
    )
