"""Banks, entries and imports between the wire and the domain."""

from featsvc import errors
from featsvc.banks.records import (
    Bank,
    BankMode,
    BankSettings,
    ChangeContext,
    Entry,
    ImportOptions,
    ImportResult,
    Opinion,
)
from featsvc.hashing.signals import format_value
from featsvc.service.conversions.signals import MODE, choose, timestamp
from featsvc.v1 import banks_pb2, types_pb2

_MODE = {
    types_pb2.BANK_MODE_UNSPECIFIED: BankMode.ENFORCE,
    **{wire: mode for mode, wire in MODE.items()},
}
OPINION = {
    Opinion.UNSPECIFIED: banks_pb2.OPINION_UNSPECIFIED,
    Opinion.POSITIVE: banks_pb2.OPINION_POSITIVE,
    Opinion.NEGATIVE: banks_pb2.OPINION_NEGATIVE,
    Opinion.DISPUTED: banks_pb2.OPINION_DISPUTED,
}


def bank_id(name: str, field: str = "name") -> str:
    """The id in `banks/{bank}`. Raises InvalidInput."""
    collection, _, identity = name.partition("/")
    if collection != "banks" or not identity or "/" in identity:
        raise errors.InvalidInput(f"{field}: {name[:80]!r} is not banks/BANK", field=field)
    return identity


def entry_id(name: str) -> tuple[str, int]:
    """The ids in `banks/{bank}/entries/{entry}`. Raises InvalidInput."""
    parts = name.split("/")
    number = parts[3] if len(parts) == 4 else ""
    shaped = parts[0] == "banks" and len(parts) == 4 and parts[2] == "entries"
    if not shaped or not (number.isascii() and number.isdigit() and len(number) <= 18):
        raise errors.InvalidInput(
            f"name: {name[:80]!r} is not banks/BANK/entries/NUMBER", field="name"
        )
    return parts[1], int(number)


def settings(message: banks_pb2.Bank) -> BankSettings:
    """Raises InvalidInput for what does not make a bank, NotBuilt for what is not tried yet."""
    if message.query_variants:
        raise errors.NotBuilt(
            "bank.query_variants: query variants have no body in this version; leave them out"
        )
    return BankSettings(
        display_name=message.display_name,
        description=message.description,
        mode=choose(_MODE, message.mode, "bank.mode"),
        safe=message.safe,
        thresholds=dict(message.thresholds),
        engine=message.engine or "auto",
    )


def context(message: banks_pb2.ChangeContext) -> ChangeContext:
    return ChangeContext(message.actor, message.reason, message.request_id)


def import_options(message: banks_pb2.ImportOptions) -> ImportOptions:
    """Raises InvalidInput."""
    return ImportOptions(
        source=message.source,
        labels=tuple(message.labels),
        dry_run=message.dry_run,
        skip_bad=message.skip_bad,
        replace=message.replace,
    )


def bank_message(bank: Bank) -> banks_pb2.Bank:
    return banks_pb2.Bank(
        name=f"banks/{bank.id}",
        display_name=bank.display_name,
        description=bank.description,
        mode=MODE[bank.mode],
        safe=bank.safe,
        thresholds=bank.thresholds,
        query_variants=bank.query_variants,
        engine=bank.engine,
        entry_count=bank.entry_count,
        signal_count=bank.signal_count,
        signal_counts=bank.signal_counts,
        revision=bank.revision,
        create_time=timestamp(bank.create_time),
        update_time=timestamp(bank.update_time),
        etag=bank.etag,
    )


def entry_message(entry: Entry) -> banks_pb2.Entry:
    return banks_pb2.Entry(
        name=f"banks/{entry.bank_id}/entries/{entry.id}",
        external_id=entry.external_id,
        signals=[
            banks_pb2.EntrySignal(
                algorithm=s.algorithm,
                value=format_value(s.algorithm, s.value),
                variant=s.variant,
                quality=s.quality,
            )
            for s in entry.signals
        ],
        labels=entry.labels,
        source=entry.source,
        opinion=OPINION[entry.opinion],
        note=entry.note,
        expire_time=timestamp(entry.expire_time),
        added_revision=entry.added_revision,
        removed_revision=entry.removed_revision,
        create_time=timestamp(entry.create_time),
        quarantined=entry.quarantined,
    )


def import_result(result: ImportResult) -> banks_pb2.ImportEntriesResponse:
    summary = result.summary
    return banks_pb2.ImportEntriesResponse(
        rows_read=summary.rows,
        revision=result.revision,
        format=result.format,
        sha256=result.sha256,
        summary=banks_pb2.ImportSummary(
            rows=summary.rows,
            new_entries=summary.new_entries,
            changed_entries=summary.changed_entries,
            unchanged_entries=summary.unchanged_entries,
            withdrawn_entries=summary.withdrawn_entries,
            duplicate_rows=summary.duplicate_rows,
            bad_rows=summary.bad_rows,
            in_other_banks=summary.in_other_banks,
            in_safe_lists=summary.in_safe_lists,
            low_information=summary.low_information,
            unmatchable_signals=summary.unmatchable_signals,
            bad=[
                banks_pb2.BadRow(line=b.line, column=b.column, reason=b.reason, row=b.row)
                for b in summary.bad
            ],
        ),
    )
