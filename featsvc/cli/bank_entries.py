"""`featsvc bank entries, find, add, withdraw, quarantine`: single entries."""

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import click

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
from featsvc.client import Client
from featsvc.errors import InvalidInput
from featsvc.v1 import banks_pb2, types_pb2

MAX_CONTENT_BYTES = 32 * 2**20
_ADD_BATCH = 1000
_limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many."
)
_labels_option = click.option(
    "--label", "labels", multiple=True, help="Only entries with this label. Repeatable."
)


def pages(
    client: Client, request: banks_pb2.ListEntriesRequest, limit: int
) -> tuple[list[banks_pb2.Entry], int]:
    """At most `limit` entries, and how many there are."""
    found: list[banks_pb2.Entry] = []
    total = 0
    while len(found) < limit:
        request.page_size = min(PAGE, limit - len(found))
        page = client.banks.ListEntries(request)
        found += page.entries
        total = page.total_entries
        request.page_token = page.next_page_token
        if not page.next_page_token:
            break
    return found, total


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
        found, total = pages(client, request, limit)
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
@click.option("--distance", type=click.IntRange(min=0), default=31, show_default=True,
              help="How near, in bits.")  # fmt: skip
@click.option("--external-id", default="", help="With this external id.")
@_labels_option
@_limit_option
@server_option
@json_option
def find(
    bank_ids: tuple[str, ...],
    signal: str,
    distance: int,
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
    found: list[tuple[int | None, banks_pb2.Entry]] = []
    with connect(server) as client:
        for bank_id in bank_ids or [last_part(b.name) for b in all_banks(client)]:
            request = banks_pb2.ListEntriesRequest(
                parent=bank_name(bank_id), external_id=external_id, labels=labels, near=near,
                max_distance=distance,
            )  # fmt: skip
            for entry in pages(client, request, limit)[0]:
                found.append((_distance(near, entry), entry))
    found.sort(key=lambda pair: pair[0] or 0)
    found = found[:limit]
    if as_json:
        for bits, entry in found:
            output.json_line({**entry_json(entry), "distance": bits})
        return
    if near:
        places = [f"{e.name.split('/')[1]}, {bits}" for bits, e in found]
        show_entries([e for _, e in found], "bank, distance", places)
    else:
        show_entries([e for _, e in found], "bank", [e.name.split("/")[1] for _, e in found])
    click.echo(f"{len(found):,} found")


def _signal(text: str) -> types_pb2.Signal:
    algorithm, colon, value = text.strip().partition(":")
    if not colon:
        raise click.BadParameter(f"{text!r} is not ALGORITHM:HEX", param_hint="--signal")
    return types_pb2.Signal(algorithm=algorithm.lower(), value=value.strip().lower())


def _distance(near: types_pb2.Signal | None, entry: banks_pb2.Entry) -> int | None:
    if near is None:
        return None
    values = [s.value for s in entry.signals if s.algorithm == near.algorithm]
    if near.value in values:
        return 0
    try:
        query = int(near.value, 16)
        return min(((int(v, 16) ^ query).bit_count() for v in values), default=None)
    except ValueError:
        # Of an algorithm that is text, found by another spelling of it.
        return 0


@click.command()
@bank_argument
@click.argument("things", nargs=-1, required=True, metavar="ALGORITHM:HEX|FILE...")
@click.option("--external-id", default="", help="Of the entry; default for a file: its name.")
@click.option("--label", "labels", multiple=True, help="A label. Repeatable.")
@click.option("--source", default="", help="Where it comes from.")
@click.option("--opinion", type=click.Choice(["positive", "negative", "disputed"]),
              help="What the source thinks of it.")  # fmt: skip
@click.option("--note", default="", help="A note for other curators.")
@click.option("--expires", type=click.DateTime(["%Y-%m-%d"]), help="When it stops matching.")
@reason_option
@server_option
@json_option
def add(
    bank_id: str,
    things: tuple[str, ...],
    external_id: str,
    labels: tuple[str, ...],
    source: str,
    opinion: str | None,
    note: str,
    expires: datetime | None,
    reason: str,
    server: str,
    as_json: bool,
) -> None:
    """Add signals or picture files to BANK, each an entry.

    A file is sent to the service, hashed and forgotten; only its hashes are kept.
    """
    if external_id and len(things) > 1:
        raise click.UsageError("--external-id names one entry; give one signal or file")
    template = banks_pb2.Entry(
        external_id=external_id, labels=labels, source=source, note=note,
        opinion=f"OPINION_{opinion.upper()}" if opinion else None,
    )  # fmt: skip
    if expires:
        template.expire_time.FromDatetime(expires)
    added: list[banks_pb2.Entry] = []
    with connect(server) as client:
        for request in _add_requests(bank_id, things, template):
            request.context.CopyFrom(change_context(reason))
            added += client.banks.AddEntries(request).entries
    if as_json:
        for entry in added:
            output.json_line(entry_json(entry))
        return
    show_entries(added)
    click.echo(f"{len(added):,} entries in {bank_id}")


def _add_requests(
    bank_id: str, things: tuple[str, ...], template: banks_pb2.Entry
) -> Iterator[banks_pb2.AddEntriesRequest]:
    """As few requests as the size of a message allows: each is one revision."""
    request = banks_pb2.AddEntriesRequest(parent=bank_name(bank_id))
    size = 0
    for thing in things:
        content = _content(thing)
        if size + len(content) > MAX_CONTENT_BYTES or len(request.entries) == _ADD_BATCH:
            yield request
            request = banks_pb2.AddEntriesRequest(parent=bank_name(bank_id))
            size = 0
        size += len(content)
        entry = request.entries.add()
        entry.CopyFrom(template)
        sent = request.contents.add()
        if content:
            sent.data = content
            entry.external_id = template.external_id or Path(thing).name
        else:
            algorithm, _, value = thing.partition(":")
            entry.signals.add(algorithm=algorithm.lower(), value=value)
    yield request


def _content(thing: str) -> bytes:
    """The bytes of a file; none for a signal."""
    if not Path(thing).is_file():
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
    with connect(server) as client:
        done = client.banks.QuarantineEntries(
            banks_pb2.QuarantineEntriesRequest(
                parent=bank_name(bank_id),
                names=[f"{bank_name(bank_id)}/entries/{number}" for number in entry_ids],
                release=release,
                context=change_context(reason),
            )
        )
    if as_json:
        output.json_line(
            {"bank": bank_id, "changed_entries": done.changed_entries, "revision": done.revision}
        )
        return
    verb = "released" if release else "quarantined"
    click.echo(f"{done.changed_entries:,} entries {verb}")
