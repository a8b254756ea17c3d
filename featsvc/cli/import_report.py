"""What an import found in its list, and which entries it withdraws, for people."""

from collections.abc import Iterable, Sequence

from featsvc_client.v1 import banks_pb2

from featsvc.cli import output
from featsvc.cli.messages import last_part
from featsvc.cli.words import counted, echo

_SHOWN = 20
"""Entries and rows that are printed; `--json` has 1,000."""
_SOURCES_SHOWN = 3


def print_found(file_format: str, summary: banks_pb2.ImportSummary) -> None:
    """Print `csv: 1,000 rows: 900 pdq, 100 md5; source: feed`."""
    most = sorted(summary.signals.items(), key=lambda pair: (-pair[1], pair[0]))
    signals = ", ".join(f"{number:,} {algorithm}" for algorithm, number in most) or "no signal"
    echo(f"{file_format}: {counted(summary.rows, 'row')}: {signals}; {_sources(summary)}")


def _sources(summary: banks_pb2.ImportSummary) -> str:
    shown = [name or "none" for name in summary.sources[:_SOURCES_SHOWN]]
    more = summary.source_count - len(shown)
    word = "sources" if summary.source_count > 1 else "source"
    return f"{word}: {', '.join(shown) or 'none'}" + (f" and {more:,} more" if more > 0 else "")


def describe_share(summary: banks_pb2.ImportSummary) -> str:
    """Return `3 of 12 entries (25 %)` for the entries that an import withdraws."""
    withdrawn, held = summary.withdrawn_entries, summary.bank_entries
    percent = 100 * withdrawn / held if held else 0
    share = f" ({percent:.0f} %)" if percent >= 1 else ""
    return f"{withdrawn:,} of {counted(held, 'entry')}{share}"


def print_withdrawals(summary: banks_pb2.ImportSummary) -> None:
    """Print the first entries that an import withdraws, and the first rows that name nothing."""
    if summary.withdrawn:
        echo("  withdrawn:")
        print_withdrawn(summary.withdrawn, summary.withdrawn_entries)
    if summary.unknown:
        echo("  rows that name nothing in the bank:")
        output.table(
            ("line", "external id", "signal"),
            [(row.line, row.external_id, _signal(row)) for row in summary.unknown[:_SHOWN]],
        )
        _print_more(summary.unknown_withdrawals)
    for refusal in summary.refusals:
        echo(f"this import would be refused: {refusal.message}", err=True)


def print_withdrawn(entries: Sequence[banks_pb2.WithdrawnEntry], total: int) -> None:
    """Print a table of the first withdrawn entries, and how many there are besides."""
    output.table(("entry", "external id", "source", "line"), _rows(entries[:_SHOWN]))
    _print_more(total)


def _rows(entries: Iterable[banks_pb2.WithdrawnEntry]) -> list[tuple[object, ...]]:
    return [(last_part(e.name), e.external_id, e.source, e.line or None) for e in entries]


def _signal(row: banks_pb2.UnknownWithdrawal) -> str:
    if not row.HasField("signal"):
        return ""
    return f"{row.signal.algorithm}:{output.shorten(row.signal.value)}".rstrip(":")


def _print_more(total: int) -> None:
    if total > _SHOWN:
        echo(f"and {total - _SHOWN:,} more; --json has the first 1,000")
