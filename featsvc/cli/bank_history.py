"""`featsvc bank log, diff, rollback`: what was changed, and undoing it."""

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
    get_bank,
    reason_option,
    show_entries,
    yes_option,
)
from featsvc.cli.listing import Listing, limit_option
from featsvc.cli.messages import enum_name, last_part, message_json
from featsvc.cli.remote import remote_command


@click.command()
@click.argument("bank_id", metavar="[BANK]", required=False, default="-")
@limit_option()
@remote_command
def log(client: Client, bank_id: str, limit: int, as_json: bool) -> None:
    """Print the log of changes, newest first.

    Each line says who changed what, when, why, and from which file.
    """
    request = banks_pb2.ListRevisionsRequest(parent=bank_name(bank_id))
    listing: Listing[banks_pb2.Revision] = Listing.paged(
        client.banks.ListRevisions, request, "revisions", limit
    )
    if as_json:
        listing.print_json(message_json)
        return
    output.table(
        (
            *("revision", "when (UTC)", "who", "bank", "what"),
            *("added", "changed", "withdrawn", "file", "why"),
        ),
        (
            (
                r.revision,
                r.commit_time.ToDatetime().strftime("%Y-%m-%d %H:%M:%S"),
                r.actor,
                last_part(r.bank),
                r.action,
                r.added_entries,
                r.changed_entries,
                r.withdrawn_entries,
                f"{r.file_name} {r.file_sha256[:12]}" if r.file_sha256 else "",
                r.reason,
            )
            for r in listing
        ),
    )
    listing.print_cut()


@click.command()
@bank_argument
@click.argument("older", type=click.IntRange(min=0), metavar="R1")
@click.argument("newer", type=click.IntRange(min=0), metavar="[R2]", required=False, default=0)
@limit_option()
@remote_command
def diff(client: Client, bank_id: str, older: int, newer: int, limit: int, as_json: bool) -> None:
    """Print which entries changed between two revisions.

    R1 and R2 are revisions. R2 is the current one by default.
    """
    request = banks_pb2.DiffRevisionsRequest(
        parent=bank_name(bank_id), from_revision=older, to_revision=newer
    )
    listing: Listing[banks_pb2.DiffRevisionsResponse.Change] = Listing.paged(
        client.banks.DiffRevisions, request, "changes", limit, total="total_changes"
    )
    if as_json:
        listing.print_json(message_json)
        return
    changes = list(listing)
    kinds = (enum_name(change, "kind").lower() for change in changes)
    show_entries([change.entry for change in changes], "change", kinds)
    click.echo(f"{len(changes):,} of {output.counted(listing.total or 0, 'change')}")
    listing.print_cut()


@click.command()
@bank_argument
@click.argument("revision", type=click.IntRange(min=1))
@dry_run_option
@yes_option
@reason_option
@remote_command
def rollback(
    client: Client,
    bank_id: str,
    revision: int,
    dry_run: bool,
    yes: bool,
    context: banks_pb2.ChangeContext,
    as_json: bool,
) -> None:
    """Restore the entries of an earlier revision.

    This makes a new revision, so that a rollback can be rolled back. Settings stay.
    """
    current = get_bank(client, bank_id)
    request = banks_pb2.RollbackBankRequest(
        name=current.name,
        revision=revision,
        dry_run=True,
        etag=current.etag,
        context=context,
    )
    done = client.banks.RollbackBank(request)
    if not dry_run and (done.restored_entries or done.withdrawn_entries):
        confirm(
            f"This restores {count_entries(done.restored_entries)} of {bank_id} from revision "
            f"{revision}, and withdraws {done.withdrawn_entries:,}.",
            yes,
        )
        request.dry_run = False
        done = client.banks.RollbackBank(request)
    if as_json:
        output.json_line({"bank": bank_id, **message_json(done), "dry_run": dry_run})
        return
    would = "would be " if dry_run else ""
    click.echo(
        f"{count_entries(done.restored_entries)} {would}restored, "
        f"{done.withdrawn_entries:,} {would}withdrawn"
        + (f", revision {done.revision}" if done.revision else "; nothing was changed")
    )
