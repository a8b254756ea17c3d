"""`featsvc bank edit, restore, decisions`: what a curator decides over what a list says."""

from collections.abc import Iterator
from datetime import UTC, datetime

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2

from featsvc.cli import output
from featsvc.cli.curating import (
    bank_argument,
    bank_name,
    count_entries,
    entry_names,
    reason_option,
    state_of,
)
from featsvc.cli.listing import Listing, limit_option
from featsvc.cli.messages import last_part, message_json
from featsvc.cli.remote import remote_command
from featsvc.cli.words import echo

_FIELDS = ("labels", "note", "opinion", "expire_time", "quarantined", "withdrawn")
_OPINIONS = ("positive", "negative", "disputed", "none")
_entries_argument = click.argument("entry_ids", nargs=-1, required=True, metavar="ENTRY...")


@click.command(
    epilog='Example: featsvc bank edit partner-a 23 --add-label checked --note "seen by two of us"'
)
@bank_argument
@_entries_argument
@click.option(
    "--add-label", "add_labels", metavar="LABEL", multiple=True, help="Add a label. Repeatable."
)
@click.option(
    "--remove-label",
    "remove_labels",
    metavar="LABEL",
    multiple=True,
    help="Remove a label. Repeatable.",
)
@click.option("--note", metavar="TEXT", help='Set the note; "" removes it.')
@click.option("--opinion", type=click.Choice(_OPINIONS), help="Set the opinion of the content.")
@click.option(
    "--expires",
    type=click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"]),
    metavar="DATE",
    help="Stop matching at that time, UTC: 2030-01-31 or 2030-01-31T12:00:00Z.",
)
@click.option("--never-expires", is_flag=True, help="Go on matching whatever the list says.")
@click.option(
    "--reset",
    multiple=True,
    type=click.Choice(_FIELDS),
    help="Let the list decide a field again. Repeatable.",
)
@reason_option
@remote_command
def edit(
    client: Client,
    bank_id: str,
    entry_ids: tuple[str, ...],
    add_labels: tuple[str, ...],
    remove_labels: tuple[str, ...],
    note: str | None,
    opinion: str | None,
    expires: datetime | None,
    never_expires: bool,
    reset: tuple[str, ...],
    context: banks_pb2.ChangeContext,
    as_json: bool,
) -> None:
    """Change fields of entries, whatever their list says.

    ENTRY is an entry id, as `featsvc bank entries` prints it. The change outlives later imports,
    until --reset takes it back.
    """
    if not (add_labels or remove_labels or opinion or expires or never_expires or reset) and (
        note is None
    ):
        raise click.UsageError("nothing to change: give --add-label, --note or another option")
    if expires and never_expires:
        raise click.UsageError("--expires and --never-expires contradict each other; choose one")
    request = banks_pb2.EditEntriesRequest(
        parent=bank_name(bank_id),
        names=entry_names(bank_id, entry_ids),
        add_labels=add_labels,
        remove_labels=remove_labels,
        note=note,
        never_expires=never_expires,
        reset=reset,
        context=context,
    )
    if opinion:
        name = "UNSPECIFIED" if opinion == "none" else opinion.upper()
        request.opinion = getattr(banks_pb2, f"OPINION_{name}")
    if expires:
        request.expire_time.FromDatetime(expires.replace(tzinfo=UTC))
    done = client.banks.EditEntries(request)
    if as_json:
        output.json_line({"bank": bank_id, **message_json(done)})
        return
    _print_done(f"{count_entries(done.edited_entries)} edited", done.revision)


@click.command(epilog='Example: featsvc bank restore partner-a 23 --reason "it was right"')
@bank_argument
@_entries_argument
@reason_option
@remote_command
def restore(
    client: Client,
    bank_id: str,
    entry_ids: tuple[str, ...],
    context: banks_pb2.ChangeContext,
    as_json: bool,
) -> None:
    """Take back that entries are withdrawn.

    ENTRY is an entry id, as `featsvc bank decisions` prints it. The entries match again, as their
    list last had them.
    """
    request = banks_pb2.RestoreEntriesRequest(
        parent=bank_name(bank_id), names=entry_names(bank_id, entry_ids), context=context
    )
    done = client.banks.RestoreEntries(request)
    if as_json:
        output.json_line({"bank": bank_id, **message_json(done)})
        return
    _print_done(f"{count_entries(done.restored_entries)} restored", done.revision)
    if done.unlisted_entries:
        echo(f"  {count_entries(done.unlisted_entries)} not live: the list withdrew them too")


@click.command(epilog="Example: featsvc bank decisions partner-a")
@bank_argument
@limit_option()
@remote_command
def decisions(client: Client, bank_id: str, limit: int, as_json: bool) -> None:
    """List what curators decided about single entries, withdrawn ones too."""
    request = banks_pb2.ListEntriesRequest(parent=bank_name(bank_id), decided=True)
    listing: Listing[banks_pb2.Entry] = Listing.paged(
        client.banks.ListEntries, request, "entries", limit, total="total_entries"
    )
    if as_json:
        listing.print_json(message_json)
        return
    output.table(
        ("entry", "external id", "source", "state", "decided"),
        (
            (
                last_part(entry.name),
                entry.external_id,
                entry.source,
                state_of(entry),
                tuple(_decided(entry)),
            )
            for entry in listing
        ),
    )
    echo(f"{listing.shown:,} of {count_entries(listing.total or 0)} with a decision")
    listing.print_cut()


def _decided(entry: banks_pb2.Entry) -> Iterator[str]:
    """Yield a line for each decided field: its value, and that of the list where it differs."""
    has, listed = message_json(entry), message_json(entry.listed)
    for name in entry.decided_fields:
        if name not in listed:
            yield name
            continue
        value, said = _shown(has[name]), _shown(listed[name])
        yield f"{name}: {value}" + ("" if value == said else f" (list: {said})")


def _shown(value: object) -> str:
    return (", ".join(map(str, value)) if isinstance(value, list) else str(value or "")) or "none"


def _print_done(what: str, revision: int) -> None:
    echo(f"{what}, revision {revision}" if revision else f"{what}: nothing to change")
