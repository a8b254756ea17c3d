"""`featsvc bank evaluate, noisy, overlap`: which threshold, which entries, which list."""

import csv
import math
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import NamedTuple

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2, hashing_pb2

from featsvc.cli import output
from featsvc.cli.curating import (
    bank_argument,
    bank_name,
    count_entries,
    show_entries,
)
from featsvc.cli.inputs import parse_signal, read_file, read_text
from featsvc.cli.listing import MAX_PAGE_ROWS, Listing, limit_option, read_pages
from featsvc.cli.messages import last_part, message_json, number
from featsvc.cli.remote import describe_algorithm, remote_command
from featsvc.cli.words import counted, echo
from featsvc.errors import shown

_GOOD = frozenset({"good", "known-good", "negative"})
_BAD = frozenset({"bad", "known-bad", "positive", ""})


class _Sample(NamedTuple):
    """A file, or a hash where `signal` is not empty, and whether it belongs to the bank."""

    name: str
    signal: str
    bad: bool


@click.command(
    epilog="Example: featsvc bank evaluate partner-a --sample samples --plot thresholds.png"
)
@bank_argument
@click.option(
    "--sample",
    "samples",
    multiple=True,
    required=True,
    metavar="FOLDER|FILE",
    type=click.Path(exists=True, path_type=Path),
    help="Known-bad pictures or hashes, or a folder of bad/ and good/. Repeatable.",
)
@click.option(
    "--good",
    "goods",
    multiple=True,
    metavar="FOLDER|FILE",
    type=click.Path(exists=True, path_type=Path),
    help="Known-good pictures or hashes. Repeatable.",
)
@click.option(
    "--algorithm",
    "algorithm_name",
    metavar="NAME",
    default="pdq",
    show_default=True,
    help="Algorithm of the signals.",
)
@click.option(
    "--false-match-rate",
    type=click.FloatRange(0, 1),
    metavar="SHARE",
    default=0.001,
    show_default=True,
    help="The suggested threshold matches at most this share of good content.",
)
@click.option(
    "--csv",
    "csv_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write the table of thresholds to FILE.",
)
@click.option(
    "--plot",
    "plot_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Draw a PNG; needs featsvc[plot].",
)
@limit_option(20)
@remote_command
def evaluate(
    client: Client,
    bank_id: str,
    samples: tuple[Path, ...],
    goods: tuple[Path, ...],
    algorithm_name: str,
    false_match_rate: float,
    csv_file: Path | None,
    plot_file: Path | None,
    limit: int,
    as_json: bool,
) -> None:
    """Measure what each threshold finds.

    Samples are content that is known to belong to BANK (bad) or not to (good). They are not stored.
    A file of hashes has one per line, `HASH` or `HASH,good`. For an algorithm of texts, files are
    texts in UTF-8. --limit is for the entries that match good samples, of which 1,000 are printed
    at most.
    """
    algorithm = describe_algorithm(client, algorithm_name)
    options = banks_pb2.EvaluateOptions(
        name=bank_name(bank_id),
        algorithm=algorithm.name,
        max_false_match_rate=false_match_rate,
        max_noisy_entries=min(limit or MAX_PAGE_ROWS, MAX_PAGE_ROWS),
    )
    listed = [sample for path in samples for sample in _samples(path, bad=True)]
    listed += [sample for path in goods for sample in _samples(path, bad=False)]
    if not listed:
        raise click.ClickException("there are no samples: the files and folders are empty")
    result = client.banks.EvaluateBank(_requests(options, algorithm, listed))
    if csv_file is not None:
        _write_csv(csv_file, result)
    if plot_file is not None:
        from featsvc.cli.bank_plot import draw  # noqa: PLC0415 (matplotlib takes a second)

        draw(plot_file, bank_id, algorithm, result)
    if as_json:
        cut = result.noisy_entry_count > len(result.noisy_entries)
        more = "--limit 0" if cut and len(result.noisy_entries) < MAX_PAGE_ROWS else None
        output.json_line({"bank": bank_id, **message_json(result), "truncated": cut, "next": more})
    else:
        _print_evaluation(result, false_match_rate)


def _samples(path: Path, *, bad: bool) -> Iterator[_Sample]:
    """Yield the files below a folder, or the hashes in a file. Raises ClickException."""
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            folder = file.relative_to(path).parts[0].lower()
            yield _Sample(str(file), "", bad and folder not in _GOOD)
        return
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        yield _Sample(str(path), "", bad)
        return
    for line_number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        signal, _, kind = line.partition(",")
        kind = kind.strip().lower()
        if kind not in _GOOD | _BAD:
            raise click.ClickException(
                f"{path}:{line_number}: {shown(kind)!r} is neither good nor bad: write HASH, "
                "HASH,good or HASH,bad"
            )
        yield _Sample(f"{path}:{line_number}", signal.strip(), bad and kind not in _GOOD)


