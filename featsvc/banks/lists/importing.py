"""Imports: read the whole list, then apply it as one revision, or not at all."""

import json
from collections.abc import Callable
from dataclasses import replace

from sqlalchemy import Connection, update

from featsvc.banks.lists import (
    brakes,
    field_changes,
    formats,
    joining,
    merging,
    staging,
    withdrawing,
)
from featsvc.banks.lists.formats.columns import check_map
from featsvc.banks.lists.formats.reading import Reading
from featsvc.banks.lists.formats.rows import listed_algorithm
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import Bank, ChangeContext
from featsvc.banks.results import (
    ImportOptions,
    ImportResult,
    ImportSummary,
    Refusal,
    UnknownWithdrawal,
    WithdrawnEntry,
)
from featsvc.banks.sql.changes import (
    IdempotentCall,
    PendingRevision,
    check_etag,
    find_answer,
    keep_answer,
)
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.large_changes import apply_change, planning_tables
from featsvc.banks.sql.schema import banks
from featsvc.banks.sql.stored import bank_of, bank_row
from featsvc.banks.sql.vector_models import check_vectors
from featsvc.errors import InvalidInput


def import_list(
    database: Database,
    bank_id: str,
    file: ListFile,
    options: ImportOptions,
    context: ChangeContext,
    on_planned: Callable[[ImportResult], None] | None = None,
) -> ImportResult:
    """See `BankStore.import_entries`."""
    call = IdempotentCall(context, "import", bank_id, (file.name, options))
    with database.read() as connection:
        bank = bank_of(bank_row(connection, bank_id))
        if answer := find_answer(connection, call, ImportResult):
            return answer
    file.reading = _reading(bank, options)
    with (
        database.roomy_session() as connection,
        staging.staging_table(connection),
        planning_tables(connection),
    ):
        with database.read_on(connection):
            staged = staging.stage(connection, file, options)
            summary = staged.summary
            if options.replace and file.has_more:
                raise _partial_list()
            if refused := summary.bad_rows > 0 and not options.skip_bad:
                return _result(file, summary, 0, refused=refused)
            duplicates = joining.join_same_entries(
                connection, staged, one_file_a_row=formats.get_format(file.format).one_file_a_row
            )
            summary = replace(summary, duplicate_rows=duplicates)
        importing = _Import(database, bank_id, file, options, call)
        with database.read_on(connection):
            importing.plan(connection, staged, summary)
        if options.dry_run:
            return importing.result(0)
        if on_planned is not None:
            on_planned(importing.result(0))
        return apply_change(database, importing.changes, importing.begin, importing.record)


def _partial_list() -> InvalidInput:
    return InvalidInput(
        "file: the last page says that more pages follow, and replace would withdraw what they "
        "hold; nothing was changed. Fetch the other pages, concatenate all of them and import that "
        "file, or import without replace",
        reason="PARTIAL_LIST",
        field="file",
    )


