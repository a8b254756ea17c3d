"""`featsvc bank entries, find, withdraw, quarantine`: single entries."""

from collections.abc import Iterator, Sequence
from itertools import chain, repeat
from typing import Any

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2

from featsvc.cli import output
from featsvc.cli.curating import (
    bank_argument,
    bank_name,
    confirm,
    count_entries,
    dry_run_option,
    entry_names,
    list_banks,
    reason_option,
    revision_option,
    show_entries,
    yes_option,
)
from featsvc.cli.import_report import print_withdrawn
from featsvc.cli.inputs import parse_signal
from featsvc.cli.listing import Listing, limit_option, read_pages_of_each
from featsvc.cli.messages import message_json, number
from featsvc.cli.remote import describe_algorithm, remote_command
from featsvc.cli.words import counted, echo

_labels_option = click.option(
    "--label",
    "labels",
    metavar="LABEL",
    multiple=True,
    help="Only entries with this label. Repeatable.",
)


@click.command(epilog="Example: featsvc bank entries partner-a --label urgent")
@bank_argument
@_labels_option
@click.option("--source", metavar="NAME", default="", help="Only entries from this source.")
@click.option("--external-id", metavar="ID", default="", help="Only entries with this external id.")
@revision_option
@click.option("--withdrawn", is_flag=True, help="Include withdrawn entries.")
@click.option(
    "--expired/--not-expired",
    default=None,
    help="Only entries that have expired and match no longer, or only the others.",
)
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
    expired: bool | None,
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
        expired=expired,
    )
    listing: Listing[banks_pb2.Entry] = Listing.paged(
        client.banks.ListEntries, request, "entries", limit, total="total_entries"
    )
    if as_json:
        listing.print_json(message_json)
        return
    show_entries(listing)
    listing.print_count("entry")
    listing.print_cut()


@click.command(epilog="Example: featsvc bank find --external-id case-12")
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
@click.option("--external-id", metavar="ID", default="", help="Only entries with this external id.")
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
    algorithm = ""
    if near:
        described = describe_algorithm(client, near.algorithm)
        algorithm = described.name
        distance = described.default_threshold if distance is None else distance
    banks = map(bank_name, bank_ids) if bank_ids else _holding(client, algorithm)
    requests = [
        banks_pb2.ListEntriesRequest(
            parent=bank, external_id=external_id, labels=labels, near=near, max_distance=distance
        )
        for bank in banks
    ]
    found = _find(client, requests, near is not None)
    if near:
        # Pages are in the order of ids: the nearest may be on the last one.
        found = iter(sorted(found, key=lambda pair: pair[1] or 0))
    listing = Listing(found, limit)
    if as_json:
        listing.print_json(lambda pair: {**message_json(pair[0]), "distance": pair[1]})
        return
    rows = list(listing)
    show_entries(
        [entry for entry, _ in rows],
        {
            "bank": [entry.name.split("/")[1] for entry, _ in rows],
            "distance": [apart for _, apart in rows],
        },
    )
    listing.print_count("entry")
    listing.print_cut()


_Found = tuple[banks_pb2.Entry, float | None]
"""An entry, and its distance if one was asked for."""


def _holding(client: Client, algorithm: str) -> list[str]:
    """Return the names of the banks that hold signals of the algorithm, or any entry for ""."""
    banks = list(list_banks(client))
    return [
        bank.name
        for bank in banks
        if len(banks) == 1 or (bank.signal_counts[algorithm] if algorithm else bank.entry_count)
    ]


def _find(
    client: Client, requests: Sequence[banks_pb2.ListEntriesRequest], near: bool
) -> Iterator[_Found]:
    for pages in read_pages_of_each(client.banks.ListEntries, requests):
        for page in pages:
            distances = map(number, page.distances) if near else ()
            yield from zip(page.entries, chain(distances, repeat(None)), strict=False)


@click.command(
    epilog='Example: featsvc bank withdraw partner-a --external-id case-12 --reason "not ours"'
)
@bank_argument
@click.option(
    "--entry", "entry_ids", multiple=True, metavar="ID", help="Number of an entry. Repeatable."
)
@click.option(
    "--external-id",
    "external_ids",
    multiple=True,
    metavar="ID",
    help="The source's id. Repeatable.",
)
@click.option(
    "--signal",
    "signals",
    multiple=True,
    metavar="ALGORITHM:HEX",
    help="Every entry that has exactly this signal. Repeatable.",
)
@click.option(
    "--source", metavar="NAME", help='Only entries from this source; "" for those without one.'
)
@click.option(
    "--until-listed",
    is_flag=True,
    help="Only until a list has them again. Default: imports keep them withdrawn.",
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
    signals: tuple[str, ...],
    source: str | None,
    until_listed: bool,
    dry_run: bool,
    yes: bool,
    context: banks_pb2.ChangeContext,
    as_json: bool,
) -> None:
    """Withdraw entries: they no longer match.

    Their history stays. Imports keep them withdrawn until `featsvc bank restore`, `add` or
    `rollback`. An external id or a signal withdraws the entries of every source, unless
    --source is given.
    """
    if not (entry_ids or external_ids or signals):
        raise click.UsageError("nothing to withdraw: give --entry, --external-id or --signal")
    request = banks_pb2.WithdrawEntriesRequest(
        parent=bank_name(bank_id),
        names=entry_names(bank_id, entry_ids),
        external_ids=external_ids,
        signals=[parse_signal(signal, "--signal") for signal in signals],
        source=source,
        dry_run=True,
        until_listed=until_listed,
        context=context,
    )
    done = client.banks.WithdrawEntries(request)
    if not as_json:
        print_withdrawn(done.withdrawn, done.withdrawn_entries)
    if not dry_run:
        confirm(
            f"This withdraws {count_entries(done.withdrawn_entries)} "
            f"({counted(done.withdrawn_signals, 'signal')}) of {bank_id}.",
            yes,
        )
        request.dry_run = False
        done = client.banks.WithdrawEntries(request)
    if as_json:
        output.json_line({"bank": bank_id, **message_json(done), "dry_run": dry_run})
        return
    verb = "would be withdrawn" if dry_run else f"withdrawn, revision {done.revision}"
    echo(f"{count_entries(done.withdrawn_entries)} {verb}")


@click.command(epilog='Example: featsvc bank quarantine partner-a 23 --reason "a black frame"')
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

    ENTRY is the number of an entry, as `featsvc bank entries` and `noisy` print it.
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
    echo(f"{count_entries(done.changed_entries)} {verb}")
