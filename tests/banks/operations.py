"""Every operation of the bank store on one bank of a store with several, for plans and times."""

import hashlib
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import BankMode, EntryEdit, EntrySignal
from featsvc.banks.results import EntryFilter, ImportOptions, ImportResult, MatchKey
from featsvc.banks.sql.pages import cut_page, decode_token
from featsvc.banks.store import BankStore
from tests.banks.lists import exported, list_file

PAGE = 500
SMALL_IMPORT = 4_000
"""Rows that are written in one transaction."""
_HEADER = "algorithm,signal,external_id,labels,source,expire_time,withdrawn\n"
_PAST = datetime(2020, 1, 1, tzinfo=UTC)


class Operation(NamedTuple):
    """`prepare` is not part of it; `repeats` says whether it may be made again."""

    name: str
    run: Callable[[], object]
    prepare: Callable[[], object] = lambda: None
    repeats: bool = True


def signal(bank: str, number: int) -> bytes:
    """Return the hash of an entry; the first thirty of two banks are equal."""
    return hashlib.sha256(f"{number if number < 30 else (bank, number)}".encode()).digest()


def line(bank: str, number: int, *, external_id: bool = True, withdrawn: bool = False) -> str:
    named = f"{bank}-{number}" if external_id else ""
    label = "rare" if number % 1000 == 0 else "often"
    expires = "2020-01-01T00:00:00Z" if number % 5000 == 1 else ""
    value = signal(bank, number).hex()
    return f"pdq,{value},{named},{label},s{number % 3},{expires},{'true' if withdrawn else ''}\n"


def import_lines(
    store: BankStore, bank: str, lines: Iterable[str], *, replace: bool = False
) -> ImportResult:
    options = ImportOptions(replace=replace, allow_withdrawn=10**9, allow_replaced=True)
    content = _HEADER + "".join(lines)
    return store.import_entries(bank, list_file(content, chunk_bytes=1 << 18), options)


def fill(store: BankStore, bank: str, size: int) -> None:
    """Fill a new bank by imports that are not large changes."""
    store.create_bank(bank)
    for start in range(0, size, SMALL_IMPORT):
        numbers = range(start, min(start + SMALL_IMPORT, size))
        import_lines(store, bank, (line(bank, number) for number in numbers))


