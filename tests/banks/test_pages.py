"""Lists are counted once, for their first page, whose tokens carry the number."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from sqlalchemy import Connection, event

from featsvc.banks.results import EntryFilter
from featsvc.banks.sql.pages import cut_page
from featsvc.banks.store import BankStore
from tests.banks.operations import fill


@contextmanager
def counting(store: BankStore) -> Iterator[list[str]]:
    """Collect the statements that count entries, or join the signals of two banks."""
    found: list[str] = []

    def collect(_connection: Connection, _cursor: Any, statement: str, *_: object) -> None:
        if "count(*)" in statement or statement.count("substr(") > 1:
            found.append(statement)

    event.listen(store._database._engine, "before_cursor_execute", collect)
    yield found
    event.remove(store._database._engine, "before_cursor_execute", collect)


@pytest.mark.parametrize(
    "chosen",
    [
        EntryFilter(show_withdrawn=True),
        EntryFilter(source="s1"),
        EntryFilter(labels=("often",), show_withdrawn=True),
        EntryFilter(decided=True),
        EntryFilter(expired=False),
    ],
)
def test_a_list_is_counted_once(store: BankStore, chosen: EntryFilter) -> None:
    fill(store, "b", 30)
    ids = [entry.id for entry in store.list_entries("b").entries]
    store.withdraw_entries("b", ids[::2])
    store.withdraw_entries("b", ids[1:4:2], until_listed=True)
    whole = store.list_entries("b", chosen, page_size=1000)
    with counting(store) as found:
        pages = [store.list_entries("b", chosen, page_size=2)]
        while token := pages[-1].next_page_token:
            pages.append(store.list_entries("b", chosen, page_size=2, page_token=token))
    assert len(pages) > 1
    assert len(found) == 1
    assert [entry for page in pages for entry in page.entries] == [*whole.entries]
    assert {page.total_entries for page in pages} == {whole.total_entries}
    assert whole.total_entries == len(whole.entries)
    # A token of earlier versions has the last id only.
    last = pages[0].entries[-1].id
    _, earlier = cut_page([last, last], 1, int)
    assert store.list_entries("b", chosen, page_size=2, page_token=earlier) == pages[1]


def test_an_overlap_is_joined_once(store: BankStore) -> None:
    fill(store, "a", 40)
    fill(store, "b", 35)
    with counting(store) as found:
        page = store.overlap("a", "b", max_pairs=7)
    assert (page.shared, len(page.pairs)) == (30, 7)
    assert len(found) == 1
