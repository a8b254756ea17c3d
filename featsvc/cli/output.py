"""How commands print: JSON lines for programs, tables for people."""

import sys
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    # Private to protobuf, and named by every generated stub.
    from google.protobuf.internal.enum_type_wrapper import EnumTypeWrapper

_encoder = msgspec.json.Encoder()


def json_line(value: object) -> None:
    """One compact JSON object and a newline."""
    click.echo(_encoder.encode(value).decode())


def enum_name(enum: "EnumTypeWrapper", value: int, prefix: str) -> str:
    """The name without its prefix; UNKNOWN and the number for a value that is newer than this
    command."""
    try:
        name = enum.Name(value)
    except ValueError:
        return f"UNKNOWN_{value}"
    return name.removeprefix(prefix)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """A table with numbers to the right; on a pipe it is as wide as it needs to be."""
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
    # JSON has every digit; a person compares the first few.
    return escape(str(round(value, 6) if isinstance(value, float) else value))


def counted(number: int, one: str, many: str) -> str:
    return f"{number:,} {one if number == 1 else many}"


def progress(*, count: bool = False) -> Progress:
    """A progress bar on stderr, drawn only where a person is watching.

    It counts things with `count`; else it shows a share, and the field `rate` that tasks then have.
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
