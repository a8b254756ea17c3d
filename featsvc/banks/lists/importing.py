"""Imports: read the whole list, then apply it as one revision, or not at all."""

from dataclasses import replace

from sqlalchemy import Connection

from featsvc.banks.lists import joining, merging, staging
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import ChangeContext
from featsvc.banks.results import ImportOptions, ImportResult, ImportSummary
from featsvc.banks.sql.changes import (
    IdempotentCall,
    PendingRevision,
    check_etag,
    find_answer,
    keep_answer,
)
from featsvc.banks.sql.database import Database
from featsvc.banks.sql.stored import bank_row


def import_list(
    database: Database,
    bank_id: str,
    file: ListFile,
    options: ImportOptions,
    context: ChangeContext,
) -> ImportResult:
    """See `BankStore.import_entries`."""
    call = IdempotentCall(context, "import", bank_id, (file.name, options))
    with database.read() as connection:
        bank_row(connection, bank_id)
        if answer := find_answer(connection, call, ImportResult):
            return answer
    with database.roomy_session() as connection, staging.staging_table(connection):
        with connection.begin():
            staged = staging.stage(connection, file, options)
            summary = staged.summary
            if refused := summary.bad_rows > 0 and not options.skip_bad:
                return ImportResult(summary, 0, refused, file.format, file.sha256)
            duplicates = joining.join_same_entries(connection, staged)
        summary = replace(summary, duplicate_rows=duplicates)
        with database.exclusive(connection, dry_run=options.dry_run):
            # The first call may have finished while this retry read the file.
            if answer := find_answer(connection, call, ImportResult):
                return answer
            result = _apply(connection, bank_id, file, options, context, summary)
            file.check_complete()
            keep_answer(connection, call, result)
            return result


def _apply(
    connection: Connection,
    bank_id: str,
    file: ListFile,
    options: ImportOptions,
    context: ChangeContext,
    summary: ImportSummary,
) -> ImportResult:
    bank = bank_row(connection, bank_id)
    check_etag(bank, options.etag)
    elsewhere, safe = merging.count_elsewhere(connection, bank.key)
    pending = replace(
        PendingRevision.begin(connection, bank_id, "import", context),
        file_name=file.name,
        file_sha256=file.sha256,
    )
    counts, unchanged = merging.merge(connection, pending, bank.key, replace=options.replace)
    summary = replace(
        summary,
        new_entries=counts.new,
        changed_entries=counts.changed,
        unchanged_entries=unchanged,
        withdrawn_entries=counts.withdrawn,
        in_other_banks=elsewhere,
        in_safe_lists=safe,
    )
    revision = 0
    if counts.total and not options.dry_run:
        pending.record(connection, counts)
        revision = pending.number
    return ImportResult(summary, revision, False, file.format, file.sha256)
