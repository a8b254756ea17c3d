"""`featsvc features`: check definitions, feed events, read features."""

import sys
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TextIO

import click
from featsvc_client.v1 import features_pb2, types_pb2

from featsvc.accounts.definitions import load_definitions
from featsvc.accounts.events import parse_event_line, parse_time
from featsvc.cli import output
from featsvc.cli.match import features_json, split_names
from featsvc.cli.remote import connect, json_option, server_option
from featsvc.errors import ConfigInvalid, InvalidInput

BATCH_EVENTS = 500
MAX_LINE_CHARS = 2**20


@click.group()
def features() -> None:
    """Check definitions, feed events, read account features."""


@features.command()
@click.argument("file", type=click.Path(path_type=Path))
@json_option
def validate(file: Path, as_json: bool) -> None:
    """Check the feature definitions in FILE; no server is asked.

    Says file, line, key and what is wrong with it, and exits 1. With --json: {"file", "valid"},
    and either {"features", "derived", "sets"}, how many there are, or {"line", "key", "message"}.
    """
    try:
        found = load_definitions(file)
    except ConfigInvalid as exc:
        if not as_json:
            raise
        wrong = exc.metadata
        output.json_line(
            {
                "file": str(file),
                "valid": False,
                "line": int(wrong["line"]),
                "key": wrong["key"],
                "message": wrong["problem"],
            }
        )
        sys.exit(1)
    counts = {
        "features": len(found.features),
        "derived": len(found.derived),
        "sets": len(found.sets),
    }
    if as_json:
        output.json_line({"file": str(file), "valid": True, **counts})
    else:
        shown = ", ".join(f"{count} {name}" for name, count in counts.items())
        click.echo(f"{file}: valid: {shown}")


@features.command()
@click.argument("file", type=click.File("r", encoding="utf-8"))
@click.option("--skip-bad", is_flag=True, help="Report bad lines and go on.")
@server_option
@json_option
def ingest(file: TextIO, skip_bad: bool, server: str, as_json: bool) -> None:
    """Ingest events from FILE, one JSON object a line ("-" for standard input).

    {"event_id": "e1", "type": "upload", "time": "2026-11-23T12:00:00Z" or epoch milliseconds,
    "entities": {"account": "a1", "ip": "192.0.2.1"}, "attributes": {"bytes": 12}}

    An event counts once however often it is sent, so an interrupted run can simply be repeated.
    """
    counts: dict[str, int] = {}
    with connect(server) as client, output.progress(count=True) as bar:
        task = bar.add_task("ingesting", total=None, rate="")
        lines = _events(file, skip_bad, counts)
        while batch := list(islice(lines, BATCH_EVENTS)):
            request = features_pb2.IngestEventsRequest(events=[event for _, event in batch])
            results = client.features.IngestEvents(request).results
            for (number, _), result in zip(batch, results, strict=True):
                name = output.enum_name(features_pb2.EventResult.Status, result.status, "STATUS_")
                counts[name] = counts.get(name, 0) + 1
                if result.reason:
                    click.echo(f"{file.name}:{number}: {name}: {result.reason}", err=True)
            bar.update(task, advance=len(batch))
    if as_json:
        output.json_line({name.lower(): count for name, count in sorted(counts.items())})
    else:
        shown = ", ".join(f"{count:,} {name.lower()}" for name, count in sorted(counts.items()))
        click.echo(shown or "no events")
    bad = sum(counts.get(name, 0) for name in ("BAD", "REJECTED", "INCOMPLETE"))
    if bad:
        raise click.ClickException(f"{bad} events were not applied; the lines are above")


@features.command()
@click.option(
    "--entity", "entities", metavar="KIND=ID", multiple=True, required=True, help="Repeatable."
)
@click.option("--features", "names", metavar="A,B,...", default="", help="Default: all.")
@click.option("--set", "feature_set", metavar="NAME", default="", help="A named set of features.")
@click.option("--as-of", metavar="TIME", help="RFC 3339 or epoch milliseconds; default: now.")
@server_option
@json_option
def get(
    entities: Sequence[str],
    names: str,
    feature_set: str,
    as_of: str | None,
    server: str,
    as_json: bool,
) -> None:
    """Read the features of one or more entities, such as account=a1."""
    refs = [_entity(text) for text in entities]
    request = features_pb2.GetFeaturesRequest(
        entities=refs,
        selection=features_pb2.FeatureSelection(features=split_names(names), set=feature_set),
    )
    if as_of is not None:
        request.as_of.FromMilliseconds(parse_time(as_of, field="--as-of"))
    with connect(server) as client:
        table = client.features.GetFeatures(request).features
    for row, ref in enumerate(refs):
        values = features_json(table, row)
        if as_json:
            output.json_line({"entity": {ref.entity: ref.id}, "features": values})
        else:
            output.table(
                ("feature", "value", "status"),
                ((name, f["value"], f["status"]) for name, f in values.items()),
                title=f"{ref.entity} {ref.id}",
            )


def _entity(text: str) -> types_pb2.EntityRef:
    kind, equals, identity = text.partition("=")
    if not equals:
        raise click.BadParameter(f"{text!r} is not KIND=ID", param_hint="--entity")
    return types_pb2.EntityRef(entity=kind, id=identity)


def _events(
    file: TextIO, skip_bad: bool, counts: dict[str, int]
) -> Iterator[tuple[int, features_pb2.Event]]:
    """Line number and event; a bad line is named, and ends the run unless it may be skipped."""
    number = 0
    while line := file.readline(MAX_LINE_CHARS):
        number += 1
        if not line.strip():
            continue
        try:
            yield number, _event(line)
        except InvalidInput as exc:
            if not skip_bad:
                raise click.ClickException(
                    f"{file.name}:{number}: {exc}; events before it were sent, run again once "
                    "it is mended, or pass --skip-bad"
                ) from exc
            click.echo(f"{file.name}:{number}: {exc}", err=True)
            counts["BAD"] = counts.get("BAD", 0) + 1


def _event(line: str) -> features_pb2.Event:
    """Raises InvalidInput."""
    parsed = parse_event_line(line)
    event = features_pb2.Event(event_id=parsed.event_id, type=parsed.type, entities=parsed.entities)
    event.time.FromMilliseconds(parsed.time_ms)
    for name, value in parsed.attributes.items():
        if isinstance(value, bool):
            event.attributes[name].flag = value
        elif isinstance(value, str):
            event.attributes[name].text = value
        else:
            event.attributes[name].number = value
    return event
