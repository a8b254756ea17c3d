"""Printing: JSON lines for programs, lines and tables for people.

One line of text is `words.echo`.
"""

import io
import json
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
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
from rich.text import Text

from featsvc.cli.words import counted, has_shape, visible

Command = TypeVar("Command", bound=Callable[..., Any])

WHOLE_CHARS = 256
_CUT_CHARS = 64
_PIPE_COLUMNS = 100_000
"""The width of a table that no terminal cuts."""

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
    r"""Print one compact JSON object and a newline; what has no shape is `\u202e`."""
    text = _encoder.encode(value).decode()
    if not text.isprintable():
        # Python's own encoder writes such a character as JSON has it, an astral one as two.
        text = "".join(c if has_shape(c) else json.dumps(c)[1:-1] for c in text)
    click.echo(text)


def json_lines(values: Iterable[object]) -> None:
    """Print one JSON object per line."""
    for value in values:
        json_line(value)


def table(
    columns: Sequence[str],
    rows: Iterable[Sequence[object]],
    title: str = "",
    *,
    one_line: bool = False,
    wide: bool = False,
) -> None:
    """Print a table without the columns that are empty; nothing if there are no rows.

    Numbers are at the right. On a terminal the widest columns give way, those of numbers and short
    words last: texts continue on the next line, unless `one_line`, and a word that does not fit,
    such as a hash, ends with an ellipsis. A pipe, or `wide`, gets lines of any width.
    """
    cells = list(rows)
    if not cells:
        return
    drawn = Table(
        title=Text(visible(title)) if title else None,
        title_justify="left",
        header_style="bold",
        box=box.SIMPLE_HEAD,
        show_edge=False,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    shown = [i for i in range(len(columns)) if any(row[i] not in ("", None) for row in cells)]
    texts = {i: [_cell(row[i], one_line) for row in cells] for i in shown}
    kept = _kept_whole(texts, one_line)
    for index in shown:
        numeric = any(isinstance(row[index], int | float) for row in cells)
        drawn.add_column(
            columns[index],
            overflow="ellipsis",
            justify="right" if numeric else "left",
            no_wrap=numeric or index in kept,
        )
    for row in zip(*texts.values(), strict=True):
        drawn.add_row(*row)
    _print(drawn, wide=wide)


def _kept_whole(texts: Mapping[int, Sequence[Text]], one_line: bool) -> set[int]:
    """Return the narrowest columns that cannot wrap, up to half of a terminal's width."""
    words = {
        index: max(text.cell_len for text in column)
        for index, column in texts.items()
        if one_line or not any(" " in text.plain for text in column)
    }
    kept: set[int] = set()
    room = Console().width // 2
    for index, chars in sorted(words.items(), key=lambda pair: pair[1]):
        room -= chars + 2
        if room >= 0:
            kept.add(index)
    return kept


def fields(rows: Iterable[Sequence[object]]) -> None:
    """Print a line for each row, a name and values; only the last, which may be a text, gives way.

    A row without a last value is left out.
    """
    cells = [row for row in rows if row[-1] not in ("", None)]
    drawn = Table.grid(padding=(0, 2, 0, 0))
    for _ in cells[0][1:] if cells else ():
        drawn.add_column(no_wrap=True)
    drawn.add_column(overflow="ellipsis")
    for row in cells:
        drawn.add_row(*map(_cell, row))
    _print(drawn)


def _print(drawn: Table, *, wide: bool = False) -> None:
    if sys.stdout.isatty() and not wide:
        Console(highlight=False).print(drawn)
        return
    text = io.StringIO()
    Console(file=text, width=_PIPE_COLUMNS, highlight=False).print(drawn)
    for line in text.getvalue().splitlines():
        click.echo(line.rstrip())


def _cell(value: object, one_line: bool = False) -> Text:
    # `--json` prints every digit.
    shown = "" if value is None else round(value, 6) if isinstance(value, float) else value
    # Only our own cells have several lines: a tuple.
    lines = shown if isinstance(shown, tuple) else (shown,)
    text = "\n".join(map(visible, lines))
    return Text(text, no_wrap=one_line or None, overflow="ellipsis")


def shorten(signal: str) -> str:
    """Cut the text form of a signal that is too long for a table, such as the grams of a text."""
    if len(signal) <= WHOLE_CHARS:
        return signal
    return f"{signal[:_CUT_CHARS]}... {counted(len(signal), 'digit')}"


def progress(*, count: bool = False, shown: bool = True) -> Progress:
    """Return a progress bar on stderr, which is drawn on a terminal only, if `shown`.

    With `count` it counts things; otherwise it shows a percentage and the field `rate` of a task.
    It vanishes at the end: the command says what happened.
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
        disable=not (shown and sys.stderr.isatty()),
        transient=True,
    )


def task_name(text: str) -> str:
    """Return the description of a task: without control characters, and no markup."""
    return escape(visible(text))
