"""`featsvc match` and `featsvc screen`: what a server knows about a file, a text or a signal."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import click
from featsvc_client import Client
from featsvc_client.v1 import features_pb2, hashing_pb2, matching_pb2, screening_pb2, types_pb2

from featsvc.cli import output
from featsvc.cli.inputs import parse_signal, read_file, read_text, split_names, text_options
from featsvc.cli.messages import enum_name, feature_row, last_part, message_json, number
from featsvc.cli.remote import remote_command

# The server has the real limit; this one keeps a wrong file from filling memory.
_MAX_FILE_BYTES = 2**28

_file_argument = click.argument("file", required=False, type=click.Path(path_type=Path))
_banks_option = click.option(
    "--bank", "-b", "banks", multiple=True, metavar="BANK", help="Only this bank. Repeatable."
)
_variants_option = click.option(
    "--variants",
    type=click.Choice(["none", "default", "all"]),
    default="default",
    show_default=True,
    help="Turns and parts of the picture to match: none, those that each bank names, or all.",
)


@click.command()
@_file_argument
@click.option("--signal", metavar="ALGORITHM:HEX", help="A signal instead of a file.")
@text_options()
@_banks_option
@click.option(
    "--max-distance",
    type=click.FloatRange(min=0),
    metavar="N",
    help="Largest distance that matches, instead of the banks' thresholds. Perceptual hashes only.",
)
@click.option(
    "--max-results",
    type=int,
    default=0,
    metavar="N",
    help="Print at most N matches. Default: the server's, 100.",
)
@_variants_option
@remote_command
def match(
    client: Client,
    file: Path | None,
    signal: str | None,
    text: str | None,
    text_file: str | None,
    banks: tuple[str, ...],
    max_distance: float | None,
    max_results: int,
    variants: str,
    as_json: bool,
) -> None:
    """Match a file, a text or a signal against banks."""
    _check_one({"FILE": file, "--text": text, "--text-file": text_file, "--signal": signal})
    request = matching_pb2.MatchRequest(
        content=_content(file, text, text_file) if signal is None else None,
        signal=parse_signal(signal, "--signal") if signal is not None else None,
        options=types_pb2.MatchOptions(
            banks=banks, max_results=max_results, variants=f"VARIANTS_{variants.upper()}"
        ),
    )
    if max_distance is not None:
        listed = client.hashing.ListAlgorithms(hashing_pb2.ListAlgorithmsRequest()).algorithms
        for known in listed:
            if known.matched and known.distance == hashing_pb2.Algorithm.DISTANCE_HAMMING:
                request.options.thresholds.add(algorithm=known.name, threshold=max_distance)
    response = client.matching.Match(request)
    _warn_if_behind(client, response.watermark.revision)
    if as_json:
        output.json_line({"file": str(file) if file else None, **message_json(response)})
        return
    outcome = enum_name(response, "outcome")
    _print_outcome("content", outcome, response.outcome_reason)
    _print_matches(outcome, response.matches, response.truncated, response.watermark.revision)
    _print_searched(response.searched)


@click.command()
@_file_argument
@text_options()
@click.option("--account", metavar="ID", required=True, help="The account that uploads.")
@click.option("--features", "names", metavar="A,B,...", default="", help="Only these features.")
@click.option("--set", "feature_set", metavar="NAME", default="", help="Only this set of features.")
@_banks_option
@_variants_option
@remote_command
def screen(
    client: Client,
    file: Path | None,
    text: str | None,
    text_file: str | None,
    account: str,
    names: str,
    feature_set: str,
    banks: tuple[str, ...],
    variants: str,
    as_json: bool,
) -> None:
    """Screen a file or a text for an account.

    Prints matches, the features of the account, and timings.
    """
    _check_one({"FILE": file, "--text": text, "--text-file": text_file})
    request = screening_pb2.ScreenRequest(
        content=_content(file, text, text_file),
        entities=[types_pb2.EntityRef(entity="account", id=account)],
        selection=features_pb2.FeatureSelection(features=split_names(names), set=feature_set),
        options=types_pb2.MatchOptions(banks=banks, variants=f"VARIANTS_{variants.upper()}"),
    )
    response = client.screening.Screen(request)
    revision = response.watermark.revision
    _warn_if_behind(client, revision)
    values = message_json(response)
    if as_json:
        output.json_line({"file": str(file) if file else None, "account": account, **values})
        return
    _print_outcome("content", values["outcome"], response.content_outcome_reason)
    _print_matches(values["outcome"], response.matches, response.matches_truncated, revision)
    _print_searched(response.searched)
    _print_outcome("features", values["features_outcome"], response.features_outcome_reason)
    print_features(f"account {account}", response.features, 0)
    timings = message_json(response.timings)
    click.echo("  ".join(f"{name.removesuffix('_us')} {us} us" for name, us in timings.items()))


def print_features(title: str, table: features_pb2.FeatureTable, row: int) -> None:
    """Print the features of the entity in one row."""
    features = feature_row(message_json(table), row)["features"]
    output.table(
        ("feature", "value", "status"),
        ((name, feature["value"], feature["status"]) for name, feature in features.items()),
        title=title,
    )


def variants_text(match: types_pb2.Match) -> str:
    """Return the variants that matched each other; empty where both are originals."""
    query = match.query_variant if match.query_variant != "original" else ""
    entry = f"entry {match.entry_variant}" if match.entry_variant != "original" else ""
    return ", ".join(filter(None, (query, entry)))


def _check_one(inputs: Mapping[str, object]) -> None:
    """Raise UsageError unless one of the inputs is given."""
    if sum(value is not None for value in inputs.values()) != 1:
        raise click.UsageError(f"give one of {', '.join(inputs)}")


def _content(file: Path | None, text: str | None, text_file: str | None) -> types_pb2.Content:
    """Read the one that is given. Raises ClickException."""
    if file is not None:
        return types_pb2.Content(data=read_file(file, _MAX_FILE_BYTES))
    return types_pb2.Content(text=read_text(text_file) if text_file is not None else text)


def _warn_if_behind(client: Client, revision: int) -> None:
    """Print a warning if a change is committed that the answer does not include."""
    status = client.matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest())
    if status.committed_revision > revision:
        click.echo(
            f"the answer is of revision {revision}; revision {status.committed_revision} is "
            "committed but not searched yet: try again in a moment",
            err=True,
        )


def _print_outcome(part: str, outcome: str, reason: str) -> None:
    if outcome not in ("OK", "UNSPECIFIED"):
        click.echo(f"{part}: {outcome}: {reason}")


def _print_searched(searched: types_pb2.Searched) -> None:
    """Print what was searched, in one line."""
    parts = [
        f"{of.algorithm} in {output.counted(of.entries, 'entry', 'entries')} of "
        f"{output.counted(of.bank_count, 'bank', 'banks')}"
        for of in searched.algorithms
        if of.bank_count
    ]
    nowhere = [of.algorithm for of in searched.algorithms if not of.bank_count]
    if nowhere:
        parts.append(f"{', '.join(nowhere)} in no bank")
    if searched.safe_lists:
        more = searched.safe_list_count - len(searched.safe_lists)
        names = ", ".join(map(last_part, searched.safe_lists))
        parts.append(f"safe lists: {names}{f' and {more} more' if more else ''}")
    if parts:
        click.echo(f"searched {'; '.join(parts)}")


def _print_matches(
    outcome: str, matches: Sequence[types_pb2.Match], truncated: bool, revision: int
) -> None:
    if not matches:
        if outcome == "NOT_SEARCHED":
            click.echo(f"not searched, at bank revision {revision}: this does not mean no match")
            return
        limit = "" if outcome == "OK" else ", but not everything could be searched"
        click.echo(f"no match at bank revision {revision}{limit}")
        return
    count = output.counted(len(matches), "match", "matches")
    output.table(
        ("bank", "mode", "external id", "algorithm", "distance", "threshold", "variant", "labels"),
        (
            (
                last_part(match.bank),
                enum_name(match, "mode")
                + (" suppressed" if match.suppressed else "")
                + (" safe" if match.safe else ""),
                match.external_id or last_part(match.entry),
                match.algorithm,
                number(match.distance),
                number(match.threshold),
                variants_text(match),
                ", ".join(match.labels),
            )
            for match in matches
        ),
        title=f"{count}{' and more' if truncated else ''} at bank revision {revision}",
    )
