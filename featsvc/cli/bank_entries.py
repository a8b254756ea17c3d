"""`featsvc bank entries, find, add, withdraw, quarantine`: single entries."""

import os
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import repeat
from pathlib import Path
from typing import Any

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2, types_pb2

from featsvc.cli import output
from featsvc.cli.curating import (
    bank_argument,
    bank_name,
    confirm,
    count_entries,
    dry_run_option,
    entry_names,
    limit_option,
    list_banks,
    reason_option,
    revision_option,
    show_entries,
    yes_option,
)
from featsvc.cli.inputs import (
    MAX_REQUEST_BYTES,
    STDIN,
    parse_signal,
    read_file,
    read_text,
    text_options,
)
from featsvc.cli.messages import last_part, message_json, number
from featsvc.cli.remote import describe_algorithm, read_pages, remote_command

_MAX_REQUEST_ENTRIES = 1000
_labels_option = click.option(
    "--label", "labels", multiple=True, help="Only entries with this label. Repeatable."
)


@click.command()
@bank_argument
@_labels_option
@click.option("--source", default="", help="Only entries from this source.")
@click.option("--external-id", default="", help="Only entries with this external id.")
@revision_option
@click.option("--withdrawn", is_flag=True, help="Include withdrawn entries.")
@limit_option()
@remote_command
def entries(
    client: Client,
    bank_id: str,
    labels: tuple[str, ...],
    source: str,
    external_id: str,
    revision: int,
    withdrawn: bool,
    limit: int,
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
    pages = list(read_pages(client.banks.ListEntries, request, "entries", limit))
    listed = [entry for page in pages for entry in page.entries]
    if as_json:
        output.json_lines(map(message_json, listed))
        return
    show_entries(listed)
    click.echo(f"{len(listed):,} of {pages[-1].total_entries:,} entries")


@click.command()
@click.option(
    "--bank", "-b", "bank_ids", multiple=True, metavar="BANK", help="Only this bank. Repeatable."
)
@click.option("--signal", metavar="ALGORITHM:HEX", default="", help="Only entries near a signal.")
@click.option(
    "--distance",
    type=click.FloatRange(min=0),
    metavar="N",
    help="Largest distance to --signal. Default: the algorithm's threshold.",
)
@click.option("--external-id", default="", help="Only entries with this external id.")
@_labels_option
@limit_option()
@remote_command
def find(
    client: Client,
    bank_ids: tuple[str, ...],
    signal: str,
    distance: float | None,
    external_id: str,
    labels: tuple[str, ...],
    limit: int,
    as_json: bool,
) -> None:
    """Find entries by signal, external id or label.

    Searches every bank in every mode, unless --bank is given.
    """
    if not (signal or external_id or labels):
        raise click.UsageError("nothing to find: give --signal, --external-id or --label")
    near = parse_signal(signal, "--signal") if signal else None
    if near and distance is None:
        distance = describe_algorithm(client, near.algorithm).default_threshold
    found: list[tuple[banks_pb2.Entry, float | None]] = []
    for name in map(bank_name, bank_ids) if bank_ids else [b.name for b in list_banks(client)]:
        request = banks_pb2.ListEntriesRequest(
            parent=name,
            external_id=external_id,
            labels=labels,
            near=near,
            max_distance=distance,
        )
        for page in read_pages(client.banks.ListEntries, request, "entries", limit):
            distances = map(number, page.distances) if near else repeat(None)
            found += zip(page.entries, distances, strict=False)
    found.sort(key=lambda pair: pair[1] or 0)
    found = found[:limit]
    if as_json:
        output.json_lines({**message_json(entry), "distance": apart} for entry, apart in found)
        return
    show_entries(
        [entry for entry, _ in found],
        "bank, distance" if near else "bank",
        [
            entry.name.split("/")[1] + ("" if apart is None else f", {apart}")
            for entry, apart in found
        ],
    )
    click.echo(f"{len(found):,} found")


@click.command()
@bank_argument
@click.argument("things", nargs=-1, metavar="[ALGORITHM:HEX|FILE]...")
@text_options(multiple=True)
@click.option("--external-id", default="", help="Id at the source. Default: the file's name.")
@click.option("--label", "labels", multiple=True, help="A label. Repeatable.")
@click.option("--source", default="", help="Where the content comes from.")
@click.option(
    "--opinion",
    type=click.Choice(["positive", "negative", "disputed"]),
    help="What the source thinks of the content.",
)
@click.option("--note", default="", help="A note for other curators.")
@click.option(
    "--variants/--no-variants",
    default=True,
    show_default=True,
    help="Store crops and tilts of a picture too, to find cut copies.",
)
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="When the entry stops matching.")
@click.option(
    "--vector",
    "models",
    multiple=True,
    metavar="MODEL@VERSION",
    help="Store this model's vector of each picture too. Repeatable.",
)
@reason_option
@remote_command
def add(
    client: Client,
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
    context: banks_pb2.ChangeContext,
    as_json: bool,
) -> None:
    """Add signals, pictures or texts to a bank.

    Each becomes an entry. The service hashes pictures and texts and keeps their hashes and vectors
    only.
    """
    count = len(things) + len(text) + len(text_file)
    if not count:
        raise click.UsageError("nothing to add: give a signal, a file, --text or --text-file")
    if external_id and count > 1:
        raise click.UsageError("--external-id is for one entry: give one signal, file or text")
    template = banks_pb2.Entry(
        external_id=external_id,
        labels=labels,
        source=source,
        note=note,
        opinion=f"OPINION_{opinion.upper()}" if opinion else None,
    )
    if expires:
        template.expire_time.FromDatetime(expires)
    added: list[banks_pb2.Entry] = []
    for request in _add_requests(_additions(things, text, text_file), template):
        request.parent = bank_name(bank_id)
        request.entry_variants = variants
        request.vector_models.extend(models)
        request.context.CopyFrom(context)
        added += client.banks.AddEntries(request).entries
    if as_json:
        output.json_lines(map(message_json, added))
        return
    show_entries(added)
    click.echo(f"{count_entries(len(added))} in {bank_id}")
    for entry in added:
        if {s.algorithm for s in entry.signals} == {"text_sha256"}:
            name = entry.external_id or last_part(entry.name)
            click.echo(
                f"{name}: too short to be found in another text, or when it is edited", err=True
            )


