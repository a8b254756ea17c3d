"""The bank store: the only truth about banks, their entries and who changed them when.

Synchronous and thread-safe. Every change that returns is committed and is one revision; writers
take turns, so revisions are gapless and a reader that follows them misses nothing. Any method
raises `Unavailable` while the database is away, and works again when it is back.
"""

import base64
import binascii
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

from sqlalchemy import Connection, Row, insert, select, update

from featsvc.banks import merging, staging
from featsvc.banks.database import Database
from featsvc.banks.list_file import ListFile
from featsvc.banks.records import (
    DEFAULT_IMPORT,
    NO_CONTEXT,
    Bank,
    BankPage,
    BankSettings,
    ChangeContext,
    Entry,
    EntryPage,
    Head,
    ImportOptions,
    ImportResult,
    ImportSummary,
    check_bank_id,
)
from featsvc.banks.schema import banks, head, revisions
from featsvc.banks.times import now_us
from featsvc.banks.view import StoreView, bank_of, no_bank, read_head
from featsvc.errors import AlreadyExists, InvalidInput

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


class BankStore:
    """`url` is SQLAlchemy's: `sqlite:///FILE` or `postgresql+psycopg://USER:PASSWORD@HOST/NAME`.

    Raises ConfigInvalid where it is neither. Connects on first use.
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
        settings: BankSettings | None = None,
        context: ChangeContext = NO_CONTEXT,
    ) -> Bank:
        """Raises InvalidInput for the id, AlreadyExists where it is taken."""
        settings = settings or BankSettings()
        check_bank_id(bank_id)
        with self._database.write() as connection:
            taken = select(banks.c.key).where(banks.c.id == bank_id)
            if connection.execute(taken).first() is not None:
                raise AlreadyExists(
                    f"bank_id: there is a bank {bank_id!r} already; choose another id or update it"
                )
            change = _Change.next(connection, bank_id, "create", context)
            connection.execute(
                insert(banks).values(
                    id=bank_id,
                    **_settings_columns(settings),
                    settings_revision=change.revision,
                    revision=change.revision,
                    create_time=change.now_us,
                    update_time=change.now_us,
                    entry_count=0,
                    signal_counts="{}",
                )
            )
            change.log(connection)
            return bank_of(_bank_row(connection, bank_id))

    def get_bank(self, bank_id: str) -> Bank:
        """Raises NotFound."""
        with self.view() as view:
            return view.bank(bank_id)

    def list_banks(self, *, page_size: int = 0, page_token: str = "") -> BankPage:
        """By id. Raises InvalidInput for the page size or token."""
        size = _page_size(page_size)
        after = _decode_token(page_token)
        with self._database.read() as connection:
            rows = connection.execute(
                select(banks).where(banks.c.id > after).order_by(banks.c.id).limit(size + 1)
            ).all()
        more = len(rows) > size
        found = tuple(bank_of(row) for row in rows[:size])
        return BankPage(found, _encode_token(found[-1].id) if more else "")

    def get_entry(self, bank_id: str, entry_id: int) -> Entry:
        """The newest version, live or withdrawn. Raises NotFound."""
        with self.view() as view:
            return view.entry(bank_id, entry_id)

    def list_entries(self, bank_id: str, *, page_size: int = 0, page_token: str = "") -> EntryPage:
        """Live ones by id. Raises NotFound for the bank, InvalidInput for page size or token."""
        size = _page_size(page_size)
        token = _decode_token(page_token)
        if token and not token.isdecimal():
            raise _bad_token()
        with self.view() as view:
            bank = view.bank(bank_id)
            found = view.entry_page(bank_id, after=int(token or 0), limit=size + 1)
        more = len(found) > size
        page = found[:size]
        return EntryPage(page, _encode_token(str(page[-1].id)) if more else "", bank.entry_count)

    def import_entries(
        self,
        bank_id: str,
        file: ListFile,
        options: ImportOptions = DEFAULT_IMPORT,
        context: ChangeContext = NO_CONTEXT,
    ) -> ImportResult:
        """Read the whole file, then apply it as one revision, or not at all.

        With bad rows nothing is applied, unless `options.skip_bad`; the result says so. Raises
        NotFound for the bank, InvalidInput for a file that cannot be read at all; whatever the
        file's chunks raise passes through, and nothing is applied.
        """
        self.get_bank(bank_id)
        with self._database.session() as connection, staging.staging_table(connection):
            with connection.begin():
                summary = staging.stage(connection, file, options)
                if refused := summary.bad_rows > 0 and not options.skip_bad:
                    return ImportResult(summary, 0, refused, file.format, file.sha256)
                duplicates = staging.join_same_entries(connection)
            summary = replace(summary, duplicate_rows=duplicates)
            revision, summary = self._merge(connection, bank_id, file, options, context, summary)
        return ImportResult(summary, revision, False, file.format, file.sha256)

    def _merge(
        self,
        connection: Connection,
        bank_id: str,
        file: ListFile,
        options: ImportOptions,
        context: ChangeContext,
        summary: ImportSummary,
    ) -> tuple[int, ImportSummary]:
        with self._database.exclusive(connection) as transaction:
            bank = _bank_row(connection, bank_id)
            change = _Change.next(connection, bank_id, "import", context)
            target = merging.Target(bank.key, change.revision, change.now_us, change.next_version)
            merged = merging.merge(connection, target, replace=options.replace)
            summary = replace(
                summary,
                new_entries=merged.new,
                changed_entries=merged.changed,
                unchanged_entries=merged.unchanged,
                withdrawn_entries=merged.withdrawn,
            )
            if options.dry_run or merged.nothing:
                transaction.rollback()
                return 0, summary
            change = replace(
                change, next_version=change.next_version + summary.rows + 1,
                file_name=file.name, file_sha256=file.sha256, merged=merged,
            )  # fmt: skip
            change.log(connection)
            return change.revision, summary


@dataclass(frozen=True, slots=True)
class _Change:
    """The revision that a writer is about to commit."""

    revision: int
    now_us: int
    next_version: int
    bank_id: str
    action: str
    context: ChangeContext
    file_name: str = ""
    file_sha256: str = ""
    merged: merging.Merged = merging.NOTHING

    @classmethod
    def next(
        cls, connection: Connection, bank_id: str, action: str, context: ChangeContext
    ) -> "_Change":
        row = connection.execute(select(head)).one()
        # Never backwards, whatever the clock does: readers order by it.
        now = max(now_us(), row.commit_time)
        return cls(row.revision + 1, now, row.next_version, bank_id, action, context)

    def log(self, connection: Connection) -> None:
        """Write log, counts and head: the last thing a writer does."""
        connection.execute(
            insert(revisions).values(
                revision=self.revision,
                commit_time=self.now_us,
                bank_id=self.bank_id,
                action=self.action,
                actor=self.context.actor,
                reason=self.context.reason,
                request_id=self.context.request_id,
                file_name=self.file_name,
                file_sha256=self.file_sha256,
                added_entries=self.merged.new,
                withdrawn_entries=self.merged.withdrawn,
                changed_entries=self.merged.changed,
            )
        )
        if not self.merged.nothing:
            self._count(connection)
        connection.execute(
            update(head).values(
                revision=self.revision, commit_time=self.now_us, next_version=self.next_version
            )
        )

    def _count(self, connection: Connection) -> None:
        bank = _bank_row(connection, self.bank_id)
        counts = Counter(json.loads(bank.signal_counts))
        counts.update(self.merged.signals)
        connection.execute(
            update(banks)
            .where(banks.c.key == bank.key)
            .values(
                entry_count=bank.entry_count + self.merged.new - self.merged.withdrawn,
                signal_counts=json.dumps({k: n for k, n in sorted(counts.items()) if n}),
                revision=self.revision,
                update_time=self.now_us,
            )
        )


def _bank_row(connection: Connection, bank_id: str) -> Row[tuple[object, ...]]:
    row = connection.execute(select(banks).where(banks.c.id == bank_id)).first()
    if row is None:
        raise no_bank(bank_id)
    return row


def _settings_columns(settings: BankSettings) -> dict[str, str | bool]:
    return {
        "display_name": settings.display_name,
        "description": settings.description,
        "mode": settings.mode.value,
        "safe": settings.safe,
        "thresholds": json.dumps(dict(sorted(settings.thresholds.items()))),
        "query_variants": json.dumps(settings.query_variants),
        "engine": settings.engine,
    }


def _page_size(asked: int) -> int:
    if not 0 <= asked <= MAX_PAGE_SIZE:
        raise InvalidInput(
            f"page_size: {asked} is not within 1 to {MAX_PAGE_SIZE}", field="page_size"
        )
    return asked or DEFAULT_PAGE_SIZE


def _encode_token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def _decode_token(token: str) -> str:
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        return raw.decode()
    except (binascii.Error, UnicodeError):
        raise _bad_token() from None


def _bad_token() -> InvalidInput:
    return InvalidInput(
        "page_token: not one that this server gave; begin anew without a token", field="page_token"
    )