def _requests(
    options: banks_pb2.EvaluateOptions,
    algorithm: hashing_pb2.Algorithm,
    samples: Sequence[_Sample],
) -> Iterator[banks_pb2.EvaluateBankRequest]:
    """Yield the options, then the samples; a file that cannot be read is reported and skipped."""
    yield banks_pb2.EvaluateBankRequest(options=options)
    with output.progress(count=True) as bar:
        for sample in bar.track(samples, description="samples"):
            message = banks_pb2.Sample(positive=sample.bad)
            try:
                if sample.signal:
                    named = ":" in sample.signal
                    text = sample.signal if named else f"{algorithm.name}:{sample.signal}"
                    message.signal.CopyFrom(parse_signal(text, "--sample"))
                elif algorithm.input == hashing_pb2.Algorithm.INPUT_TEXT:
                    message.content.text = read_text(sample.name)
                else:
                    message.content.data = read_file(Path(sample.name))
            except click.ClickException as exc:
                echo(exc.message, err=True)
                continue
            yield banks_pb2.EvaluateBankRequest(sample=message)


def _write_csv(path: Path, result: banks_pb2.EvaluateBankResponse) -> None:
    """Write a row for each threshold: its rates, and the samples at that distance."""
    names = [field.name for field in result.Threshold.DESCRIPTOR.fields]
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow([*names, "bad_at_distance", "good_at_distance"])
        for step, row in enumerate(result.thresholds):
            counts = (_at(result.positive_histogram, step), _at(result.negative_histogram, step))
            writer.writerow([*(f"{getattr(row, name):g}" for name in names), *counts])


def _at(histogram: Sequence[int], step: int) -> int:
    return histogram[step] if step < len(histogram) else 0


def _suggested(result: banks_pb2.EvaluateBankResponse) -> float | None:
    return result.suggested_threshold if result.HasField("suggested_threshold") else None


def _marks(threshold: float, result: banks_pb2.EvaluateBankResponse) -> str:
    marks = ["<- now"] if threshold == result.bank_threshold else []
    marks += ["<- suggested"] if threshold == _suggested(result) else []
    return " ".join(marks)


def _print_evaluation(result: banks_pb2.EvaluateBankResponse, rate: float) -> None:
    marked = (_suggested(result), result.bank_threshold)
    rows = []
    rates = None
    for row in result.thresholds:
        if (row.recall, row.false_match_rate) != rates or row.threshold in marked:
            rows.append(row)
        rates = (row.recall, row.false_match_rate)
    output.table(
        ("threshold", "bad found", "95 % range", "good matched", "95 % range", ""),
        (
            (
                f"{row.threshold:g}",
                f"{row.recall:.1%}",
                f"{100 * row.recall_low:.1f}-{row.recall_high:.1%}",
                f"{row.false_match_rate:.2%}",
                f"{100 * row.false_match_rate_low:.2f}-{row.false_match_rate_high:.2%}",
                _marks(row.threshold, result),
            )
            for row in rows
        ),
    )
    _print_suggestion(result, rate)
    if result.noisy_entries:
        echo("entries that match good samples:")
        show_entries(
            [noisy.entry for noisy in result.noisy_entries],
            {"matches": [noisy.matches for noisy in result.noisy_entries]},
        )
        if (more := result.noisy_entry_count - len(result.noisy_entries)) > 0:
            echo(f"{more:,} more; use --limit N, or --limit 0 for 1,000")
    for count, what in (
        (result.unreadable_samples, "could not be read"),
        (result.low_quality_samples, "had too little structure to be hashed well"),
    ):
        if count:
            echo(f"left out {counted(count, 'sample')} that {what}", err=True)


def _print_suggestion(result: banks_pb2.EvaluateBankResponse, rate: float) -> None:
    suggested = _suggested(result)
    good = sum(result.negative_histogram)
    if suggested is None:
        echo(f"no threshold is known to match at most {rate:.2%} of good content")
        if not good:
            echo("there are no good samples: put ordinary pictures into good/")
        return
    row = next((row for row in result.thresholds if row.threshold == suggested), None)
    if row is None:
        return
    echo(
        f"threshold {suggested:g} would match {row.false_match_rate:.2%} of the good samples "
        f"(at most {row.false_match_rate_high:.2%} at 95 % confidence; the limit is {rate:.2%})"
    )
    if rate and row.false_match_rate_high > rate:
        echo(
            f"too few good samples, {good:,}, to be sure of {rate:.2%}: it takes about "
            f"{max(good + 1, _samples_for(rate)):,}"
        )


def _samples_for(rate: float) -> int:
    """Return how many good samples without a match show a rate at 95 % confidence (Wilson)."""
    return math.ceil(1.96**2 * (1 - rate) / rate)


