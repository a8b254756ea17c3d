"""Hash lists made up for tests, and the samples."""

from collections.abc import Iterable
from pathlib import Path

from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import Entry
from featsvc.banks.store import BankStore

SAMPLES = Path(__file__).parent / "samples"


def sample(name: str) -> bytes:
    """A list in the shape of an exchange's; the hashes in it are made up."""
    return (SAMPLES / name).read_bytes()


def hex_list(values: Iterable[int]) -> bytes:
    """PDQ text with one hash a number."""
    return b"".join(b"%064x\n" % value for value in values)


def list_file(content: bytes | str, *, name: str = "list.txt", chunk_bytes: int = 1000) -> ListFile:
    data = content.encode() if isinstance(content, str) else content
    pieces = [data[i : i + chunk_bytes] for i in range(0, len(data), chunk_bytes)]
    return ListFile(pieces, name=name)


def live(store: BankStore) -> dict[tuple[str, int], Entry]:
    """Every live entry, by bank and id."""
    with store.view() as view:
        return {(entry.bank_id, entry.id): entry for entry in view.live_entries()}
