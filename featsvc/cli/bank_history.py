"""`featsvc bank log, diff, rollback`: what was changed, and undoing it."""

from collections.abc import Iterator

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2

from featsvc.cli import output
from featsvc.cli.curating import (
    PAGE,
    ask,
    bank_argument,
    bank_name,
    change_context,
    entry_json,
    get_bank,
    last_part,
    reason_option,
    show_entries,
    yes_option,
)
from featsvc.cli.remote import connect, json_option, server_option

_limit_option = click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many."
)


@click.command()
@click.argument("bank_id", metavar="[BANK]", required=False, default="-")
@_limit_option
@server_option
@json_option
def log(bank_id: str, limit: int, server: str, as_json: bool) -> None:
    """Who changed what, when, why and from which file; newest first."""
    found: list[banks_pb2.Revision] = []
    with connect(server) as client:
        request = banks_pb2.ListRevisionsRequest(parent=bank_name(bank_id))
        while len(found) < limit:
            request.page_size = min(PAGE, limit - len(found))
            page = client.banks.ListRevisions(request)
            found += page.revisions
            request.page_token = page.next_page_token
            if not page.next_page_token:
                break
    if as_json:
        for revision in found:
            output.json_line(_revision_json(revision))
        return
    output.table(
        (
            "revision",
            "when (UTC)",
            "who",
            "bank",
            "what",
            "added",
            "changed",
            "withdrawn",
            "file",
            "why",
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
            for r in found
        ),
    )


def _revision_json(r: banks_pb2.Revision) -> dict[str, object]:
    return {
        "revision": r.revision,
        "time": r.commit_time.ToJsonString(),
        "bank": last_part(r.bank),
        "action": r.action,
        "actor": r.actor,
        "reason": r.reason,
        "file": r.file_name,
        "sha256": r.file_sha256,
        "added": r.added_entries,
        "changed": r.changed_entries,
        "withdrawn": r.withdrawn_entries,
    }


@click.command()
@bank_argument
@click.argument("older", type=click.IntRange(min=0), metavar="R1")
@click.argument("newer", type=click.IntRange(min=0), metavar="[R2]", required=False, default=0)
@_limit_option
@server_option
@json_option
def diff(bank_id: str, older: int, newer: int, limit: int, server: str, as_json: bool) -> None:
    """What became of BANK's entries between revisions R1 and R2 (default: now)."""
    kinds = banks_pb2.DiffRevisionsResponse.Change.Kind
    found: list[tuple[str, banks_pb2.Entry]] = []
    total = 0
    with connect(server) as client:
        for page in _diff_pages(client, bank_id, older, newer):
            total = page.total_changes
            for change in page.changes:
                kind = output.enum_name(kinds, change.kind, "KIND_").lower()
                found.append((kind, change.entry))
            if len(found) >= limit:
                break
    found = found[:limit]
    if as_json:
        for kind, entry in found:
            output.json_line({"change": kind, **entry_json(entry)})
        return
    show_entries([entry for _, entry in found], "change", [kind for kind, _ in found])
    click.echo(f"{len(found):,} of {total:,} changes")


def _diff_pages(
    client: Client, bank_id: str, older: int, newer: int
) -> Iterator[banks_pb2.DiffRevisionsResponse]:
    request = banks_pb2.DiffRevisionsRequest(
        parent=bank_name(bank_id), from_revision=older, to_revision=newer, page_size=PAGE
    )
    while True:
        page = client.banks.DiffRevisions(request)
        yield page
        request.page_token = page.next_page_token
        if not page.next_page_token:
            return


@click.command()
@bank_argument
@click.argument("revision", type=click.IntRange(min=1))
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@yes_option
@reason_option
@server_option
@json_option
def rollback(
    bank_id: str,
    revision: int,
    dry_run: bool,
    yes: bool,
    reason: str,
    server: str,
    as_json: bool,
) -> None:
    """Make BANK's entries those of an earlier REVISION again, as a new revision."""
    with connect(server) as client:
        now = get_bank(client, bank_id)
        request = banks_pb2.RollbackBankRequest(
            name=now.name, revision=revision, dry_run=True, etag=now.etag,
            context=change_context(reason),
        )  # fmt: skip
        done = client.banks.RollbackBank(request)
        if not dry_run and (done.restored_entries or done.withdrawn_entries):
            ask(
                f"This restores {done.restored_entries:,} entries of {bank_id} as they were at "
                f"revision {revision}, and withdraws {done.withdrawn_entries:,}.",
                yes,
            )
            request.dry_run = False
            done = client.banks.RollbackBank(request)
    if as_json:
        output.json_line(
            {
                "bank": bank_id,
                "restored_entries": done.restored_entries,
                "withdrawn_entries": done.withdrawn_entries,
                "revision": done.revision,
                "dry_run": dry_run,
            }
        )
        return
    would = "would be " if dry_run else ""
    click.echo(
        f"{done.restored_entries:,} entries {would}restored, {done.withdrawn_entries:,} {would}"
        "withdrawn" + (f", revision {done.revision}" if done.revision else "; nothing was changed")
    )
