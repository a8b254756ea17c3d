"""`featsvc features`: check and list definitions, send events, read features."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import click
from featsvc_client import Client
from featsvc_client.v1 import features_pb2, types_pb2

from featsvc.cli import output
from featsvc.cli.inputs import split_names
from featsvc.cli.kernels import prepare_kernels
from featsvc.cli.listing import Listing, limit_option
from featsvc.cli.match import print_features
from featsvc.cli.messages import feature_row, message_json
from featsvc.cli.output import json_option
from featsvc.cli.remote import remote_command
from featsvc.cli.words import counted, echo
from featsvc.errors import ConfigInvalid


@click.group()
def features() -> None:
    """Check and list definitions, send events, read account features."""


@features.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def validate(file: Path, as_json: bool) -> None:
    """Check a file of feature definitions, without a server.

    Prints file, line, key and what is wrong, and exits with 1. With --json: {"file", "valid"}, and
    either the counts {"features", "derived", "sets"} or {"line", "key", "message"}.
    """
    # Imported late, like parse_time and parse_event_line: their package loads kernels.
    prepare_kernels("features")
    from featsvc.accounts.definitions import load_definitions  # noqa: PLC0415

    try:
        definitions = load_definitions(file)
    except ConfigInvalid as exc:
        if not as_json:
            raise
        problem = {
            "line": int(exc.metadata["line"]),
            "key": exc.metadata["key"],
            "message": exc.metadata["problem"],
        }
        output.json_line({"file": str(file), "valid": False, **problem})
        sys.exit(1)
    counts = {
        "features": len(definitions.features),
        "derived": len(definitions.derived),
        "sets": len(definitions.sets),
    }
    if as_json:
        output.json_line({"file": str(file), "valid": True, **counts})
    else:
        nouns = ("feature", "derived feature", "set")
        shown = ", ".join(map(counted, counts.values(), nouns))
        echo(f"{file}: valid: {shown}")


@features.command()
@click.argument("old", type=click.Path(path_type=Path))
@click.argument("new", type=click.Path(path_type=Path))
@json_option
def diff(old: Path, new: Path, as_json: bool) -> None:
    """Say what replacing OLD definitions by NEW ones does to stored values, without a server.

    Exits with 1 if a feature starts anew or is removed. With --json: {"old", "new", "loses_state",
    "features": [{"feature", "change", "was", "reasons", "warming"}]}, where warming is how long
    entities that exist already show the status WARMING: null, a window, or "lifetime".
    """
    prepare_kernels("features")
    from featsvc.accounts.comparing import compare_definitions  # noqa: PLC0415
    from featsvc.accounts.definitions import load_definitions  # noqa: PLC0415

    changes = compare_definitions(load_definitions(old), load_definitions(new))
    rows = [
        {
            "feature": change.name,
            "change": change.change.value,
            "was": change.was,
            "reasons": list(change.reasons),
            "warming": _window(change.warming_ms),
        }
        for change in changes
    ]
    lost = sum(change.loses_state for change in changes)
    if as_json:
        output.json_line(
            {"old": str(old), "new": str(new), "loses_state": lost > 0, "features": rows}
        )
    else:
        output.table(
            ("feature", "change", "because of", "values of", "warming"),
            (
                (
                    row["feature"],
                    str(row["change"]).replace("_", " "),
                    ", ".join(change.reasons),
                    row["was"],
                    row["warming"] or "",
                )
                for row, change in zip(rows, changes, strict=True)
                if change.change is not change.change.KEPT or change.reasons or row["warming"]
            ),
        )
        whole = sum(not c.loses_state and c.warming_ms is None for c in changes)
        echo(f"{counted(whole, 'feature')} complete at once; {lost:,} without their values")
    if lost:
        sys.exit(1)


@features.command()
@click.argument("file", type=click.File("rb"))
@click.option(
    "--skip-bad", is_flag=True, help="Report bad lines and rejected events, and continue."
)
@click.option(
    "--backfill",
    is_flag=True,
    help="FILE is history: count events beyond the horizon too, each line once.",
)
@remote_command
def ingest(client: Client, file: BinaryIO, skip_bad: bool, backfill: bool, as_json: bool) -> None:
    """Send events to the service.

    FILE has one JSON object per line; - reads standard input.

    {"event_id": "e1", "type": "upload", "time": "2026-11-23T12:00:00Z" or epoch milliseconds,
    "entities": {"account": "a1", "ip": "192.0.2.1"}, "attributes": {"bytes": 12}}

    An event counts once, however often it is sent: repeat a run that was interrupted. An event that
    is older than its account's newest one by more than the horizon (24 h by default) does not
    count, because the service no longer knows whether it did before.

    --backfill counts such events too, each line of FILE once: use it for events that were not sent
    in another way. It stops at the first batch that is not wholly applied and names the line; run
    it again, and it continues there. It knows FILE by its first line: leave that as it is, insert
    and delete no lines, and append what is new.

    Exits with 1 if a line is bad, or an event REJECTED, INCOMPLETE or BEYOND_HORIZON. DUPLICATE,
    TOO_LATE and IGNORED are no failures.
    """
    prepare_kernels("features")
    # Imported late: see `validate`.
    from featsvc.cli.ingesting import Ingestion  # noqa: PLC0415

    ingestion = Ingestion(client.features.IngestEvents, file, skip_bad=skip_bad, backfill=backfill)
    ingestion.run()
    counts = ingestion.counts
    if as_json:
        output.json_line({status.lower(): count for status, count in sorted(counts.items())})
    else:
        shown = ", ".join(f"{n:,} {status.lower()}" for status, n in sorted(counts.items()))
        echo(shown or "no events")
    if failure := ingestion.failure():
        raise failure


@features.command()
@click.option(
    "--entity",
    "entities",
    metavar="KIND=ID",
    multiple=True,
    required=True,
    help="An entity, such as account=a1. Repeatable.",
)
@click.option("--features", "names", metavar="A,B,...", default="", help="Only these features.")
@click.option("--set", "feature_set", metavar="NAME", default="", help="Only this set of features.")
@click.option("--as-of", metavar="TIME", help="RFC 3339 or epoch milliseconds. Default: now.")
@remote_command
def get(
    client: Client,
    entities: Sequence[str],
    names: str,
    feature_set: str,
    as_of: str | None,
    as_json: bool,
) -> None:
    """Read the features of entities."""
    refs = [_entity(text) for text in entities]
    request = features_pb2.GetFeaturesRequest(
        entities=refs,
        selection=features_pb2.FeatureSelection(features=split_names(names), set=feature_set),
    )
    if as_of is not None:
        prepare_kernels("features")
        from featsvc.accounts.events import parse_time  # noqa: PLC0415

        request.as_of.FromMilliseconds(parse_time(as_of, field="--as-of"))
    table = client.features.GetFeatures(request).features
    for row, ref in enumerate(refs):
        if as_json:
            values = feature_row(message_json(table), row)
            output.json_line({"entity": {ref.entity: ref.id}, **values})
        else:
            print_features(f"{ref.entity} {ref.id}", table, row)


@features.command("list")
@limit_option(0)
@remote_command
def list_(client: Client, limit: int, as_json: bool) -> None:
    """List the features that a server computes."""
    listing: Listing[features_pb2.FeatureDefinition] = Listing.paged(
        client.features.ListFeatures, features_pb2.ListFeaturesRequest(), "features", limit
    )
    if as_json:
        listing.print_json(message_json)
        return
    now_s = time.time()
    output.table(
        ("feature", "of", "computed as", "within", "complete since", "sets", "description"),
        (
            (
                feature.name,
                feature.entity,
                feature.expression or f"{feature.aggregation} of {feature.event_type}",
                _short(feature.window.ToSeconds()) if feature.HasField("window") else "",
                complete_since(feature, now_s),
                ", ".join(feature.sets),
                feature.description,
            )
            for feature in listing
        ),
    )
    listing.print_cut()


def complete_since(feature: features_pb2.FeatureDefinition, now_s: float) -> str:
    """Return the time while values may still be WARMING, else nothing."""
    since = feature.complete_since
    warm = feature.HasField("window") and since.seconds + feature.window.seconds < now_s
    return since.ToJsonString() if since.seconds and not warm else ""


def _short(seconds: int) -> str:
    """Return `5m`, `24h` or `7d`, as the definitions have it."""
    for unit, size in (("d", 86_400), ("h", 3600), ("m", 60)):
        # A day is written 24h there.
        if seconds % size == 0 and seconds >= (2 if unit == "d" else 1) * size:
            return f"{seconds // size}{unit}"
    return f"{seconds}s"


def _window(window_ms: int | None) -> str | None:
    """Return the window of a feature that is WARMING, `lifetime` for 0."""
    if window_ms is None:
        return None
    return _short(window_ms // 1000) if window_ms else "lifetime"


def _entity(text: str) -> types_pb2.EntityRef:
    """Parse KIND=ID. Raises BadParameter."""
    kind, equals, identity = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not KIND=ID", param_hint="--entity")
    return types_pb2.EntityRef(entity=kind, id=identity)
