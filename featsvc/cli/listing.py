"""Lists: every row, or a last line that says that there are more and how to go on.

A command prints at most `--limit` rows, with `--json` all of them unless a limit is given. If rows
are left out, the last line is `{"truncated": true, "shown": 100, "total": 250, "next": "--limit
0"}`; `total` is null where the server does not count. No row has the key `truncated`.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import chain, islice
from typing import Any, Generic, TypeVar

import click

from featsvc.cli import output
from featsvc.cli.output import Command
from featsvc.cli.words import counted, echo

MAX_PAGE_ROWS = 1000
"""The largest page that a server returns."""
_ALL = "--limit 0"
_CALLS_AT_ONCE = 8
_CALLS_AHEAD = 64
"""Calls that are made before the answer to the first is needed."""

T = TypeVar("T")


def limit_option(default: int = 100) -> Callable[[Command], Command]:
    """Add `--limit`: by default `default` rows, with `--json` all; 0 stands for all."""

    def settle(context: click.Context, _: click.Parameter, limit: int | None) -> int:
        # --json is eager, so it is known by now.
        if limit is None:
            return 0 if context.params["as_json"] else default
        return limit

    usual = f"{default}, with --json all" if default else "all"
    return click.option(
        "--limit",
        type=click.IntRange(min=0),
        metavar="N",
        callback=settle,
        help=f"Print at most N rows; 0 prints all. Default: {usual}.",
    )


class Listing(Generic[T]):
    """An iterator over the first `limit` rows of a list, 0 for all.

    After the last row `more` says whether there are others. `total` is the number of all rows, None
    if it is unknown. A row that cannot be read raises, so a list that breaks off is never shorter.
    """

    def __init__(self, rows: Iterable[T], limit: int) -> None:
        self._rows = rows
        self._limit = limit
        self.total: int | None = None
        self.shown = 0
        self.more = False

    @classmethod
    def paged(
        cls, call: Callable[[Any], Any], request: Any, field: str, limit: int, *, total: str = ""
    ) -> "Listing[T]":
        """List the rows in `field` of each page; `total` names the field that counts all rows."""
        listing = cls((), limit)

        def rows() -> Iterator[T]:
            for page in read_pages(call, request, limit):
                listing.total = getattr(page, total) if total else None
                yield from getattr(page, field)

        listing._rows = rows()
        return listing

    def __iter__(self) -> Iterator[T]:
        for row in self._rows:
            if self._limit and self.shown == self._limit:
                self.more = True
                return
            self.shown += 1
            yield row

    def print_json(self, convert: Callable[[T], object]) -> None:
        """Print one object per row as it arrives, then the line about the others."""
        output.json_lines(map(convert, self))
        self.print_cut_json()

    def print_cut_json(self) -> None:
        """Print the last line, if there are more rows."""
        if self.more:
            output.json_line(
                {"truncated": True, "shown": self.shown, "total": self.total, "next": _ALL}
            )

    def print_count(self, singular: str) -> None:
        """Print how many rows are shown: `0 entries`, `1 entry` or `20 of 1,234 entries`."""
        total = self.total if self.more and self.total is not None else self.shown
        of = f"{self.shown:,} of " if self.shown < total else ""
        echo(f"{of}{counted(total, singular)}")

    def print_cut(self) -> None:
        """Say for people how many rows there are besides those that were printed."""
        if self.more:
            count = "" if self.total is None else f"{self.total - self.shown:,} "
            echo(f"{count}more; use --limit N, or {_ALL} for all")


def call_each(call: Callable[[Any], Any], requests: Iterable[Any]) -> Iterator[Any]:
    """Yield the answers to requests in their order; some are under way at the same time."""
    waiting = iter(requests)
    with ThreadPoolExecutor(_CALLS_AT_ONCE) as pool:
        while some := list(islice(waiting, _CALLS_AHEAD)):
            yield from pool.map(call, some)


def read_pages_of_each(
    call: Callable[[Any], Any], requests: Sequence[Any]
) -> Iterator[Iterator[Any]]:
    """Yield the pages of each of many list calls."""
    for request in requests:
        request.page_size = MAX_PAGE_ROWS
    for request, first in zip(requests, call_each(call, requests), strict=True):
        yield chain([first], _further_pages(call, request, first))


def _further_pages(call: Callable[[Any], Any], request: Any, page: Any) -> Iterator[Any]:
    while page.next_page_token:
        request.page_token = page.next_page_token
        page = call(request)
        yield page


def read_pages(
    call: Callable[[Any], Any], request: Any, limit: int = 0, *, size: str = "page_size"
) -> Iterator[Any]:
    """Yield the pages of a list call; `size` is the field of the request that bounds a page.

    For a limit above 0 the first page asks for one row more, which shows whether there are others.
    """
    setattr(request, size, min(MAX_PAGE_ROWS, limit + 1 if limit else MAX_PAGE_ROWS))
    first = call(request)
    yield first
    yield from _further_pages(call, request, first)
