"""The bank store: the only truth about banks, their entries and who changed them when.

Synchronous and thread-safe. Every change that returns is committed and is one revision; writers
take turns, so revisions are gapless and a reader that follows them misses nothing. A change with
a request id happens once. Any method raises `Unavailable` while the database is away, and works
again when it is back.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from featsvc.banks.curating import counting, editing, history, searching, settings
from featsvc.banks.lists import exporting, importing
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import (
    NO_CONTEXT,
    Bank,
    BankSettings,
    ChangeContext,
    Entry,
    Head,
    check_bank_id,
)
from featsvc.banks.results import (
    DEFAULT_IMPORT,
    NO_FILTER,
    AddResult,
    BankMatches,
    BankPage,
    DiffPage,
    EntryFilter,
    EntryPage,
    ImportOptions,
    ImportResult,
    MatchKey,
    Overlap,
    QuarantineResult,
    RevisionPage,
    RollbackResult,
    WithdrawResult,
)
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.pages import check_page_size, decode_number, decode_token, encode_token
from featsvc.banks.sql.view import StoreView, check_revision, read_head

_NEWEST = 2**62


class BankStore:
    """`url` is SQLAlchemy's: `sqlite:///FILE` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`.

    Raises ConfigInvalid where it is neither. Connects, and migrates, on first use.
    """

    def __init__(self, url: str) -> None:
        self._database = Database(url)

    def close(self) -> None:
        self._database.close()

    @contextmanager
    def view(self) -> Iterator[StoreView]:
        """Reads that all see the store at one revision."""
        with self._database.read() as connection:
            yield StoreView(connection)

    def head(self) -> Head:
        """The newest committed revision."""
        with self._database.read() as connection:
            return read_head(connection)

    def create_bank(
        self,
        bank_id: str,
        wanted: BankSettings | None = None,
        context: ChangeContext = NO_CONTEXT,
    ) -> Bank:
        """Raises InvalidInput for the id, AlreadyExists where it is taken."""
        return settings.create(
            self._database, check_bank_id(bank_id), wanted or BankSettings(), context
        )

    def update_bank(
        self,
        bank_id: str,
        changes: Mapping[str, object],
        context: ChangeContext = NO_CONTEXT,
        *,
        etag: str = "",
    ) -> Bank:
        """Change some settings, by their names in `BankSettings`.

        Raises NotFound, InvalidInput for a value, Conflict where the settings are not any more
        those of the etag.
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
        """Withdraw its entries and take it off the list; its history stays.

        Raises NotFound, Conflict for the etag, InvalidInput where it has entries without `force`.
        """
        return settings.delete_bank(self._database, bank_id, context, etag=etag, force=force)

    def get_bank(self, bank_id: str) -> Bank:
        """Raises NotFound."""
        with self.view() as view:
            return view.bank(bank_id)

    def list_banks(self, *, page_size: int = 0, page_token: str = "") -> BankPage:
        """By id. Raises InvalidInput for the page size or token."""
        size = check_page_size(page_size)
        after = decode_token(page_token)
        with self.view() as view:
            found = view.bank_page(after=after, limit=size + 1)
        page = found[:size]
        return BankPage(page, encode_token(page[-1].id) if len(found) > size else "")

    def get_entry(self, bank_id: str, entry_id: int) -> Entry:
        """The newest version, live or withdrawn. Raises NotFound."""
        with self.view() as view:
            return view.entry(bank_id, entry_id)

    def list_entries(
        self,
        bank_id: str,
        wanted: EntryFilter = NO_FILTER,
        *,
        page_size: int = 0,
        page_token: str = "",
    ) -> EntryPage:
        """By id. Raises NotFound for the bank, InvalidInput for page size, token or filter."""
        size = check_page_size(page_size)
        after = decode_number(page_token)
        with self.view() as view:
            found, distances, total = searching.find(
                view, bank_id, wanted, after=after, limit=size + 1
            )
        page = found[:size]
        token = encode_token(str(page[-1].id)) if len(found) > size else ""
        return EntryPage(page, token, total, distances[:size])

    def export_entries(self, bank_id: str, format_name: str, revision: int = 0) -> exporting.Export:
        """The bank's entries as a list, by id. Raises InvalidInput for the format or revision."""
        return exporting.export(self._database, bank_id, format_name, revision)

    def overlap(self, bank_id: str, other_id: str, *, max_pairs: int = 100) -> Overlap:
        """Entries of a bank with a signal that is live in the other too. Raises NotFound."""
        with self.view() as view:
            return searching.overlap(view, bank_id, other_id, max_pairs=max_pairs)

    def import_entries(
        self,
        bank_id: str,
        file: ListFile,
        options: ImportOptions = DEFAULT_IMPORT,
        context: ChangeContext = NO_CONTEXT,
    ) -> ImportResult:
        """Read the whole file, then apply it as one revision, or not at all.

        With bad rows nothing is applied, unless `options.skip_bad`; the result says so. Raises
        NotFound for the bank, Conflict for the etag, InvalidInput for a file that cannot be read
        at all; whatever the file's chunks raise passes through, and nothing is applied.
        """
        return importing.import_list(self._database, bank_id, file, options, context)

    def add_entries(
        self, bank_id: str, rows: Sequence[ImportRow], context: ChangeContext = NO_CONTEXT
    ) -> AddResult:
        """Add entries, or change those of the same external id and source (or signal).

        Raises NotFound for the bank, InvalidInput for an entry; a row's `line` is its index.
        """
        return editing.add(self._database, bank_id, rows, context)

    def withdraw_entries(
        self,
        bank_id: str,
        entry_ids: Sequence[int] = (),
        external_ids: Sequence[str] = (),
        context: ChangeContext = NO_CONTEXT,
        *,
        source: str | None = None,
        dry_run: bool = False,
    ) -> WithdrawResult:
        """All of them or none; an external id names the entries of every source that gave it.

        With a `source` only entries from it ("": those without one). Raises NotFound for a bank or
        an entry that is not live, or not from there.
        """
        return editing.withdraw(
            self._database,
            bank_id,
            entry_ids,
            external_ids,
            context,
            source=source,
            dry_run=dry_run,
        )

    def quarantine_entries(
        self,
        bank_id: str,
        entry_ids: Sequence[int],
        context: ChangeContext = NO_CONTEXT,
        *,
        release: bool = False,
    ) -> QuarantineResult:
        """Keep entries from matching, or `release` them. Raises NotFound."""
        return editing.quarantine(self._database, bank_id, entry_ids, context, release=release)

    def list_revisions(
        self, bank_id: str = "", *, page_size: int = 0, page_token: str = ""
    ) -> RevisionPage:
        """The log, newest first; of all banks where the id is empty.

        A deleted bank still has a log. Raises NotFound for a bank that never was.
        """
        size = check_page_size(page_size)
        before = decode_number(page_token) or _NEWEST
        with self.view() as view:
            found = view.revision_page(bank_id, before=before, limit=size + 1)
            if not found and bank_id:
                view.bank(bank_id)
        page = found[:size]
        token = encode_token(str(page[-1].revision)) if len(found) > size else ""
        return RevisionPage(page, token)

    def diff_revisions(
        self,
        bank_id: str,
        from_revision: int,
        to_revision: int = 0,
        *,
        page_size: int = 0,
        page_token: str = "",
    ) -> DiffPage:
        """What became of the bank's entries between two revisions.

        From 0 is from the empty store on, to 0 is up to now.

        Raises NotFound for the bank, InvalidInput for a revision that is yet to come.
        """
        size = check_page_size(page_size)
        after = decode_token(page_token)
        with self.view() as view:
            newest = view.head.revision
            older = from_revision and check_revision(from_revision, newest, "from_revision")
            newer = check_revision(to_revision, newest, "to_revision")
            found, total = history.diff(view, bank_id, older, newer, after=after, limit=size + 1)
        token = encode_token(found[size - 1].identity) if len(found) > size else ""
        return DiffPage(tuple(one.change for one in found[:size]), token, total)

    def rollback_bank(
        self,
        bank_id: str,
        revision: int,
        context: ChangeContext = NO_CONTEXT,
        *,
        etag: str = "",
        dry_run: bool = False,
    ) -> RollbackResult:
        """Restore the entries of an earlier revision as a new one; settings stay.

        Raises NotFound, InvalidInput for the revision, Conflict for the etag.
        """
        return history.rollback(
            self._database, bank_id, revision, context, etag=etag, dry_run=dry_run
        )

    def add_match_counts(self, counts: Mapping[MatchKey, int]) -> None:
        """Add to what is counted today; what a bank or entry is not any more is left out."""
        counting.add(self._database, counts)

    def match_counts(self, bank_id: str, *, days: int, limit: int) -> BankMatches:
        """Matches of the last days, the entries with most of them first. Raises NotFound."""
        with self.view() as view:
            return counting.read(view, bank_id, days=days, limit=limit)
