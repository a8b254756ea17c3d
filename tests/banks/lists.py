"""Hash lists for tests, the samples, and what a store holds."""

from collections.abc import Iterable
from pathlib import Path

import pytest

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import Entry, Revision
from featsvc.banks.results import BadRow
from featsvc.banks.sql.schema import is_live
from featsvc.banks.sql.stored import SignalRow
from featsvc.banks.sql.view import StoreView
from featsvc.banks.store import BankStore
from tests.photographs import SHARED

SAMPLES = Path(__file__).parent / "samples"
_CASES = SHARED.parent / "cases" / "lists"

HASH = "0123456789abcdef" * 4


def sample(name: str) -> bytes:
    """Return a list in the form of an exchange; its hashes are made up."""
    return (SAMPLES / name).read_bytes()


def case(name: str) -> bytes:
    """Return a list of the cases that failed; skip the test where they are absent."""
    path = _CASES / name
    if not path.exists():
        pytest.skip("the cases (../shared/cases) are not here")
    return path.read_bytes()


def hex_list(values: Iterable[int]) -> bytes:
    """Return PDQ text with a hash for each number.

    The comma says that it is PDQ: bare hashes of 64 digits may be SHA-256.
    """
    return b"".join(b"%064x,\n" % value for value in values)


def list_file(
    content: bytes | str, *, name: str = "list.txt", chunk_bytes: int = 1000, format_name: str = ""
) -> ListFile:
    data = content.encode() if isinstance(content, str) else content
    pieces = [data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes)]
    return ListFile(pieces, name=name, format=format_name)


def exported(store: BankStore, bank: str, format_name: str, revision: int = 0) -> bytes:
    return b"".join(store.export_entries(bank, format_name, revision).chunks)


def live(store: BankStore) -> dict[tuple[str, int], Entry]:
    """Return every live entry, by bank and id."""
    with store.view() as view:
        return live_in(view)


def ids(store: BankStore) -> list[int]:
    """Return the ids of all live entries, in order."""
    return sorted(entry.id for entry in live(store).values())


def live_in(view: StoreView) -> dict[tuple[str, int], Entry]:
    """Return every live entry of a view, by bank and id."""
    return {(entry.bank_id, entry.id): entry for entry in view.entries_where(is_live)}


def log_since(view: StoreView, revision: int) -> list[Revision]:
    """Return the log after a revision, oldest first."""
    newest = view.revision_page("", before=2**62, limit=view.head.revision - revision)
    return list(reversed(newest))


def follow(view: StoreView, followed: dict[int, SignalRow], since: int) -> list[SignalRow]:
    """Bring live signals, by version, from a revision to that of the view; return those added.

    Every entry must have one signal.
    """
    for version in view.versions_removed_since(since):
        del followed[version]
    added = list(view.signals_added_since(since))
    assert not followed.keys() & {row.version for row in added}
    followed |= {row.version: row for row in added}
    return added


def rows_of(content: bytes | str, format_name: str = "") -> list[ImportRow | BadRow]:
    """Read all rows of a list."""
    return list(list_file(content, format_name=format_name))


def only_row(content: bytes | str, format_name: str = "") -> ImportRow:
    """Read the one row of a list, a good one."""
    (row,) = rows_of(content, format_name)
    assert isinstance(row, ImportRow), row
    return row


def only_bad(content: bytes | str) -> BadRow:
    """Read a list with one bad row, and return that."""
    bad = [row for row in rows_of(content) if isinstance(row, BadRow)]
    assert len(bad) == 1, bad
    return bad[0]