_Addition = tuple[banks_pb2.Entry, types_pb2.Content]
"""An entry, and the content that the service hashes into it; not set for a signal."""


def _additions(
    things: Iterable[str], texts: Iterable[str] = (), text_files: Iterable[str] = ()
) -> Iterator[_Addition]:
    """Read what to add, one after another. Raises ClickException."""
    for thing in things:
        # Unlike Path.is_file, it is False for a name that is too long: the hex of a vector.
        if os.path.isfile(thing):
            data = read_file(Path(thing))
            if not data:
                raise click.ClickException(f"{thing}: the file is empty")
            yield banks_pb2.Entry(external_id=Path(thing).name), types_pb2.Content(data=data)
        elif ":" in thing:
            signal = parse_signal(thing, "ALGORITHM:HEX")
            entry = banks_pb2.Entry()
            entry.signals.add(algorithm=signal.algorithm, value=signal.value)
            yield entry, types_pb2.Content()
        else:
            raise click.ClickException(f"{thing}: neither a file nor ALGORITHM:HEX")
    for text in texts:
        yield banks_pb2.Entry(), types_pb2.Content(text=text)
    for path in text_files:
        name = "" if path == STDIN else Path(path).name
        yield banks_pb2.Entry(external_id=name), types_pb2.Content(text=read_text(path))


def _add_requests(
    additions: Iterable[_Addition], template: banks_pb2.Entry
) -> Iterator[banks_pb2.AddEntriesRequest]:
    """Yield as few requests as their limits allow: each is one revision."""
    request = banks_pb2.AddEntriesRequest()
    size = 0
    for entry, content in additions:
        size += content.ByteSize()
        if size > MAX_REQUEST_BYTES or len(request.entries) == _MAX_REQUEST_ENTRIES:
            yield request
            request = banks_pb2.AddEntriesRequest()
            size = content.ByteSize()
        entry.MergeFrom(template)
        request.entries.append(entry)
        request.contents.append(content)
    yield request


@click.command()
@bank_argument
@click.option(
    "--entry", "entry_ids", multiple=True, metavar="ID", help="Id of an entry. Repeatable."
)
@click.option(
    "--external-id",
    "external_ids",
    multiple=True,
    metavar="ID",
    help="Id at the source. Repeatable.",
)
@dry_run_option
@yes_option
@reason_option
@remote_command
def withdraw(
    client: Client,
    bank_id: str,
    entry_ids: tuple[str, ...],
    external_ids: tuple[str, ...],
    dry_run: bool,
    yes: bool,
    context: banks_pb2.ChangeContext,
    as_json: bool,
) -> None:
    """Withdraw entries: they no longer match.

    Their history stays. An external id withdraws the entries of every source.
    """
    if not (entry_ids or external_ids):
        raise click.UsageError("nothing to withdraw: give --entry or --external-id")
    request = banks_pb2.WithdrawEntriesRequest(
        parent=bank_name(bank_id),
        names=entry_names(bank_id, entry_ids),
        external_ids=external_ids,
        dry_run=True,
        context=context,
    )
    done = client.banks.WithdrawEntries(request)
    if not dry_run:
        confirm(
            f"This withdraws {count_entries(done.withdrawn_entries)} "
            f"({output.counted(done.withdrawn_signals, 'signal')}) of {bank_id}.",
            yes,
        )
        request.dry_run = False
        done = client.banks.WithdrawEntries(request)
    if as_json:
        output.json_line({"bank": bank_id, **message_json(done), "dry_run": dry_run})
        return
    verb = "would be withdrawn" if dry_run else f"withdrawn, revision {done.revision}"
    click.echo(f"{count_entries(done.withdrawn_entries)} {verb}")


@click.command()
@bank_argument
@click.argument("entry_ids", nargs=-1, required=True, metavar="ENTRY...")
@click.option("--release", is_flag=True, help="Let the entries match again.")
@reason_option
@remote_command
def quarantine(
    client: Client,
    bank_id: str,
    entry_ids: tuple[str, ...],
    release: bool,
    context: banks_pb2.ChangeContext,
    as_json: bool,
) -> None:
    """Keep entries from matching without withdrawing them.

    ENTRY is an entry id, as `featsvc bank entries` prints it.
    """
    fields: dict[str, Any] = {
        "parent": bank_name(bank_id),
        "names": entry_names(bank_id, entry_ids),
        "context": context,
    }
    done: banks_pb2.ReleaseEntriesResponse | banks_pb2.QuarantineEntriesResponse
    if release:
        done = client.banks.ReleaseEntries(banks_pb2.ReleaseEntriesRequest(**fields))
    else:
        done = client.banks.QuarantineEntries(banks_pb2.QuarantineEntriesRequest(**fields))
    if as_json:
        output.json_line({"bank": bank_id, **message_json(done)})
        return
    verb = "released" if release else "quarantined"
    click.echo(f"{count_entries(done.changed_entries)} {verb}")
