"""Conversions of imports, overlaps, evaluations and match counts to and from messages."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from featsvc_client.v1 import banks_pb2 as pb
from featsvc_client.v1 import types_pb2

from featsvc.banks.records import BankMode
from featsvc.banks.results import (
    BadRow,
    BankMatches,
    ImportOptions,
    ImportResult,
    ImportSummary,
    Overlap,
    UnknownWithdrawal,
    WithdrawnEntry,
)
from featsvc.banks.tuning.evaluation import Evaluation, Rate, ThresholdEffect
from featsvc.service.conversions.banks import entry_message


def import_options(message: pb.ImportOptions) -> ImportOptions:
    """Raises InvalidInput."""
    return ImportOptions(
        source=message.source,
        labels=tuple(message.labels),
        dry_run=message.dry_run,
        skip_bad=message.skip_bad,
        replace=message.replace,
        etag=message.etag,
        algorithm=message.algorithm,
        column_map=dict(message.column_map),
        ignored_columns=tuple(message.ignored_columns),
        allow_withdrawn=message.allow_withdrawn if message.HasField("allow_withdrawn") else None,
        allow_replaced=message.allow_replaced,
    )


def bad_rows(rows: Iterable[BadRow]) -> list[pb.BadRow]:
    return [pb.BadRow(line=b.line, column=b.column, reason=b.reason, row=b.row) for b in rows]


def import_result(result: ImportResult) -> pb.ImportEntriesResponse:
    return pb.ImportEntriesResponse(
        rows_read=result.summary.rows,
        revision=result.revision,
        format=result.format,
        sha256=result.sha256,
        summary=_summary_message(result.summary),
        column_map=result.column_map,
        map_remembered=result.map_remembered,
        unread_columns=result.unread_columns,
    )


def planned_import(plan: ImportResult) -> pb.ImportEntriesResponse:
    """Return the response that an import sends before it changes anything."""
    return pb.ImportEntriesResponse(format=plan.format, planned=_summary_message(plan.summary))


def _summary_message(summary: ImportSummary) -> pb.ImportSummary:
    fields = asdict(summary) | {
        "withdrawn": withdrawn_messages(summary.withdrawn),
        "unknown": [_unknown_message(row) for row in summary.unknown],
    }
    return pb.ImportSummary(**fields)


def withdrawn_messages(entries: Iterable[WithdrawnEntry]) -> list[pb.WithdrawnEntry]:
    return [
        pb.WithdrawnEntry(
            name=f"banks/{entry.bank_id}/entries/{entry.id}",
            external_id=entry.external_id,
            source=entry.source,
            line=entry.line,
        )
        for entry in entries
    ]


def _unknown_message(row: UnknownWithdrawal) -> pb.UnknownWithdrawal:
    signal = types_pb2.Signal(algorithm=row.algorithm, value=row.value) if row.algorithm else None
    return pb.UnknownWithdrawal(line=row.line, external_id=row.external_id, signal=signal)


def overlap_message(overlap: Overlap) -> pb.CompareBanksResponse:
    return pb.CompareBanksResponse(
        entries=overlap.entries,
        shared_entries=overlap.shared,
        other_entries=overlap.other_entries,
        pairs=[
            pb.CompareBanksResponse.Pair(entry=entry_message(entry), other=entry_message(other))
            for entry, other in overlap.pairs
        ],
        next_page_token=overlap.next_page_token,
    )


def evaluation_message(
    evaluation: Evaluation, unreadable: int, low_quality: int
) -> pb.EvaluateBankResponse:
    return pb.EvaluateBankResponse(
        positive_histogram=evaluation.positive_histogram,
        negative_histogram=evaluation.negative_histogram,
        thresholds=[_threshold(effect) for effect in evaluation.thresholds],
        suggested_threshold=evaluation.suggested,
        bank_threshold=evaluation.own,
        step=evaluation.step,
        noisy_entries=[
            pb.EvaluateBankResponse.NoisyEntry(entry=entry_message(entry), matches=number)
            for entry, number in evaluation.noisy
        ],
        noisy_entry_count=evaluation.noisy_count,
        unreadable_samples=unreadable,
        low_quality_samples=low_quality,
    )


def _threshold(effect: ThresholdEffect) -> pb.EvaluateBankResponse.Threshold:
    recall, false = _rate(effect.recall), _rate(effect.false_matches)
    return pb.EvaluateBankResponse.Threshold(
        threshold=effect.threshold,
        recall=recall[0],
        recall_low=recall[1],
        recall_high=recall[2],
        false_match_rate=false[0],
        false_match_rate_low=false[1],
        false_match_rate_high=false[2],
    )


def _rate(rate: Rate) -> tuple[float, float, float]:
    """Return a share and its interval; without samples the interval is 0 to 1."""
    if rate.value is None or rate.low is None or rate.high is None:
        return 0.0, 0.0, 1.0
    return rate.value, rate.low, rate.high


def match_counts_message(counts: BankMatches) -> pb.ListMatchCountsResponse:
    return pb.ListMatchCountsResponse(
        matches=_by_mode(counts.total),
        matched_entries=counts.matched_entries,
        median_matches=counts.median,
        entries=[
            pb.ListMatchCountsResponse.Count(
                entry=entry_message(count.entry),
                matches=_by_mode(count.matches),
                total=count.total,
            )
            for count in counts.entries
        ],
        next_page_token=counts.next_page_token,
    )


def _by_mode(counts: Mapping[BankMode, int]) -> dict[str, int]:
    return {mode.name: number for mode, number in counts.items()}
