"""`featsvc bank evaluate, noisy, overlap`: is the list any good?"""

import csv
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click
from featsvc_client.v1 import banks_pb2

from featsvc.cli import output
from featsvc.cli.bank_entries import MAX_CONTENT_BYTES
from featsvc.cli.curating import bank_argument, bank_name, entry_json, last_part, show_entries
from featsvc.cli.files import read_content
from featsvc.cli.remote import connect, json_option, server_option
from featsvc.errors import InvalidInput
from featsvc.signals.text_views import decode_text

_GOOD = frozenset({"good", "known-good", "negative"})
_BAD = frozenset({"bad", "known-bad", "positive", ""})


class _Sample(NamedTuple):
    """A file, or a hash, that is known to belong to the bank or not."""

    name: str
    signal: str
    bad: bool


@click.command()
@bank_argument
@click.option("--sample", "samples", multiple=True, required=True, metavar="FOLDER|FILE",
              type=click.Path(exists=True, path_type=Path),
              help="Known-bad pictures or hashes, or a folder of bad/ and good/.")  # fmt: skip
@click.option("--good", "goods", multiple=True, metavar="FOLDER|FILE",
              type=click.Path(exists=True, path_type=Path),
              help="Known-good pictures or hashes. Repeatable.")  # fmt: skip
@click.option("--algorithm", default="pdq", show_default=True, help="Which signals to compare.")
@click.option("--false-match-rate", type=click.FloatRange(0, 1), default=0.001, show_default=True,
              help="What the suggested threshold must meet.")  # fmt: skip
@click.option("--csv", "csv_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Write the table of thresholds there.")  # fmt: skip
@click.option("--plot", "plot_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Draw a PNG there; needs featsvc[plot].")  # fmt: skip
@server_option
@json_option
def evaluate(
    bank_id: str,
    samples: tuple[Path, ...],
    goods: tuple[Path, ...],
    algorithm: str,
    false_match_rate: float,
    csv_file: Path | None,
    plot_file: Path | None,
    server: str,
    as_json: bool,
) -> None:
    """Try BANK against samples: what would each threshold find, and find wrongly?

    A file of hashes has one a line, `HASH` or `HASH,good`. With an algorithm of texts the files of
    a folder are texts in UTF-8. Nothing is stored.
    """
    options = banks_pb2.EvaluateOptions(
        name=bank_name(bank_id), algorithm=algorithm, max_false_match_rate=false_match_rate
    )
    found = [sample for path in samples for sample in _samples(path, bad=True)]
    found += [sample for path in goods for sample in _samples(path, bad=False)]
    if not found:
        raise click.ClickException("the samples hold no file and no hash")
    with connect(server) as client:
        result = client.banks.EvaluateBank(_requests(options, found))
    if csv_file is not None:
        _write_csv(csv_file, result)
    if plot_file is not None:
        from featsvc.cli.bank_plot import draw  # noqa: PLC0415 (matplotlib takes a second)

        draw(plot_file, bank_id, algorithm, result)
    if as_json:
        output.json_line(_evaluation_json(bank_id, result))
    else:
        _print_evaluation(result, false_match_rate)


def _samples(path: Path, *, bad: bool) -> Iterator[_Sample]:
    if path.is_dir():
        for file in sorted(p for p in path.rglob("*") if p.is_file()):
            part = file.relative_to(path).parts[0].lower()
            belongs = bad and part not in _GOOD
            yield _Sample(str(file), "", belongs)
        return
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError:
        yield _Sample(str(path), "", bad)
        return
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        signal, _, kind = line.partition(",")
        kind = kind.strip().lower()
        if kind not in _GOOD | _BAD:
            raise click.ClickException(f"{path}:{number}: {kind[:64]!r} is neither good nor bad")
        yield _Sample(f"{path}:{number}", signal.strip(), bad and kind not in _GOOD)


def _is_of_text(algorithm: str) -> bool:
    from featsvc.signals.algorithms import Kind, find_algorithm  # noqa: PLC0415 (loads kernels)

    known = find_algorithm(algorithm)
    return known is not None and known.kind is Kind.TEXT


