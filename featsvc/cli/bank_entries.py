"""`featsvc bank entries, find, add, withdraw, quarantine`: single entries."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2, types_pb2

from featsvc.cli import output
from featsvc.cli.curating import (
    PAGE,
    all_banks,
    ask,
    bank_argument,
    bank_name,
    change_context,
    entry_json,
    last_part,
    reason_option,
    show_entries,
    yes_option,
)
from featsvc.cli.files import read_content
from featsvc.cli.remote import connect, json_option, server_option
from featsvc.cli.texts import STDIN, read_text, text_options
from featsvc.errors import InvalidInput

MAX_CONTENT_BYTES = 32 * 2**20
_ADD_BATCH = 1000
_BITS = 31
_VECTOR_DISTANCE = 0.05
_limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many."
)
_labels_option = click.option(
    "--label", "labels", multiple=True, help="Only entries with this label. Repeatable."
)


def pages(
    client: Client, request: banks_pb2.ListEntriesRequest, limit: int
) -> tuple[list[banks_pb2.Entry], list[float], int]:
    """At most `limit` entries, how near each is where the request says near, and how many there
    are."""
    found: list[banks_pb2.Entry] = []
    distances: list[float] = []
    total = 0
    while len(found) < limit:
        request.page_size = min(PAGE, limit - len(found))
        page = client.banks.ListEntries(request)
        found += page.entries
        distances += page.distances
        total = page.total_entries
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    return found, distances, total


@click.command()
@bank_argument
@_labels_option
@click.option("--source", default="", help="Only entries from this source.")
@click.option("--external-id", default="", help="Only the entry with this external id.")
@click.option("--revision", type=click.IntRange(min=0), default=0, help="As it was then.")
@click.option("--withdrawn", is_flag=True, help="Entries that were withdrawn, too.")
@_limit_option
@server_option
@json_option
def entries(
    bank_id: str,
    labels: tuple[str, ...],
    source: str,
    external_id: str,
    revision: int,
    withdrawn: bool,
    limit: int,
    server: str,
    as_json: bool,
) -> None:
    """List the entries of a bank."""
    request = banks_pb2.ListEntriesRequest(
        parent=bank_name(bank_id),
        labels=labels,
        source=source,
        external_id=external_id,
        revision=revision,
        show_withdrawn=withdrawn,
    )
    with connect(server) as client:
        found, _, total = pages(client, request, limit)
    if as_json:
        for message in found:
            output.json_line(entry_json(message))
        return
    show_entries(found)
    click.echo(f"{len(found):,} of {total:,} entries")


@click.command()
@click.option("--bank", "-b", "bank_ids", multiple=True, metavar="BANK",
              help="Where to look; default: in every bank. Repeatable.")  # fmt: skip
@click.option("--signal", metavar="ALGORITHM:HEX", default="", help="Near to this signal.")
@click.option("--distance", type=click.FloatRange(min=0),
              help="How near: bits (default 31), or 1 - cosine (default 0.05).")  # fmt: skip
@click.option("--external-id", default="", help="With this external id.")
@_labels_option
@_limit_option
@server_option
@json_option
def find(
    bank_ids: tuple[str, ...],
    signal: str,
    distance: float | None,
    external_id: str,
    labels: tuple[str, ...],
    limit: int,
    server: str,
    as_json: bool,
) -> None:
    """Find entries by signal, external id or label, in every bank and whatever its mode."""
    if not (signal or external_id or labels):
        raise click.UsageError("say what to find: --signal, --external-id or --label")
    near = _signal(signal) if signal else None
    if distance is None:
        distance = _VECTOR_DISTANCE if near and "@" in near.algorithm else _BITS
    found: list[tuple[float | None, banks_pb2.Entry]] = []
    with connect(server) as client:
        for bank_id in bank_ids or [last_part(b.name) for b in all_banks(client)]:
            request = banks_pb2.ListEntriesRequest(
                parent=bank_name(bank_id), external_id=external_id, labels=labels, near=near,
                max_distance=distance,
            )  # fmt: skip
            entries, distances, _ = pages(client, request, limit)
            for i, entry in enumerate(entries):
                found.append((_distance(near, distances[i]) if near else None, entry))
    found.sort(key=lambda pair: pair[0] or 0)
    found = found[:limit]
    if as_json:
        for apart, entry in found:
            output.json_line({**entry_json(entry), "distance": apart})
        return
    if near:
        places = [f"{e.name.split('/')[1]}, {apart}" for apart, e in found]
        show_entries([e for _, e in found], "bank, distance", places)
    else:
        show_entries([e for _, e in found], "bank", [e.name.split("/")[1] for _, e in found])
    click.echo(f"{len(found):,} found")


def _signal(text: str) -> types_pb2.Signal:
    algorithm, colon, value = text.strip().partition(":")
    if not colon:
        raise click.BadParameter(f"{text!r} is not ALGORITHM:HEX", param_hint="--signal")
    return types_pb2.Signal(algorithm=algorithm.lower(), value=value.strip().lower())


def _distance(near: types_pb2.Signal, distance: float) -> float:
    """As the command shows it: bits are whole."""
    return distance if "@" in near.algorithm else int(distance)


@click.command()
@bank_argument
@click.argument("things", nargs=-1, metavar="ALGORITHM:HEX|FILE...")
@text_options(multiple=True)
@click.option("--external-id", default="", help="Of the entry; default for a file: its name.")
@click.option("--label", "labels", multiple=True, help="A label. Repeatable.")
@click.option("--source", default="", help="Where it comes from.")
@click.option("--opinion", type=click.Choice(["positive", "negative", "disputed"]),
              help="What the source thinks of it.")  # fmt: skip
@click.option("--note", default="", help="A note for other curators.")
@click.option("--variants/--no-variants", default=True, show_default=True,
              help="Store crops of a picture with it, to find copies that are cut.")  # fmt: skip
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="When it stops matching.")
@click.option("--vector", "models", multiple=True, metavar="MODEL@VERSION",
              help="Store this model's vector of each file too. Repeatable.")  # fmt: skip
@reason_option
@server_option
@json_option
def add(
    bank_id: str,
    things: tuple[str, ...],
    text: tuple[str, ...],
    text_file: tuple[str, ...],
    external_id: str,
    labels: tuple[str, ...],
    source: str,
    opinion: str | None,
    note: str,
    variants: bool,
    expires: datetime | None,
    models: tuple[str, ...],
    reason: str,
    server: str,
    as_json: bool,
) -> None:
    """Add signals, picture files or texts to BANK, each an entry.

    A file or text is sent to the service, hashed and forgotten; only its hashes are kept: its own,
    those of a fan of a picture's crops, and its vectors.
    """
    count = len(things) + len(text) + len(text_file)
    if not count:
        raise click.UsageError("say what to add: signals, files, --text or --text-file")
    if external_id and count > 1:
        raise click.UsageError("--external-id names one entry; give one signal, file or text")
    template = banks_pb2.Entry(
        external_id=external_id, labels=labels, source=source, note=note,
        opinion=f"OPINION_{opinion.upper()}" if opinion else None,
    )  # fmt: skip
    if expires:
        template.expire_time.FromDatetime(expires)
    added: list[banks_pb2.Entry] = []
    with connect(server) as client:
        for request in _add_requests(bank_id, _additions(things, text, text_file), template):
            request.entry_variants = variants
            request.context.CopyFrom(change_context(reason))
            request.vector_models.extend(models)
            added += client.banks.AddEntries(request).entries
    if as_json:
        for entry in added:
            output.json_line(entry_json(entry))
        return
    show_entries(added)
    click.echo(f"{output.counted(len(added), 'entry', 'entries')} in {bank_id}")
    for entry in added:
        if {s.algorithm for s in entry.signals} == {"text_sha256"}:
            name = entry.external_id or last_part(entry.name)
            click.echo(f"{name}: too short to be found in another text, or edited", err=True)


@dataclass(frozen=True, slots=True)
class _Addition:
    """What becomes an entry: content that the service hashes, or (`content` None) a signal."""

    content: types_pb2.Content | None
    size: int = 0
    external_id: str = ""
    signal: str = ""


def _additions(
    things: tuple[str, ...], texts: tuple[str, ...], text_files: tuple[str, ...]
) -> Iterator[_Addition]:
    """Read one after another."""
    for thing in things:
        content = _content(thing)
        if content:
            yield _Addition(types_pb2.Content(data=content), len(content), Path(thing).name)
        else:
            yield _Addition(None, signal=thing)
    for text in texts:
        yield _Addition(types_pb2.Content(text=text), len(text.encode()))
    for path in text_files:
        text = read_text(path)
        name = "" if path == STDIN else Path(path).name
        yield _Addition(types_pb2.Content(text=text), len(text.encode()), name)


def _add_requests(
    bank_id: str, additions: Iterable[_Addition], template: banks_pb2.Entry
) -> Iterator[banks_pb2.AddEntriesRequest]:
    """As few requests as the size of a message allows: each is one revision."""
    request = banks_pb2.AddEntriesRequest(parent=bank_name(bank_id))
    size = 0
    for one in additions:
        if size + one.size > MAX_CONTENT_BYTES or len(request.entries) == _ADD_BATCH:
            yield request
            request = banks_pb2.AddEntriesRequest(parent=bank_name(bank_id))
            size = 0
        size += one.size
        entry = request.entries.add()
        entry.CopyFrom(template)
        entry.external_id = template.external_id or one.external_id
        sent = request.contents.add()
        if one.content is not None:
            sent.CopyFrom(one.content)
        else:
            algorithm, _, value = one.signal.partition(":")
            entry.signals.add(algorithm=algorithm.lower(), value=value)
    yield request


def _content(thing: str) -> bytes:
    """The bytes of a file; none for a signal."""
    # Unlike Path.is_file, it takes a name that is too long for a file as none: a vector's hex.
    if not os.path.isfile(thing):
        if ":" not in thing:
            raise click.ClickException(f"{thing}: neither a file nor ALGORITHM:HEX")
        return b""
    try:
        content = read_content(Path(thing), MAX_CONTENT_BYTES)
    except InvalidInput as exc:
        raise click.ClickException(f"{thing}: {exc}") from exc
    if not content:
        raise click.ClickException(f"{thing}: the file is empty")
    return content


@click.command()
@bank_argument
@click.option("--entry", "entry_ids", multiple=True, metavar="ID", help="Its number. Repeatable.")
@click.option("--external-id", "external_ids", multiple=True, metavar="ID",
              help="Its external id. Repeatable.")  # fmt: skip
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@yes_option
@reason_option
@server_option
@json_option
def withdraw(
    bank_id: str,
    entry_ids: tuple[str, ...],
    external_ids: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    reason: str,
    server: str,
    as_json: bool,
) -> None:
    """Withdraw entries from BANK: they match no more, their history stays."""
    if not (entry_ids or external_ids):
        raise click.UsageError("say which: --entry or --external-id")
    request = banks_pb2.WithdrawEntriesRequest(
        parent=bank_name(bank_id),
        names=[f"{bank_name(bank_id)}/entries/{number}" for number in entry_ids],
        external_ids=external_ids,
        dry_run=True,
        context=change_context(reason),
    )
    with connect(server) as client:
        done = client.banks.WithdrawEntries(request)
        if not dry_run:
            ask(
                f"This withdraws {done.withdrawn_entries:,} entries "
                f"({done.withdrawn_signals:,} signals) of {bank_id}.",
                yes,
            )
            request.dry_run = False
            done = client.banks.WithdrawEntries(request)
    if as_json:
        output.json_line(
            {
                "bank": bank_id,
                "withdrawn_entries": done.withdrawn_entries,
                "withdrawn_signals": done.withdrawn_signals,
                "revision": done.revision,
                "dry_run": dry_run,
            }
        )
        return
    verb = "would be withdrawn" if dry_run else f"withdrawn, revision {done.revision}"
    click.echo(f"{done.withdrawn_entries:,} entries {verb}")


@click.command()
@bank_argument
@click.argument("entry_ids", nargs=-1, required=True, metavar="ENTRY...")
@click.option("--release", is_flag=True, help="Let them match again.")
@reason_option
@server_option
@json_option
def quarantine(
    bank_id: str,
    entry_ids: tuple[str, ...],
    release: bool,
    reason: str,
    server: str,
    as_json: bool,
) -> None:
    """Keep entries (by number) from matching without withdrawing them."""
    parent, context = bank_name(bank_id), change_context(reason)
    names = [f"{parent}/entries/{number}" for number in entry_ids]
    with connect(server) as client:
        done: banks_pb2.QuarantineEntriesResponse | banks_pb2.ReleaseEntriesResponse
        if release:
            done = client.banks.ReleaseEntries(
                banks_pb2.ReleaseEntriesRequest(parent=parent, names=names, context=context)
            )
        else:
            done = client.banks.QuarantineEntries(
                banks_pb2.QuarantineEntriesRequest(parent=parent, names=names, context=context)
            )
    if as_json:
        output.json_line(
            {"bank": bank_id, "changed_entries": done.changed_entries, "revision": done.revision}
        )
        return
    verb = "released" if release else "quarantined"
    click.echo(f"{done.changed_entries:,} entries {verb}")
