"""The bank store: the source of truth about banks, their entries and all changes of them.

Synchronous and thread-safe. When a change returns it is committed, as one revision. Writers take
turns, so revisions are gapless and a reader that follows them misses nothing. A change with a
request id happens once. Any method raises `Unavailable` while the database is away, and works
again when it is back.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from operator import attrgetter

from featsvc.banks.curating import (
    counting,
    deciding,
    editing,
    history,
    recounting,
    rollback,
    searching,
    settings,
)
from featsvc.banks.lists import exporting, importing
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import (
    NO_CONTEXT,
    SAME_SETTINGS,
    Bank,
    BankSettings,
    ChangeContext,
    Entry,
    EntryEdit,
    EntrySignal,
    StoreHead,
    check_bank_id,
)
from featsvc.banks.results import (
    DEFAULT_IMPORT,
    NO_FILTER,
    AddResult,
    BankMatches,
    BankPage,
    DiffPage,
    EditResult,
    EntryFilter,
    EntryPage,
    ImportOptions,
    ImportResult,
    MatchKey,
    Overlap,
    Recount,
    RestoreResult,
    RevisionPage,
    RollbackResult,
    WithdrawResult,
)
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.large_changes import planning_tables
from featsvc.banks.sql.pages import (
    check_page_size,
    cut_page,
    decode_counted,
    decode_listed,
    decode_number,
    decode_token,
)
from featsvc.banks.sql.view import StoreView, check_revision, read_checked_head

QUARANTINE = EntryEdit(quarantined=True)
RELEASE = EntryEdit(reset=("quarantined",))
_ABOVE_ALL_REVISIONS = 2**62


class BankStore:
    """A store in the database of an SQLAlchemy URL.

    The URL is `sqlite:///FILE` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`; any other raises
    ConfigInvalid. The store connects, and makes or migrates its tables, on first use; without
    `creates` any use of a database that has none raises NotFound.
    """

    def __init__(self, url: str, *, creates: bool = True) -> None:
        self._database = Database(url, creates=creates)

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def view(self) -> Iterator[StoreView]:
        """Reads that all see the store at one revision."""
        with self._database.read() as connection:
            yield StoreView(connection)

    def head(self) -> StoreHead:
        """Return the newest committed revision: a few rows, whatever the size of the store.

        Raises Unavailable also where the store is half restored.
        """
        with self._database.read() as connection:
            return read_checked_head(connection)

    def check_writable(self) -> None:
        """Try what a change needs, and change nothing. Raises Unavailable where that fails."""
        with (
            self._database.session() as connection,
            planning_tables(connection),
            self._database.exclusive(connection),
        ):
            pass

    def recount(self, *, dry_run: bool = False) -> tuple[Recount, ...]:
        """Count the entries and signals of all banks again, and correct what they count.

        Returns the banks that counted something else. Raises Unavailable for a store that is half
        restored.
        """
        return recounting.recount(self._database, dry_run=dry_run)

    def create_bank(
        self,
        bank_id: str,
        bank_settings: BankSettings | None = None,
        context: ChangeContext = NO_CONTEXT,
    ) -> Bank:
        """Raises InvalidInput for a malformed id, AlreadyExists for one in use."""
        return settings.create(
            self._database, check_bank_id(bank_id), bank_settings or BankSettings(), context
        )

    def update_bank(
        self,
        bank_id: str,
        changes: Mapping[str, object],
        context: ChangeContext = NO_CONTEXT,
        *,
        etag: str = "",
    ) -> Bank:
        """Change settings, given by their names in `BankSettings`.

        Raises NotFound, InvalidInput for a value, Conflict if the settings have changed since the
        etag was read.
        """
        return settings.update_settings(self._database, bank_id, changes, context, etag=etag)

    def delete_bank(
        self,
        bank_id: str,
        context: ChangeContext = NO_CONTEXT,
        *,
        etag: str = "",
        force: bool = False,
    ) -> WithdrawResult:
        """Withdraw the bank's entries and remove it from the list; its history stays.

        Raises NotFound, Conflict for the etag, InvalidInput if it has entries and not `force`.
        """
        return settings.delete_bank(self._database, bank_id, context, etag=etag, force=force)

    def get_bank(self, bank_id: str) -> Bank:
        """Raises NotFound."""
        with self.view() as view:
            return view.counted_bank(bank_id)

    def list_banks(self, *, page_size: int = 0, page_token: str = "") -> BankPage:
        """List banks by id. Raises InvalidInput for the page size or token."""
        size = check_page_size(page_size)
        after = decode_token(page_token)
        with self.view() as view:
            banks = view.with_expired(view.bank_page(after=after, limit=size + 1))
        return BankPage(*cut_page(banks, size, attrgetter("id")))

    def get_entry(self, bank_id: str, entry_id: int) -> Entry:
        """Return the newest version of an entry, live or withdrawn. Raises NotFound."""
        with self.view() as view:
            return view.entry(bank_id, entry_id)

    def list_entries(
        self,
        bank_id: str,
        entry_filter: EntryFilter = NO_FILTER,
        *,
        page_size: int = 0,
        page_token: str = "",
    ) -> EntryPage:
        """List entries by id. They are counted for the first page; its tokens carry the number.

        Raises NotFound for the bank, InvalidInput for the page size, token or filter.
        """
        size = check_page_size(page_size)
        counted, after = decode_listed(page_token)
        with self.view() as view:
            entries, distances, total = searching.find(
                view, bank_id, entry_filter, after=after, limit=size + 1, total=counted
            )
        page, token = cut_page(entries, size, lambda entry: f"{total} {entry.id}")
        return EntryPage(page, token, total, tuple(distances[:size]))

    def export_entries(self, bank_id: str, format_name: str, revision: int = 0) -> exporting.Export:
        """Export the bank's entries as a list, by id.

        Raises NotFound for the bank, InvalidInput for the format or revision.
        """
        return exporting.export(self._database, bank_id, format_name, revision)

    def overlap(
        self, bank_id: str, other_id: str, *, max_pairs: int = 0, page_token: str = ""
    ) -> Overlap:
        """Find the entries of a bank that share a signal, equal in all bits, with another bank.

        Raises NotFound for a bank, InvalidInput for `max_pairs` (a page size) or the token.
        """
        size = check_page_size(max_pairs, field="max_pairs")
        after = decode_number(page_token)
        with self.view() as view:
            found = searching.overlap(view, bank_id, other_id, after=after, limit=size + 1)
        pairs, token = cut_page(found.pairs, size, lambda pair: pair[0].id)
        return replace(found, pairs=pairs, next_page_token=token)

    def import_entries(
        self,
        bank_id: str,
        file: ListFile,
        options: ImportOptions = DEFAULT_IMPORT,
        context: ChangeContext = NO_CONTEXT,
        *,
        on_planned: Callable[[ImportResult], None] | None = None,
    ) -> ImportResult:
        """Read the whole file, then apply it as one revision, or not at all.

        Before it applies, `on_planned` gets what the file holds and what will change, unless others
        change the same entries meanwhile.

        Bad rows prevent the import unless `options.skip_bad` is set; the result says so. Raises
        NotFound for the bank, Conflict for the etag, InvalidInput for a file that cannot be read,
        Refused for what `lists/brakes.py` holds back. Errors of the file's chunks are passed on;
        nothing is applied then.
        """
        return importing.import_list(self._database, bank_id, file, options, context, on_planned)

    def add_entries(
        self,
        bank_id: str,
        rows: Sequence[ImportRow],
        context: ChangeContext = NO_CONTEXT,
        *,
        allow_replaced: bool = False,
    ) -> AddResult:
        """Add entries, or change those with the same external id and source (or signals).

        Raises NotFound for the bank, InvalidInput for an entry; a row's `line` is its index. Raises
        Refused for other content of the external id of a live entry, unless `allow_replaced`.
        """
        return editing.add(self._database, bank_id, rows, context, allow_replaced=allow_replaced)

    def withdraw_entries(
        self,
        bank_id: str,
        entry_ids: Sequence[int] = (),
        external_ids: Sequence[str] = (),
        context: ChangeContext = NO_CONTEXT,
        *,
        signals: Sequence[EntrySignal] = (),
        source: str | None = None,
        until_listed: bool = False,
        dry_run: bool = False,
    ) -> WithdrawResult:
        """Withdraw all the entries or none; an external id names its entries of every source.

        They stay withdrawn whatever is imported, until `restore_entries`, `add_entries` or a
        rollback; with `until_listed` only until a list has them.
        A signal names every entry that has it. With a `source` only entries from it are withdrawn
        ("": entries without a source). Raises NotFound for a bank, or for an entry that is not live
        or is from another source, InvalidSignal for a version of a signal.
        """
        return editing.withdraw(
            self._database,
            bank_id,
            editing.NamedEntries(entry_ids, external_ids, signals),
            context,
            source=source,
            until_listed=until_listed,
            dry_run=dry_run,
        )

    def restore_entries(
        self, bank_id: str, entry_ids: Sequence[int], context: ChangeContext = NO_CONTEXT
    ) -> RestoreResult:
        """Take withdrawals back: entries that their list still has are live, as it last said.

        Live entries stay as they are. Raises NotFound for any other.
        """
        return deciding.restore(self._database, bank_id, entry_ids, context)

    def edit_entries(
        self,
        bank_id: str,
        entry_ids: Sequence[int],
        edit: EntryEdit,
        context: ChangeContext = NO_CONTEXT,
    ) -> EditResult:
        """Decide about all the entries or none; that wins over what their list says.

        Raises NotFound for an entry that is neither live nor withdrawn by a curator. If the edit
        only takes back, an entry that its list has withdrawn may be named too.
        """
        return deciding.edit(self._database, bank_id, entry_ids, edit, context)

    def quarantine_entries(
        self,
        bank_id: str,
        entry_ids: Sequence[int],
        context: ChangeContext = NO_CONTEXT,
        *,
        release: bool = False,
    ) -> EditResult:
        """Keep entries from matching, or `release` them. Raises NotFound."""
        action, edit = ("release", RELEASE) if release else ("quarantine", QUARANTINE)
        return deciding.edit(self._database, bank_id, entry_ids, edit, context, action=action)

    def list_revisions(
        self, bank_id: str = "", *, page_size: int = 0, page_token: str = ""
    ) -> RevisionPage:
        """List the log of a bank, newest first; of all banks for an empty id.

        A deleted bank still has a log. Raises NotFound for a bank that never existed.
        """
        size = check_page_size(page_size)
        before = decode_number(page_token) or _ABOVE_ALL_REVISIONS
        with self.view() as view:
            revisions = view.revision_page(bank_id, before=before, limit=size + 1)
            if not revisions and bank_id:
                view.bank(bank_id)
        return RevisionPage(*cut_page(revisions, size, attrgetter("revision")))

    def diff_revisions(
        self,
        bank_id: str,
        from_revision: int,
        to_revision: int = 0,
        *,
        page_size: int = 0,
        page_token: str = "",
    ) -> DiffPage:
        """List the differences of a bank's entries and settings between two revisions.

        `from_revision` 0 is the empty store, `to_revision` 0 the newest revision; either may be
        the earlier one. Raises NotFound for the bank, InvalidInput for a future revision.
        """
        size = check_page_size(page_size)
        total, after = decode_counted(page_token)
        with self.view() as view:
            newest = view.head.revision
            first = from_revision and check_revision(from_revision, newest, "from_revision")
            second = check_revision(to_revision, newest, "to_revision")
            rows, total = history.diff(
                view, bank_id, (first, second), after=after, limit=size + 1, total=total
            )
            settings_differ = SAME_SETTINGS
            if not page_token:
                settings_differ = view.settings_difference(bank_id, first, second)
        page, token = cut_page(rows, size, lambda row: f"{total} {row.identity}")
        return DiffPage(tuple(row.change for row in page), token, total, settings_differ)

    def rollback_bank(
        self,
        bank_id: str,
        revision: int,
        context: ChangeContext = NO_CONTEXT,
        *,
        etag: str = "",
        dry_run: bool = False,
    ) -> RollbackResult:
        """Restore entries, decisions and settings of an earlier revision as a new revision.

        Settings that older versions did not keep stay, which the result says. Raises NotFound,
        InvalidInput for the revision, Conflict for the etag.
        """
        return rollback.rollback(
            self._database, bank_id, revision, context, etag=etag, dry_run=dry_run
        )

    def add_match_counts(self, counts: Mapping[MatchKey, int]) -> None:
        """Add matches to today's counts; those of deleted banks are dropped."""
        counting.add(self._database, counts)

    def match_counts(self, bank_id: str, *, days: int, max_entries: int = 0) -> BankMatches:
        """Return the matches of the last days, entries with most matches first.

        Raises NotFound, InvalidInput for `days` or `max_entries`, which is a page size.
        """
        limit = check_page_size(max_entries, field="max_entries")
        with self.view() as view:
            return counting.read(view, bank_id, days=days, limit=limit)

    def match_count_page(
        self, bank_id: str, *, days: int, page_size: int = 0, page_token: str = ""
    ) -> BankMatches:
        """Return the matches of the last days page by page, entries by id.

        The counts of the whole bank are on the first page only. Raises NotFound, InvalidInput for
        `days`, the page size or the token.
        """
        size = check_page_size(page_size)
        after = decode_number(page_token)
        with self.view() as view:
            whole = BankMatches({}, 0, 0.0, ())
            if not after:
                whole = counting.read(view, bank_id, days=days, limit=0)
            rows = counting.read_page(view, bank_id, days=days, after=after, limit=size + 1)
        page, token = cut_page(rows, size, attrgetter("entry.id"))
        return replace(whole, entries=page, next_page_token=token)