def _requests(
    options: banks_pb2.EvaluateOptions, samples: Sequence[_Sample]
) -> Iterator[banks_pb2.EvaluateBankRequest]:
    as_text = _is_of_text(options.algorithm)
    yield banks_pb2.EvaluateBankRequest(options=options)
    with output.progress(count=True) as bar:
        for sample in bar.track(samples, description="samples"):
            message = banks_pb2.Sample(positive=sample.bad)
            if sample.signal:
                _, _, value = sample.signal.rpartition(":")
                message.signal.algorithm = options.algorithm
                message.signal.value = value
            else:
                try:
                    content = read_content(Path(sample.name), MAX_CONTENT_BYTES)
                    if as_text:
                        message.content.text = decode_text(content)
                    else:
                        message.content.data = content
                except InvalidInput as exc:
                    click.echo(f"{sample.name}: {exc}", err=True)
                    continue
            yield banks_pb2.EvaluateBankRequest(sample=message)


def _write_csv(path: Path, result: banks_pb2.EvaluateBankResponse) -> None:
    names = [field.name for field in result.Threshold.DESCRIPTOR.fields]
    with path.open("w", newline="", encoding="utf-8") as out:
        writer = csv.writer(out)
        writer.writerow([*names, "bad_at_distance", "good_at_distance"])
        for place, row in enumerate(result.thresholds):
            counts = (_at(result.positive_histogram, place), _at(result.negative_histogram, place))
            writer.writerow([*(f"{getattr(row, name):g}" for name in names), *counts])


def _at(histogram: Sequence[int], place: int) -> int:
    return histogram[place] if place < len(histogram) else 0


def _suggested(result: banks_pb2.EvaluateBankResponse) -> float | None:
    return result.suggested_threshold if result.HasField("suggested_threshold") else None


def _evaluation_json(bank_id: str, result: banks_pb2.EvaluateBankResponse) -> dict[str, object]:
    names = [field.name for field in result.Threshold.DESCRIPTOR.fields]
    return {
        "bank": bank_id,
        "suggested_threshold": _suggested(result),
        "bank_threshold": result.bank_threshold,
        "step": result.step,
        "bad_histogram": list(result.positive_histogram),
        "good_histogram": list(result.negative_histogram),
        "thresholds": [{name: getattr(row, name) for name in names} for row in result.thresholds],
        "noisy_entries": [
            {**entry_json(noisy.entry), "matches": noisy.matches} for noisy in result.noisy_entries
        ],
        "unreadable_samples": result.unreadable_samples,
        "low_quality_samples": result.low_quality_samples,
    }


def _marks(threshold: float, result: banks_pb2.EvaluateBankResponse) -> str:
    marks = ["<- now"] if threshold == result.bank_threshold else []
    marks += ["<- suggested"] if threshold == _suggested(result) else []
    return " ".join(marks)


def _print_suggestion(result: banks_pb2.EvaluateBankResponse, rate: float) -> None:
    suggested = _suggested(result)
    good = sum(result.negative_histogram)
    if suggested is None:
        click.echo(f"no threshold is known to match at most {rate:.2%} of good content")
        if not good:
            click.echo("there are no good samples: put ordinary pictures into good/")
        return
    chosen = next(row for row in result.thresholds if row.threshold == suggested)
    click.echo(
        f"threshold {suggested:g} matches {chosen.false_match_rate:.2%} of the good samples "
        f"(at most {chosen.false_match_rate_high:.2%} at 95 % confidence; asked: {rate:.2%})"
    )
    if rate and chosen.false_match_rate_high > rate:
        click.echo(
            f"{good:,} good samples are too few to be sure of {rate:.2%}: it takes about "
            f"{max(good + 1, samples_for(rate)):,}"
        )


def samples_for(rate: float) -> int:
    """Good samples without a false match that show a rate at 95 % confidence (Wilson)."""
    return math.ceil(1.96**2 * (1 - rate) / rate)


