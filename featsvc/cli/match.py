"""`featsvc match` and `featsvc screen`: ask a server what it knows about a file."""

from collections.abc import Iterable, Sequence
from pathlib import Path

import click
from featsvc_client import Client
from featsvc_client.v1 import features_pb2, hashing_pb2, matching_pb2, screening_pb2, types_pb2

from featsvc.cli import output
from featsvc.cli.curating import last_part
from featsvc.cli.files import read_content
from featsvc.cli.remote import connect, json_option, server_option
from featsvc.cli.texts import text_content, text_options
from featsvc.errors import FeatsvcError

# The server's own limit is what counts; this only keeps a wrong file from filling memory.
MAX_FILE_BYTES = 2**28

_variants_option = click.option(
    "--variants",
    type=click.Choice(["none", "default", "all"]),
    default="default",
    show_default=True,
    help="Turns and parts of the picture to try: none, those each bank names, all.",
)


@click.command(short_help="Match a file, a text or a signal against the banks.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@click.option("--signal", "signal_text", metavar="ALGORITHM:HEX", help="A signal, not a file.")
@text_options()
@click.option("--bank", "-b", "banks", multiple=True, help="Only this bank. Repeatable.")
@click.option(
    "--max-distance",
    type=click.FloatRange(min=0),
    metavar="N",
    help="Distance instead of the banks' own thresholds, for perceptual hashes.",
)
@click.option("--max-results", type=int, default=0, metavar="N", help="Default: the server's, 100.")
@_variants_option
@server_option
@json_option
def match(
    file: Path | None,
    signal_text: str | None,
    text: str | None,
    text_file: str | None,
    banks: tuple[str, ...],
    max_distance: float | None,
    max_results: int,
    variants: str,
    server: str,
    as_json: bool,
) -> None:
    """Match FILE, or what --text, --text-file or --signal give, against the banks of a server."""
    content = _content(file, text, text_file, signal_text)
    with connect(server) as client:
        options = types_pb2.MatchOptions(
            banks=banks,
            max_results=max_results,
            variants=f"VARIANTS_{variants.upper()}",
            thresholds=_overrides(client, max_distance),
        )
        request = matching_pb2.MatchRequest(options=options)
        if content is not None:
            request.content.CopyFrom(content)
        else:
            algorithm, _, value = (signal_text or "").partition(":")
            request.signal.CopyFrom(types_pb2.Signal(algorithm=algorithm, value=value))
        response = client.matching.Match(request)
        _say_if_behind(client, response.watermark.revision)
    outcome = _outcome(response.outcome)
    if as_json:
        output.json_line(
            {
                "file": str(file) if file else None,
                "outcome": outcome,
                "outcome_reason": response.outcome_reason,
                "matches": [match_json(m) for m in response.matches],
                "truncated": response.truncated,
                "revision": response.watermark.revision,
                "signals": [_signal_json(s) for s in response.signals],
            }
        )
        return
    _say_outcome(outcome, response.outcome_reason)
    _print_matches(outcome, response.matches, response.truncated, response.watermark.revision)


@click.command(short_help="Screen a file or a text for an account.")
@click.argument("file", required=False, type=click.Path(path_type=Path))
@text_options()
@click.option("--account", metavar="ID", required=True, help="The account that uploads.")
@click.option(
    "--features", "names", metavar="A,B,...", default="", help="Default: all of the account's."
)
@click.option("--set", "feature_set", metavar="NAME", default="", help="A named set of features.")
@click.option("--bank", "-b", "banks", multiple=True, help="Only this bank. Repeatable.")
@_variants_option
@server_option
@json_option
def screen(
    file: Path | None,
    text: str | None,
    text_file: str | None,
    account: str,
    names: str,
    feature_set: str,
    banks: tuple[str, ...],
    variants: str,
    server: str,
    as_json: bool,
) -> None:
    """Screen FILE, or a text, for an account: signals, matches, the account's features, timings."""
    selection = features_pb2.FeatureSelection(features=split_names(names), set=feature_set)
    request = screening_pb2.ScreenRequest(
        content=_content(file, text, text_file),
        entities=[types_pb2.EntityRef(entity="account", id=account)],
        selection=selection,
        options=types_pb2.MatchOptions(banks=banks, variants=f"VARIANTS_{variants.upper()}"),
    )
    with connect(server) as client:
        response = client.screening.Screen(request)
        _say_if_behind(client, response.watermark.revision)
    outcome = _outcome(response.content_outcome)
    features_outcome = _outcome(response.features_outcome)
    features = features_json(response.features, 0)
    timings = {
        field.name: getattr(response.timings, field.name)
        for field in response.timings.DESCRIPTOR.fields
    }
    if as_json:
        output.json_line(
            {
                "file": str(file) if file else None,
                "account": account,
                "outcome": outcome,
                "outcome_reason": response.content_outcome_reason,
                "media_type": response.media.media_type or None,
                "width": response.media.width or None,
                "height": response.media.height or None,
                "signals": [_signal_json(s) for s in response.signals],
                "matches": [match_json(m) for m in response.matches],
                "truncated": response.matches_truncated,
                "revision": response.watermark.revision,
                "features_outcome": features_outcome,
                "features": features,
                "timings": timings,
            }
        )
        return
    _say_outcome(outcome, response.content_outcome_reason)
    _print_matches(
        outcome, response.matches, response.matches_truncated, response.watermark.revision
    )
    _say_outcome(features_outcome, response.features_outcome_reason, part="features")
    output.table(
        ("feature", "value", "status"),
        ((name, f["value"], f["status"]) for name, f in features.items()),
        title=f"account {account}",
    )
    click.echo("  ".join(f"{name.removesuffix('_us')} {us} us" for name, us in timings.items()))


def split_names(text: str) -> list[str]:
    """`a,b` to names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def number(value: float) -> int | float:
    """An integer where it is one: a distance of 3 bits reads 3."""
    return int(value) if value.is_integer() else value


def match_json(match: types_pb2.Match) -> dict[str, object]:
    """A match as the command promises it."""
    return {
        "bank": last_part(match.bank),
        "entry_id": last_part(match.entry),
        "external_id": match.external_id,
        "algorithm": match.algorithm,
        "distance": number(match.distance),
        "threshold": number(match.threshold),
        "mode": output.enum_name(types_pb2.BankMode, match.mode, "BANK_MODE_"),
        "labels": list(match.labels),
        "source": match.source,
        "entry_signal": match.entry_signal,
        "query_signal": match.query_signal,
        "query_variant": match.query_variant,
        "entry_variant": match.entry_variant,
        "safe": match.safe,
        "suppressed": match.suppressed,
        "evidence": [
            {
                "algorithm": e.algorithm,
                "distance": number(e.distance),
                "threshold": number(e.threshold),
                "entry_signal": e.entry_signal,
                "query_variant": e.query_variant,
                "entry_variant": e.entry_variant,
            }
            for e in match.evidence
        ],
    }


def features_json(table: features_pb2.FeatureTable, row: int) -> dict[str, dict[str, object]]:
    """One entity's features: name -> value (null where there is none) and status."""
    features: dict[str, dict[str, object]] = {}
    for column in table.columns:
        value = column.values[row]
        features[column.name] = {
            "value": None if value != value else number(value),  # noqa: PLR0124 (NaN)
            "status": output.enum_name(
                features_pb2.FeatureStatus, column.statuses[row], "FEATURE_STATUS_"
            ),
        }
    return features


def _signal_json(signal: types_pb2.Signal) -> dict[str, object]:
    quality = signal.quality if signal.HasField("quality") else None
    return {"algorithm": signal.algorithm, "signal": signal.value, "quality": quality}


def _outcome(value: int) -> str:
    return output.enum_name(types_pb2.Outcome, value, "OUTCOME_")


def _content(
    file: Path | None, text: str | None, text_file: str | None, *others: str | None
) -> types_pb2.Content | None:
    """What is given of these, which must be one; None where it is one of the `others`."""
    ways = (file, text, text_file, *others)
    if sum(way is not None for way in ways) != 1:
        signal = " or --signal ALGORITHM:HEX" if others else ""
        raise click.UsageError(f"give a FILE, --text, --text-file{signal}, one of them")
    if file is not None:
        return types_pb2.Content(data=_read(file))
    return text_content(text, text_file)


def _read(file: Path) -> bytes:
    try:
        return read_content(file, MAX_FILE_BYTES)
    except FeatsvcError as exc:
        raise click.ClickException(f"{file}: {exc}") from exc


def _overrides(client: Client, max_distance: float | None) -> Iterable[types_pb2.ThresholdOverride]:
    if max_distance is None:
        return ()
    listed = client.hashing.ListAlgorithms(hashing_pb2.ListAlgorithmsRequest())
    return [
        types_pb2.ThresholdOverride(algorithm=a.name, threshold=max_distance)
        for a in listed.algorithms
        if a.matched and a.distance == hashing_pb2.Algorithm.DISTANCE_HAMMING
    ]


def variants_text(match: types_pb2.Match) -> str:
    """Which variants met; empty where both are the originals."""
    query = match.query_variant if match.query_variant != "original" else ""
    entry = f"entry {match.entry_variant}" if match.entry_variant != "original" else ""
    return ", ".join(filter(None, (query, entry)))


def _say_outcome(outcome: str, reason: str, part: str = "content") -> None:
    if outcome not in ("OK", "UNSPECIFIED"):
        click.echo(f"{part}: {outcome}: {reason}")


def _say_if_behind(client: Client, revision: int) -> None:
    """On stderr, where a change is committed that the answer does not know of."""
    status = client.matching.GetIndexStatus(matching_pb2.GetIndexStatusRequest())
    if status.committed_revision > revision:
        click.echo(
            f"answered from bank revision {revision}; revision {status.committed_revision} is "
            "committed and not searched yet: try again in a moment",
            err=True,
        )


def _print_matches(
    outcome: str, matches: Sequence[types_pb2.Match], truncated: bool, revision: int
) -> None:
    if not matches:
        looked = "no match" if outcome == "OK" else "no match by what could be looked at"
        click.echo(f"{looked}, at bank revision {revision}")
        return
    output.table(
        ("bank", "mode", "external id", "algorithm", "distance", "threshold", "variant", "labels"),
        (
            (
                last_part(m.bank),
                output.enum_name(types_pb2.BankMode, m.mode, "BANK_MODE_")
                + (" suppressed" if m.suppressed else "")
                + (" safe" if m.safe else ""),
                m.external_id or last_part(m.entry),
                m.algorithm,
                number(m.distance),
                number(m.threshold),
                variants_text(m),
                ", ".join(m.labels),
            )
            for m in matches
        ),
        title=(
            f"{output.counted(len(matches), 'match', 'matches')}"
            f"{' and more' if truncated else ''} at bank revision {revision}"
        ),
    )
