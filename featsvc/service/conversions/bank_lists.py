"""Conversions of imports, overlaps, evaluations and match counts to and from messages."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict

from featsvc_client.v1 import banks_pb2 as pb

from featsvc.banks.records import BankMode
from featsvc.banks.results import BadRow, BankMatches, ImportOptions, ImportResult, Overlap
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
    )


def bad_rows(rows: Iterable[BadRow]) -> list[pb.BadRow]:
    return [pb.BadRow(line=b.line, column=b.column, reason=b.reason, row=b.row) for b in rows]


def import_result(result: ImportResult) -> pb.ImportEntriesResponse:
    summary = result.summary
    return pb.ImportEntriesResponse(
        rows_read=summary.rows,
        revision=result.revision,
        format=result.format,
        sha256=result.sha256,
        summary=pb.ImportSummary(**asdict(summary)),
        column_map=result.column_map,
        map_remembered=result.map_remembered,
        unread_columns=result.unread_columns,
    )


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