def _print_evaluation(result: banks_pb2.EvaluateBankResponse, rate: float) -> None:
    suggested = _suggested(result)
    shown = []
    last = None
    for row in result.thresholds:
        now = (row.recall, row.false_match_rate)
        if now != last or row.threshold in (suggested, result.bank_threshold):
            shown.append(row)
        last = now
    output.table(
        ("threshold", "finds of bad", "95 % interval", "matches good", "95 % interval", ""),
        (
            (
                f"{row.threshold:g}",
                f"{row.recall:.1%}",
                f"{row.recall_low:.1%} to {row.recall_high:.1%}",
                f"{row.false_match_rate:.2%}",
                f"{row.false_match_rate_low:.2%} to {row.false_match_rate_high:.2%}",
                _marks(row.threshold, result),
            )
            for row in shown
        ),
    )
    _print_suggestion(result, rate)
    if result.noisy_entries:
        click.echo("entries that match good samples:")
        show_entries(
            [noisy.entry for noisy in result.noisy_entries],
            "matches",
            [noisy.matches for noisy in result.noisy_entries],
        )
    for number, what in (
        (result.unreadable_samples, "could not be read as pictures"),
        (result.low_quality_samples, "are too plain to be hashed well"),
    ):
        if number:
            click.echo(f"{number:,} samples {what}, and were left out", err=True)


@click.command()
@bank_argument
@click.option("--days", type=click.IntRange(1, 366), default=7, show_default=True,
              help="Matches of the last days.")  # fmt: skip
@click.option("--factor", type=click.FloatRange(min=1), default=10.0, show_default=True,
              help="Noisy: so many times the median of the entries that matched.")  # fmt: skip
@click.option("--min-matches", type=click.IntRange(min=1), default=10, show_default=True,
              help="Noisy: at least so many matches.")  # fmt: skip
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True,
              help="At most so many entries.")  # fmt: skip
@server_option
@json_option
def noisy(
    bank_id: str,
    days: int,
    factor: float,
    min_matches: int,
    limit: int,
    server: str,
    as_json: bool,
) -> None:
    """How often BANK matched, and the entries that match far more than the rest."""
    with connect(server) as client:
        found = client.banks.ListMatchCounts(
            banks_pb2.ListMatchCountsRequest(
                parent=bank_name(bank_id), days=days, max_entries=limit
            )
        )
    bar = max(min_matches, factor * found.median_matches)
    is_noisy = [count.total >= bar for count in found.entries]
    if as_json:
        for count, loud in zip(found.entries, is_noisy, strict=True):
            values = {"matches": dict(count.matches), "total": count.total, "noisy": loud}
            output.json_line({**entry_json(count.entry), **values})
        return
    modes = ", ".join(f"{number:,} in {mode}" for mode, number in sorted(found.matches.items()))
    click.echo(f"matches in {days} days: {modes or 'none'}")
    if found.matched_entries:
        click.echo(
            f"{found.matched_entries:,} entries matched; half of them at most "
            f"{found.median_matches:g} times"
        )
        loudness = [
            f"{count.total:,}{' NOISY' if loud else ''}"
            for count, loud in zip(found.entries, is_noisy, strict=True)
        ]
        show_entries([count.entry for count in found.entries], "matches", loudness)
    loud_ids = [
        last_part(count.entry.name)
        for count, loud in zip(found.entries, is_noisy, strict=True)
        if loud and not count.entry.quarantined
    ]
    if loud_ids:
        click.echo(f"to silence them: featsvc bank quarantine {bank_id} {' '.join(loud_ids)}")


@click.command()
@click.argument("bank_id", metavar="A")
@click.argument("other_id", metavar="B")
@click.option("--limit", type=click.IntRange(1, 1000), default=20, show_default=True,
              help="At most so many pairs.")  # fmt: skip
@server_option
@json_option
def overlap(bank_id: str, other_id: str, limit: int, server: str, as_json: bool) -> None:
    """Entries of bank A with a signal that bank B holds too."""
    with connect(server) as client:
        found = client.banks.CompareBanks(
            banks_pb2.CompareBanksRequest(
                name=bank_name(bank_id), other=bank_name(other_id), max_pairs=limit
            )
        )
    if as_json:
        output.json_line(
            {
                "bank": bank_id,
                "other": other_id,
                "entries": found.entries,
                "shared_entries": found.shared_entries,
                "other_entries": found.other_entries,
                "pairs": [
                    {"entry": entry_json(p.entry), "other": entry_json(p.other)}
                    for p in found.pairs
                ],
            }
        )
        return
    share = found.shared_entries / found.entries if found.entries else 0
    click.echo(
        f"{found.shared_entries:,} of {found.entries:,} entries of {bank_id} ({share:.1%}) are "
        f"in {other_id}, which has {found.other_entries:,}"
    )
    if found.pairs:
        others = [f"{last_part(p.other.name)} {p.other.external_id}" for p in found.pairs]
        show_entries([p.entry for p in found.pairs], f"in {other_id}", others)
