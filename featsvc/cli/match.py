"""`featsvc match` and `featsvc screen`: what a server knows about a file, a text or a signal."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from featsvc_client import Client
from featsvc_client.v1 import features_pb2, hashing_pb2, matching_pb2, screening_pb2, types_pb2

from featsvc.cli import output
from featsvc.cli.inputs import (
    parse_signal,
    printable,
    read_file,
    read_text,
    split_names,
    text_options,
)
from featsvc.cli.messages import enum_name, feature_row, last_part, message_json, number
from featsvc.cli.output import Command
from featsvc.cli.remote import describe_algorithm, remote_command
from featsvc.cli.words import counted, echo

# The server has the real limit; this one keeps a wrong file from filling memory.
_MAX_FILE_BYTES = 2**28

_file_argument = click.argument("file", required=False, type=click.Path(path_type=Path))
_banks_option = click.option(
    "--bank", "-b", "banks", multiple=True, metavar="BANK", help="Only this bank. Repeatable."
)
_MAX_RESULTS = 1000
"""The most matches that a server returns."""


def _search_options(command: Command) -> Command:
    """Add the options of both commands, which `_options` reads."""
    for option in (
        click.option(
            "--variants",
            type=click.Choice(["none", "default", "all"]),
            default="default",
            show_default=True,
            help="Turns and parts of the picture to match: none, those that each bank names, or "
            "all.",
        ),
        click.option(
            "--ignore-safe-lists", is_flag=True, help="Let safe lists suppress no matches."
        ),
        click.option(
            "--max-results",
            type=click.IntRange(1, _MAX_RESULTS),
            default=100,
            show_default=True,
            metavar="N",
            help=f"Print at most N matches, the nearest; at most {_MAX_RESULTS:,}.",
        ),
    ):
        command = option(command)
    return command


def _options(
    banks: Sequence[str], variants: str, max_results: int, ignore_safe_lists: bool
) -> types_pb2.MatchOptions:
    return types_pb2.MatchOptions(
        banks=banks,
        max_results=max_results,
        variants=f"VARIANTS_{variants.upper()}",
        ignore_safe_lists=ignore_safe_lists,
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
    help="Largest distance that matches, instead of the banks' thresholds: of --signal in its own "
    "unit, of a file's hashes in bits.",
)
@_search_options
@remote_command
def match(
    client: Client,
    file: Path | None,
    signal: str | None,
    text: str | None,
    text_file: str | None,
    banks: tuple[str, ...],
    max_distance: float | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Match a file, a text or a signal against banks.

    Exits with 0 whether something matched or not; the output says how to read it. A picture that
    does not decode is matched by its byte hashes only, and the exit code is 1.
    """
    _check_one({"FILE": file, "--text": text, "--text-file": text_file, "--signal": signal})
    request = matching_pb2.MatchRequest(
        content=_content(file, text, text_file) if signal is None else None,
        signal=parse_signal(signal, "--signal") if signal is not None else None,
        options=_options(banks, **options),
    )
    described: _Described = {}
    if max_distance is not None:
        if file is None and signal is None:
            raise click.UsageError("--max-distance is for a file or a signal: a text has no bits")
        described = _describe(client, request)
        for name in _loosened(request, described):
            request.options.thresholds.add(algorithm=name, threshold=max_distance)
    response = client.matching.Match(request)
    _warn_if_behind(client, response.watermark.revision)
    if max_distance is not None:
        _warn_of_other_thresholds(request, response, described)
    if as_json:
        more = _next(response.truncated, request.options)
        values = {**message_json(response), **more}
        output.json_line({"file": printable(file) if file else None, **values})
    else:
        outcome = enum_name(response, "outcome")
        _print_outcome("content", outcome, response.outcome_reason)
        _print_matches(outcome, response.matches, response.watermark.revision)
        _print_cut(response.truncated, request.options)
        _print_searched(response.searched)
    _fail_if_broken(file, response.outcome)


_Described = dict[str, hashing_pb2.Algorithm]
"""Algorithms by name, as the server describes them."""


def _describe(client: Client, request: matching_pb2.MatchRequest) -> _Described:
    """Return what a request may search: its signal's algorithm, or those of files and of banks."""
    if request.HasField("signal"):
        described = describe_algorithm(client, request.signal.algorithm)
        return {described.name: described}
    default = hashing_pb2.ListAlgorithmsRequest()
    known = {each.name: each for each in client.hashing.ListAlgorithms(default).algorithms}
    # A file is also hashed by what the banks hold, such as another size of a hash.
    status = client.matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest())
    if others := [i.algorithm for i in status.algorithms if i.algorithm not in known]:
        held = hashing_pb2.ListAlgorithmsRequest(algorithms=others)
        known |= {each.name: each for each in client.hashing.ListAlgorithms(held).algorithms}
    return known


def _loosened(request: matching_pb2.MatchRequest, described: _Described) -> list[str]:
    """Return the algorithms whose threshold --max-distance replaces."""
    if request.HasField("signal"):
        return list(described)
    in_bits = hashing_pb2.Algorithm.DISTANCE_HAMMING
    known = described.values()
    return sorted(each.name for each in known if each.matched and each.distance == in_bits)