@click.command(epilog="Example: featsvc bank noisy partner-a --days 30")
@bank_argument
@click.option(
    "--days",
    type=click.IntRange(1, 366),
    metavar="N",
    default=7,
    show_default=True,
    help="Count matches of the last N days.",
)
@click.option(
    "--factor",
    type=click.FloatRange(min=1),
    metavar="X",
    default=10.0,
    show_default=True,
    help="Noisy: at least X times the median of the entries that matched.",
)
@click.option(
    "--min-matches",
    type=click.IntRange(min=1),
    metavar="N",
    default=10,
    show_default=True,
    help="Noisy: at least N matches, too.",
)
@limit_option(20)
@remote_command
def noisy(
    client: Client,
    bank_id: str,
    days: int,
    factor: float,
    min_matches: int,
    limit: int,
    as_json: bool,
) -> None:
    """List the entries that matched, and how often.

    Marks entries that match far more often than the others as NOISY.
    """
    request = banks_pb2.ListMatchCountsRequest(parent=bank_name(bank_id), days=days)
    found, counts = _match_counts(client, request, limit)
    listing = Listing(counts, limit)
    noisy_from = max(min_matches, factor * found.median_matches)
    if as_json:
        listing.print_json(lambda row: {**message_json(row), "noisy": row.total >= noisy_from})
        return
    shown_counts = list(listing)
    modes = ", ".join(f"{matches:,} in {mode}" for mode, matches in sorted(found.matches.items()))
    none = "none yet; uploads that match are counted"
    echo(f"matches in {counted(days, 'day')}: {modes or none}")
    if found.matched_entries:
        echo(
            f"{count_entries(found.matched_entries)} matched; half of them at most "
            f"{counted(number(found.median_matches) or 0, 'time')}"
        )
        show_entries(
            [count.entry for count in shown_counts],
            {
                "matches": [count.total for count in shown_counts],
                "": ["NOISY" if count.total >= noisy_from else "" for count in shown_counts],
            },
        )
        listing.print_cut()
    noisy_ids = [
        last_part(count.entry.name)
        for count in shown_counts
        if count.total >= noisy_from and not count.entry.quarantined
    ]
    if noisy_ids:
        echo(f"to silence them: featsvc bank quarantine {bank_id} {' '.join(noisy_ids)}")


def _match_counts(
    client: Client, request: banks_pb2.ListMatchCountsRequest, limit: int
) -> tuple[banks_pb2.ListMatchCountsResponse, list[banks_pb2.ListMatchCountsResponse.Count]]:
    """Return the counts of the bank, and more than `limit` entries, most matches first."""
    wanted = limit + 1 if 0 < limit < MAX_PAGE_ROWS else MAX_PAGE_ROWS
    request.max_entries = wanted
    found = client.banks.ListMatchCounts(request)
    if len(found.entries) < MAX_PAGE_ROWS or wanted < MAX_PAGE_ROWS:
        return found, list(found.entries)
    pages = list(read_pages(client.banks.ListMatchCounts, request))
    # Pages are by id: while matches are counted, the order of matches changes between two pages.
    counts = [count for page in pages for count in page.entries]
    return pages[0], sorted(counts, key=lambda count: -count.total)


@click.command(epilog="Example: featsvc bank overlap partner-a known-good")
@click.argument("bank_id", metavar="A")
@click.argument("other_id", metavar="B")
@limit_option(20)
@remote_command
def overlap(client: Client, bank_id: str, other_id: str, limit: int, as_json: bool) -> None:
    """List entries of bank A that bank B holds too.

    Two entries are the same if they share a signal, equal to the bit. With --json each line has at
    most 1,000 pairs, and the same counts.
    """
    request = banks_pb2.CompareBanksRequest(name=bank_name(bank_id), other=bank_name(other_id))
    pages = read_pages(client.banks.CompareBanks, request, limit, size="max_pairs")
    found = next(pages)
    pairs = Listing((pair for page in chain([found], pages) for pair in page.pairs), limit)
    pairs.total = found.shared_entries
    if as_json:
        _print_overlap_json({"bank": bank_id, "other": other_id}, found, pairs)
        return
    share = found.shared_entries / found.entries if found.entries else 0
    echo(
        f"{other_id} ({count_entries(found.other_entries)}) holds {found.shared_entries:,} of the "
        f"{count_entries(found.entries)} of {bank_id} ({share:.1%})"
    )
    if shown_pairs := list(pairs):
        others = [f"{last_part(p.other.name)} {p.other.external_id}" for p in shown_pairs]
        show_entries([p.entry for p in shown_pairs], {f"in {other_id}": others})
        pairs.print_cut()


def _print_overlap_json(
    names: dict[str, str],
    found: banks_pb2.CompareBanksResponse,
    pairs: Listing[banks_pb2.CompareBanksResponse.Pair],
) -> None:
    """Print a line for each 1,000 pairs, and one if there are none."""
    line = banks_pb2.CompareBanksResponse()
    line.CopyFrom(found)
    rows = iter(pairs)
    first = True
    while (some := list(islice(rows, MAX_PAGE_ROWS))) or first:
        first = False
        del line.pairs[:]
        line.pairs.extend(some)
        output.json_line({**names, **message_json(line)})
    pairs.print_cut_json()
