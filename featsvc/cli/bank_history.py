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
from featsvc.cli.words import echo


@click.command(epilog="Example: featsvc bank log partner-a --limit 20")
@click.argument("bank_id", metavar="[BANK]", required=False, default="-")
@click.option("--wide", is_flag=True, help="Print whole lines, however wide the terminal is.")
@limit_option()
@remote_command
def log(client: Client, bank_id: str, wide: bool, limit: int, as_json: bool) -> None:
    """List the changes, newest first.

    Each line says who changed what, when, why, and from which file; of settings their old and new
    values. "+15 -2 ~1" are the numbers of entries that were added, withdrawn and changed.
    """
    request = banks_pb2.ListRevisionsRequest(parent=bank_name(bank_id))
    listing: Listing[banks_pb2.Revision] = Listing.paged(
        client.banks.ListRevisions, request, "revisions", limit
    )
    if as_json:
        listing.print_json(message_json)
        return
    every_bank = bank_id == "-"
    output.table(
        ("revision", "when (UTC)", "who", "bank", "what", "entries", "details"),
        (
            (
                r.revision,
                r.commit_time.ToDatetime().strftime("%Y-%m-%d %H:%M"),
                r.actor,
                last_part(r.bank) if every_bank else "",
                r.action,
                _counts(r),
                _details(r),
            )
            for r in listing
        ),
        one_line=True,
        wide=wide,
    )
    listing.print_cut()


def _counts(revision: banks_pb2.Revision) -> str:
    """Return `+15 -20 ~3` for entries that were added, withdrawn and changed."""
    counts = (
        ("+", revision.added_entries),
        ("-", revision.withdrawn_entries),
        ("~", revision.changed_entries),
    )
    return " ".join(f"{sign}{count}" for sign, count in counts if count)


def _details(revision: banks_pb2.Revision) -> str:
    """Return the settings that changed, why, and the file; its SHA-256 is the first to be cut."""
    file = f"SHA-256 {revision.file_sha256}" if revision.file_sha256 else ""
    return "; ".join(
        filter(None, (describe_settings(revision), revision.reason, revision.file_name, file))
    )


@click.command(epilog="Example: featsvc bank diff partner-a 2 4")
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
    """List the entries and settings that changed between two revisions.

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
            echo(describe_settings(page) or "no setting differs")
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
        echo(settings)
    kinds = [_kind(change) for change in changes]
    show_entries([change.entry for change in changes], {"change": kinds})
    listing.print_count("change")
    listing.print_cut()


def _kind(change: banks_pb2.DiffRevisionsResponse.Change) -> str:
    fields = ", ".join(change.changed_fields)
    kind = enum_name(change, "kind").lower()
    return f"{kind}: {fields}" if fields else kind


@click.command(epilog="Example: featsvc bank rollback partner-a 3 --dry-run")
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
    if not (done.restored_entries or done.withdrawn_entries):
        echo(f"the entries are those of revision {revision} already; nothing was changed")
        return
    would = "would be " if dry_run else ""
    echo(
        f"{count_entries(done.restored_entries)} {would}restored, "
        f"{done.withdrawn_entries:,} {would}withdrawn"
        + (f", revision {done.revision}" if done.revision else "; nothing was changed")
    )
    if done.setting_changes:
        echo(f"settings {would}restored: {describe_settings(done)}")
    if done.settings_unknown:
        echo(f"the settings of revision {revision} are not recorded: they stay", err=True)
