"""`featsvc bank recount`: mends the counts of banks in the store itself. It calls no service."""

from typing import TYPE_CHECKING

import click

from featsvc.cli import output
from featsvc.cli.words import counted, echo
from featsvc.errors import ConfigInvalid

if TYPE_CHECKING:
    from featsvc.banks.results import Recount


@click.command(epilog="Example: featsvc bank recount --store sqlite:////var/lib/featsvc/banks.db")
@click.option("--store", "url", metavar="URL", required=True, help="The store, as in banks.url.")
@click.option("--dry-run", is_flag=True, help="Only show what would change.")
@output.json_option
def recount(url: str, dry_run: bool, as_json: bool) -> None:
    """Count entries and signals of all banks again, and correct what the banks count.

    A service serves nothing that differs from these counts: it takes the store for half restored.
    If its message says so though nothing was restored, the counts are wrong, and this mends them.
    Never run it while a restore goes on.
    """
    # Imported late: the other commands for banks need no database.
    from featsvc.banks.store import BankStore  # noqa: PLC0415

    try:
        store = BankStore(url, creates=False)
    except ConfigInvalid as exc:
        raise click.BadParameter(str(exc), param_hint="--store") from None
    try:
        found = store.recount(dry_run=dry_run)
    finally:
        store.close()
    if as_json:
        output.json_line({"dry_run": dry_run, "banks": [_as_json(bank) for bank in found]})
        return
    for bank in found:
        before, now = sum(bank.signals_before.values()), sum(bank.signals_now.values())
        echo(
            f"{bank.bank_id}: {counted(bank.entries_now, 'entry')} (counted "
            f"{bank.entries_before:,}), {counted(now, 'signal')} (counted {before:,})"
        )
    if not found:
        echo("all banks count right")
    elif dry_run:
        echo("nothing was changed: a dry run")


def _as_json(bank: "Recount") -> dict[str, object]:
    return {
        "bank": bank.bank_id,
        "entries_before": bank.entries_before,
        "entries": bank.entries_now,
        "signals_before": dict(bank.signals_before),
        "signals": dict(bank.signals_now),
    }
