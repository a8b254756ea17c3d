"""`featsvc bank log, diff, rollback`: what was changed, and undoing it."""

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2

from featsvc.cli import output
from featsvc.cli.bank_changes import describe_settings
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

    Each line says who changed what, when, why, and from which file; of settings their old and new
    values.
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
                "; ".join(filter(None, (describe_settings(r), r.reason))),
            )
            for r in listing
        ),
    )
    listing.print_cut()


@click.command()
@bank_argument
@click.argument("older", type=click.IntRange(min=0), metavar="R1")
@click.argument("newer", type=click.IntRange(min=0), metavar="[R2]", required=False, default=0)
@click.option("--settings", "settings_only", is_flag=True, help="Print the settings only.")
@limit_option()
@remote_command
def diff(
    client: Client,
    bank_id: str,
    older: int,
    newer: int,
    settings_only: bool,
    limit: int,
    as_json: bool,
) -> None:
    """Print which entries and settings changed between two revisions.

    R1 and R2 are revisions. R2 is the current one by default. If R1 is the later one, the changes
    are those that lead back. With --json entries and, by --settings, settings are printed apart.
    """
    request = banks_pb2.DiffRevisionsRequest(
        parent=bank_name(bank_id), from_revision=older, to_revision=newer
    )
    if settings_only:
        request.page_size = 1
        page = client.banks.DiffRevisions(request)
        if as_json:
            values = message_json(page)
            keys = ("setting_changes", "settings_unknown")
            output.json_line({"bank": bank_id, **{key: values[key] for key in keys}})
        else:
            click.echo(describe_settings(page) or "no setting differs")
        return
    first = banks_pb2.DiffRevisionsResponse()

    def read(page_request: banks_pb2.DiffRevisionsRequest) -> banks_pb2.DiffRevisionsResponse:
        page = client.banks.DiffRevisions(page_request)
        if not page_request.page_token:
            first.CopyFrom(page)
        return page

    listing: Listing[banks_pb2.DiffRevisionsResponse.Change] = Listing.paged(
        read, request, "changes", limit, total="total_changes"
    )
    if as_json:
        listing.print_json(message_json)
        return
    changes = list(listing)
    if settings := describe_settings(first):
        click.echo(settings)
    show_entries([change.entry for change in changes], "change", map(_kind, changes))
    click.echo(f"{len(changes):,} of {output.counted(listing.total or 0, 'change')}")
    listing.print_cut()


def _kind(change: banks_pb2.DiffRevisionsResponse.Change) -> str:
    fields = ", ".join(change.changed_fields)
    kind = enum_name(change, "kind").lower()
    return f"{kind}: {fields}" if fields else kind


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
    """Restore the entries and settings of an earlier revision.

    This makes a new revision, so that a rollback can be rolled back. Settings from before their
    history was kept stay as they are.
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
    if not dry_run and (done.restored_entries or done.withdrawn_entries or done.setting_changes):
        settings = f" Settings: {describe_settings(done)}." if done.setting_changes else ""
        confirm(
            f"This restores {count_entries(done.restored_entries)} of {bank_id} from revision "
            f"{revision}, and withdraws {done.withdrawn_entries:,}.{settings}",
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
    if done.setting_changes:
        click.echo(f"settings {would}restored: {describe_settings(done)}")
    if done.settings_unknown:
        click.echo(f"the settings of revision {revision} are not recorded: they stay", err=True)