class Operations:
    """The operations on `bank`, which is new, beside `large`, a full one.

    They belong together: make them in order.
    """

    def __init__(self, store: BankStore, bank: str, size: int, large: str, large_size: int) -> None:
        self._store, self._bank, self._size = store, bank, size
        self._large, self._large_size = large, large_size
        self._next = 0
        self._added = size
        self._ids: dict[int, int] = {}
        self._revision = self._empty = 0
        self._token = ""

    def every(self) -> list[Operation]:
        return [*self._imports(), *self._changes(), *self._searches(), *self._undo()]

    def _imports(self) -> list[Operation]:
        store, bank, size = self._store, self._bank, self._size

        def create() -> None:
            store.create_bank(bank)
            self._empty = store.head().revision

        def lines(first: int = 0) -> Iterable[str]:
            return (line(bank, number) for number in range(first, size))

        def withdrawing() -> Iterable[str]:
            # Some rows withdraw what earlier ones add.
            for number in range(600, 900):
                yield line(bank, number + size)
                yield line(bank, number + size, withdrawn=True)
            for number in range(900, 1_000):
                yield line(bank, number, withdrawn=True)
                yield line(bank, number + 100, external_id=False, withdrawn=True)

        def page_ids() -> None:
            page = store.list_entries(bank, page_size=1000)
            self._ids = {int(e.external_id.rpartition("-")[2]): e.id for e in page.entries}

        return [
            Operation("import", lambda: import_lines(store, bank, lines()), create, repeats=False),
            Operation("import again", lambda: import_lines(store, bank, lines())),
            Operation(
                "replace all but one",
                lambda: import_lines(store, bank, lines(1), replace=True),
                repeats=False,
            ),
            Operation("import one", lambda: import_lines(store, bank, [line(bank, 0)]), page_ids),
            Operation("import 200 withdrawn", lambda: import_lines(store, bank, withdrawing())),
        ]

    def _changes(self) -> list[Operation]:
        store, bank = self._store, self._bank

        def number() -> int:
            """Each number once; entries of the first two hundred only."""
            self._next += 1
            return 30 + self._next

        def add() -> None:
            self._added += 1
            value = signal(bank, self._added)
            row = ImportRow(0, (EntrySignal("pdq", value),), external_id=f"{bank}-{self._added}")
            store.add_entries(bank, [row])

        def signals() -> list[EntrySignal]:
            return [EntrySignal("pdq", signal(bank, number()))]

        def edit(change: EntryEdit) -> Callable[[], object]:
            return lambda: store.edit_entries(bank, [self._ids[number()]], change)

        def withdraw_for_restore() -> None:
            store.withdraw_entries(bank, [self._ids[number()]])

        return [
            Operation("add one", add),
            Operation("withdraw by id", withdraw_for_restore),
            Operation(
                "withdraw by signal", lambda: store.withdraw_entries(bank, signals=signals())
            ),
            Operation(
                "withdraw by external id",
                lambda: store.withdraw_entries(bank, [], [f"{bank}-{number()}"]),
            ),
            Operation(
                "withdraw until listed",
                lambda: store.withdraw_entries(bank, [self._ids[number()]], until_listed=True),
            ),
            Operation(
                "restore one",
                lambda: store.restore_entries(bank, [self._ids[30 + self._next]]),
                withdraw_for_restore,
            ),
            Operation("edit one", edit(EntryEdit(add_labels=("seen",)))),
            Operation(
                "quarantine one",
                lambda: store.quarantine_entries(bank, [self._ids[number()]]),
            ),
            Operation("settings", lambda: store.update_bank(bank, {"description": str(number())})),
        ]

    def _searches(self) -> list[Operation]:
        store, bank, large = self._store, self._bank, self._large

        def page(of: str, chosen: EntryFilter, token: str = "") -> Callable[[], object]:
            return lambda: store.list_entries(
                of, chosen, page_size=PAGE, page_token=token or self._token
            )

        def deep(of: str, chosen: EntryFilter) -> Callable[[], object]:
            """Go to a page far behind: the first one, with the id of its token replaced."""

            def seek() -> None:
                self._token = ""
                first = store.list_entries(of, chosen, page_size=2)
                last = first.entries[-1].id + self._large_size * 3 // 5
                self._token = deeper(first.next_page_token, last)

            return seek

        def start() -> None:
            self._token = ""

        withdrawn = EntryFilter(show_withdrawn=True)
        value = EntrySignal("pdq", signal(bank, 999))
        filters = {
            "external id": EntryFilter(external_id=f"{bank}-300"),
            "external id, source": EntryFilter(external_id=f"{bank}-300", source="s0"),
            "label": EntryFilter(labels=("rare",)),
            "source": EntryFilter(source="s1"),
            "equal": EntryFilter(near=value),
            "near": EntryFilter(near=value, max_distance=20),
            "expired": EntryFilter(expired=True),
            "not expired": EntryFilter(expired=False),
            "decided": EntryFilter(decided=True),
            "withdrawn": withdrawn,
            "withdrawn of an external id": EntryFilter(
                external_id=f"{bank}-300", show_withdrawn=True
            ),
        }

        def count() -> None:
            store.add_match_counts(
                {MatchKey(bank, self._ids[i], BankMode.ENFORCE): 1 for i in range(200, 400)}
            )

        return [
            *(
                Operation(f"find {name}", page(bank, chosen), start)
                for name, chosen in filters.items()
            ),
            Operation(
                "find at a revision",
                lambda: store.list_entries(
                    bank, EntryFilter(revision=store.head().revision - 1), page_size=PAGE
                ),
            ),
            Operation("page", page(large, EntryFilter()), start),
            Operation("page, deep", page(large, EntryFilter()), deep(large, EntryFilter())),
            Operation("page with withdrawn", page(large, withdrawn), start),
            Operation("page with withdrawn, deep", page(large, withdrawn), deep(large, withdrawn)),
            Operation(
                "page of a source, deep",
                page(large, EntryFilter(source="s1")),
                deep(large, EntryFilter(source="s1")),
            ),
            Operation("entry", lambda: store.get_entry(bank, self._ids[500])),
            Operation("bank", lambda: store.get_bank(bank)),
            Operation("banks", store.list_banks),
            Operation("log", lambda: store.list_revisions(page_size=50)),
            Operation("log of the bank", lambda: store.list_revisions(bank, page_size=50)),
            Operation(
                "diff of one",
                lambda: store.diff_revisions(bank, self._revision),
                self._withdraw_one,
            ),
            Operation("diff of all", lambda: store.diff_revisions(bank, self._empty)),
            Operation("overlap", lambda: store.overlap(bank, large)),
            Operation("overlap of the large one", lambda: store.overlap(large, bank)),
            Operation("count matches", count),
            Operation("matches", lambda: store.match_counts(bank, days=7)),
            Operation(
                "page of matches", lambda: store.match_count_page(bank, days=7, page_size=50)
            ),
            Operation("export", lambda: exported(store, bank, "csv")),
            Operation("follow", self._follow, self._remember),
        ]

    def _undo(self) -> list[Operation]:
        store, bank = self._store, self._bank

        def roll_back() -> None:
            store.rollback_bank(bank, self._revision)

        return [
            Operation("roll back one", roll_back, self._withdraw_one),
            Operation(
                "roll back all",
                lambda: store.rollback_bank(bank, self._empty),
                self._remember,
                repeats=False,
            ),
            # The revision before that rollback.
            Operation("roll back the rollback", roll_back, repeats=False),
            Operation("delete", lambda: store.delete_bank(bank, force=True), repeats=False),
        ]

    def _withdraw_one(self) -> None:
        self._next += 1
        self._remember()
        named = [self._ids[30 + self._next]]
        self._store.withdraw_entries(self._bank, named, until_listed=True)

    def _remember(self) -> None:
        self._revision = self._store.head().revision

    def _follow(self) -> None:
        with self._store.view() as view:
            list(view.signals_added_since(self._revision - 1))
            view.versions_removed_since(self._revision - 1)
            view.changed_since(self._revision - 1)


def deeper(token: str, last: int) -> str:
    """Return the token of a page behind the entry `last`, given that of another page."""
    *counted, _ = decode_token(token).split()
    return cut_page(["", ""], 1, lambda _: " ".join([*counted, str(last)]))[1]