class _Import:
    """One import: its plan, its checks under the writers' lock, its answer."""

    def __init__(
        self,
        database: Database,
        bank_id: str,
        file: ListFile,
        options: ImportOptions,
        call: IdempotentCall,
    ) -> None:
        self._database = database
        self._bank_id = bank_id
        self._file = file
        self._options = options
        self._call = call

    def plan(
        self, connection: Connection, staged: staging.StagedRows, summary: ImportSummary
    ) -> None:
        bank = bank_row(connection, self._bank_id)
        check_etag(bank, self._options.etag)
        stager, source = staged.stager, self._options.source
        sources = stager.sources | {source} if source else stager.sources or {""}
        self.changes = merging.ImportPlan(
            connection,
            bank.key,
            replaced=sorted(sources) if self._options.replace else (),
            withdrawals=stager.any_withdrawn,
        )
        self.changes.plan()
        check_vectors(connection, self._bank_id, self.changes.growth(), store=False)
        elsewhere, safe = merging.count_elsewhere(connection, bank.key)
        changed = self.changes.counts.changed
        self._summary = replace(
            summary,
            changed_fields=field_changes.count_changed_fields(connection) if changed else {},
            expired_entries=field_changes.count_expired(connection),
            in_other_banks=elsewhere,
            in_safe_lists=safe,
        )
        self._account(connection)

    def begin(self) -> PendingRevision | ImportResult:
        connection = self.changes.connection
        # The first call may have finished while this retry read the file.
        if answer := find_answer(connection, self._call, ImportResult):
            return answer
        check_etag(bank_row(connection, self._bank_id), self._options.etag)
        return replace(
            PendingRevision.begin(connection, self._bank_id, "import", self._call.context),
            file_name=self._file.name,
            file_sha256=self._file.sha256,
        )

    def record(self, pending: PendingRevision) -> ImportResult:
        connection, counts = self.changes.connection, self.changes.counts
        if self.changes.revised:
            self._account(connection)
        if counts.versions:
            check_vectors(connection, pending.bank_id, self.changes.grown, store=True)
        if counts.total:
            pending.record(connection, counts, self.changes.grown)
        self._remember_map(connection)
        result = self.result(pending.number if counts.total else 0)
        self._file.check_complete()
        keep_answer(connection, self._call, result)
        return result

    def _account(self, connection: Connection) -> None:
        """Sum up what the plan does. Raises Refused, unless for a dry run."""
        counts, options = self.changes.counts, self._options
        bank = bank_row(connection, self._bank_id)
        summary = replace(
            self._summary,
            bank_entries=bank.entry_count,
            new_entries=counts.new,
            changed_entries=counts.changed,
            unchanged_entries=self.changes.unchanged,
            kept_withdrawn=self.changes.kept_withdrawn,
            withdrawn_entries=counts.withdrawn,
        )
        refused = brakes.withdrawal_refusals(summary, options)
        if counts.changed and not options.allow_replaced:
            refused += brakes.replacement_refusals(connection, "options.allow_replaced")
        if refused and not options.dry_run:
            raise refused[0]
        by_rows = self.changes.by_rows
        withdrawn: tuple[WithdrawnEntry, ...] = ()
        unknown: tuple[UnknownWithdrawal, ...] = ()
        if counts.withdrawn:
            versions = self.changes.withdrawn_versions()
            withdrawn = withdrawing.name_withdrawn(connection, bank, versions, by_rows=by_rows)
        if unknown_count := withdrawing.count_unknown(connection) if by_rows else 0:
            unknown = withdrawing.name_unknown(connection)
        self._summary = replace(
            summary,
            withdrawn=withdrawn,
            unknown_withdrawals=unknown_count,
            unknown=unknown,
            refusals=tuple(Refusal(each.reason, str(each)) for each in refused),
        )

    def result(self, revision: int) -> ImportResult:
        return _result(self._file, self._summary, revision, refused=False)

    def _remember_map(self, connection: Connection) -> None:
        given = self._options.column_map
        if given:
            kept = "{}" if self._options.forgets_map else json.dumps(dict(given))
            key = bank_row(connection, self._bank_id).key
            connection.execute(update(banks).where(banks.c.key == key).values(import_map=kept))


def _reading(bank: Bank, options: ImportOptions) -> Reading:
    """Return how to read a list for a bank. Raises InvalidInput, UnknownAlgorithm."""
    if options.algorithm:
        listed_algorithm(options.algorithm)
    given = {} if options.forgets_map else options.column_map
    check_map(given)
    remembered = not options.column_map
    return Reading(
        algorithm=options.algorithm,
        column_map=bank.import_map if remembered else given,
        remembered=remembered,
        ignored_columns=options.ignored_columns,
    )


def _result(
    file: ListFile, summary: ImportSummary, revision: int, *, refused: bool
) -> ImportResult:
    reading = file.reading
    return ImportResult(
        summary,
        revision,
        refused,
        file.format,
        file.sha256,
        column_map=reading.used_map,
        map_remembered=reading.remembered and bool(reading.used_map),
        unread_columns=reading.unread_columns,
    )