def _warn_of_other_thresholds(
    request: matching_pb2.MatchRequest, response: matching_pb2.MatchResponse, described: _Described
) -> None:
    """Name the searched algorithms that --max-distance did not reach, except those of equality."""
    loosened = {threshold.algorithm for threshold in request.options.thresholds}
    equality = hashing_pb2.Algorithm.DISTANCE_EQUALITY
    others = [
        each.algorithm
        for each in response.searched.algorithms
        if each.bank_count
        and each.algorithm not in loosened
        # One that a bank holds only since the request is not known.
        and (each.algorithm not in described or described[each.algorithm].distance != equality)
    ]
    if others:
        echo(
            f"--max-distance counts bits: {', '.join(others)} matched by the banks' thresholds",
            err=True,
        )


@click.command()
@_file_argument
@text_options()
@click.option("--account", metavar="ID", required=True, help="The account that uploads.")
@click.option("--features", "names", metavar="A,B,...", default="", help="Only these features.")
@click.option("--set", "feature_set", metavar="NAME", default="", help="Only this set of features.")
@_banks_option
@_search_options
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
    as_json: bool,
    **options: Any,
) -> None:
    """Screen a file or a text for an account.

    Prints matches, the features of the account, and timings. A picture that does not decode is
    matched by its byte hashes only, and the exit code is 1.
    """
    _check_one({"FILE": file, "--text": text, "--text-file": text_file})
    request = screening_pb2.ScreenRequest(
        content=_content(file, text, text_file),
        entities=[types_pb2.EntityRef(entity="account", id=account)],
        selection=features_pb2.FeatureSelection(features=split_names(names), set=feature_set),
        options=_options(banks, **options),
    )
    response = client.screening.Screen(request)
    revision = response.watermark.revision
    _warn_if_behind(client, revision)
    values = message_json(response)
    if as_json:
        values |= _next(response.matches_truncated, request.options)
        output.json_line({"file": printable(file) if file else None, "account": account, **values})
    else:
        _print_outcome("content", values["outcome"], response.content_outcome_reason)
        _print_matches(values["outcome"], response.matches, revision)
        _print_cut(response.matches_truncated, request.options)
        _print_searched(response.searched)
        _print_outcome("features", values["features_outcome"], response.features_outcome_reason)
        print_features(f"account {account}", response.features, 0)
        timings = message_json(response.timings)
        echo("  ".join(f"{name.removesuffix('_us')} {us} us" for name, us in timings.items()))
    _fail_if_broken(file, response.content_outcome)


_EXPLAINED = {
    "NOT_RETAINED": "what was true then is no longer known",
    "WARMING": "counts only what happened since the feature was defined",
    "DAMAGED": "something else has written to this entity's state: erase it with DeleteEntity",
}
"""Statuses that a reader of a table meets seldom, and what they mean."""


def print_features(title: str, table: features_pb2.FeatureTable, row: int) -> None:
    """Print the features of the entity in one row, and what its rare statuses mean."""
    features = feature_row(message_json(table), row)["features"]
    output.table(
        ("feature", "value", "status"),
        ((name, feature["value"], feature["status"]) for name, feature in features.items()),
        title=title,
    )
    statuses = {feature["status"] for feature in features.values()}
    for status, meaning in _EXPLAINED.items():
        if status in statuses:
            echo(f"{status}: {meaning}")


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
        echo(
            f"the answer is of revision {revision}; revision {status.committed_revision} is "
            "committed but not searched yet: try again in a moment",
            err=True,
        )


def _print_outcome(part: str, outcome: str, reason: str) -> None:
    if outcome not in ("OK", "UNSPECIFIED"):
        echo(f"{part}: {outcome}: {reason}")


def _fail_if_broken(file: Path | None, outcome: int) -> None:
    """Exit with 1 where the picture did not decode: scripts hold what fails."""
    if outcome in (types_pb2.OUTCOME_CORRUPT_MEDIA, types_pb2.OUTCOME_TOO_LARGE_MEDIA):
        raise click.ClickException(f"{file}: does not decode; only its byte hashes were matched")


def _print_searched(searched: types_pb2.Searched) -> None:
    """Print what was searched, in one line."""
    parts = [
        f"{of.algorithm} in {counted(of.entries, 'entry')} of {counted(of.bank_count, 'bank')}"
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
        echo(f"searched {'; '.join(parts)}")


def _next(truncated: bool, options: types_pb2.MatchOptions) -> dict[str, str | None]:
    """Return how to get the matches that were left out; null if there are none or no way."""
    more = truncated and options.max_results < _MAX_RESULTS
    return {"next": f"--max-results {_MAX_RESULTS}" if more else None}


def _print_cut(truncated: bool, options: types_pb2.MatchOptions) -> None:
    if truncated:
        way = _next(truncated, options)["next"] or "--bank to search one bank at a time"
        echo(f"more matches were left out; use {way}")


def _print_matches(outcome: str, matches: Sequence[types_pb2.Match], revision: int) -> None:
    if not matches:
        if outcome == "NOT_SEARCHED":
            echo(f"not searched, at bank revision {revision}: this does not mean no match")
            return
        limit = "" if outcome == "OK" else ", but not everything could be searched"
        echo(f"no match at bank revision {revision}{limit}")
        return
    count = counted(len(matches), "match")
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
        title=f"{count} at bank revision {revision}",
    )
