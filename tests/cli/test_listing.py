"""Lists are whole, or say that they are cut: for any number of rows, any limit and any page."""

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from featsvc.cli.listing import MAX_PAGE_ROWS, Listing, limit_option
from featsvc.cli.output import json_option


class Pages:
    """A server's list of `count` rows; it gives at most `largest` a page, and may fail."""

    def __init__(self, count: int, largest: int, failing: int = -1) -> None:
        self.count, self.largest, self.failing = count, largest, failing
        self.calls = 0

    def __call__(self, request: SimpleNamespace) -> SimpleNamespace:
        assert 1 <= request.page_size <= MAX_PAGE_ROWS
        if self.calls == self.failing:
            raise ConnectionError
        self.calls += 1
        first = int(request.page_token or 0)
        stop = min(self.count, first + min(request.page_size, self.largest))
        return SimpleNamespace(
            rows=list(range(first, stop)),
            total=self.count,
            next_page_token=str(stop) if stop < self.count else "",
        )


def listing(pages: Pages, limit: int, total: str = "total") -> Listing[int]:
    request = SimpleNamespace(page_size=0, page_token="")
    return Listing.paged(pages, request, "rows", limit, total=total)


def printed(run: Callable[[], object]) -> list[Any]:
    result = CliRunner().invoke(click.command("list")(run))
    assert result.exception is None, result.exception
    return [json.loads(line) for line in result.output.splitlines()]


@given(st.integers(0, 50), st.integers(0, 60), st.integers(1, 12), st.sampled_from(["total", ""]))
def test_all_rows_or_a_last_line(count: int, limit: int, largest: int, total: str) -> None:
    lines = printed(lambda: listing(Pages(count, largest), limit, total).print_json(lambda n: [n]))
    rows = [line for line in lines if isinstance(line, list)]
    assert rows == [[n] for n in range(count)][: limit or None]
    cut = lines[len(rows) :]
    known = count if total else None
    whole = limit == 0 or count <= limit
    shape = {"truncated": True, "shown": limit, "total": known, "next": "--limit 0"}
    assert cut == ([] if whole else [shape])


@given(st.integers(1, 50), st.integers(0, 60), st.integers(1, 12), st.data())
def test_a_page_that_fails_ends_the_list_with_its_error(
    count: int, limit: int, largest: int, data: st.DataObject
) -> None:
    whole = Pages(count, largest)
    list(listing(whole, limit))
    failing = data.draw(st.integers(0, whole.calls - 1))
    with pytest.raises(ConnectionError):
        list(listing(Pages(count, largest, failing), limit))


def test_people_are_told_too(capsys: pytest.CaptureFixture[str]) -> None:
    for total, told in (("total", "1,997 more; "), ("", "more; ")):
        cut = listing(Pages(2000, 1000), 3, total)
        assert list(cut) == [0, 1, 2]
        cut.print_cut()
        assert capsys.readouterr().out == told + "use --limit N, or --limit 0 for all\n"
    whole = listing(Pages(3, 1000), 3)
    list(whole)
    whole.print_cut()
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("arguments", "limit"),
    [
        ([], 7),
        (["--json"], 0),
        (["--limit", "3", "--json"], 3),
        (["--json", "--limit", "0"], 0),
        (["--limit", "0"], 0),
    ],
)
def test_the_limit_is_for_people_unless_it_is_given(arguments: list[str], limit: int) -> None:
    @click.command()
    @limit_option(7)
    @json_option
    def command(limit: int, as_json: bool) -> None:
        click.echo(limit)

    assert CliRunner().invoke(command, arguments).output == f"{limit}\n"
