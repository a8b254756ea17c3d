"""`featsvc bank`: banks and their settings. The other bank commands are in `bank_*.py`."""

from typing import Any

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2

from featsvc.cli import output
from featsvc.cli.bank_add import add
from featsvc.cli.bank_copy import copy_store
from featsvc.cli.bank_decisions import decisions, edit, restore
from featsvc.cli.bank_entries import entries, find, quarantine, withdraw
from featsvc.cli.bank_history import diff, log, rollback
from featsvc.cli.bank_lists import export, import_file
from featsvc.cli.bank_recount import recount
from featsvc.cli.bank_tuning import evaluate, noisy, overlap
from featsvc.cli.curating import (
    bank_argument,
    bank_name,
    confirm,
    count_entries,
    get_bank,
    list_banks,
    reason_option,
    show_bank,
    yes_option,
)
from featsvc.cli.inputs import split_names
from featsvc.cli.listing import limit_option
from featsvc.cli.messages import message_json
from featsvc.cli.output import Command
from featsvc.cli.remote import remote_command
from featsvc.cli.words import echo


def _settings_options(command: Command) -> Command:
    """Add an option for each setting; None where it is not given."""
    for option in (
        click.option(
            "--variants",
            metavar="none|default|all|NAME,...",
            help="Turns and parts of an uploaded picture to match besides the picture itself.",
        ),
        click.option(
            "--threshold",
            "thresholds",
            metavar="ALGORITHM=N",
            multiple=True,
            help='Largest distance that matches; N is a number or "default". Repeatable.',
        ),
        click.option(
            "--safe/--not-safe",
            default=None,
            help="Whether it is a safe list: its matches suppress those of other banks.",
        ),
        click.option(
            "--mode",
            type=click.Choice(["enforce", "shadow", "off"]),
            help="Act on matches, only report them, or do not search. New banks: enforce.",
        ),
        click.option("--description", help="What the list is."),
    ):
        command = option(command)
    return command


def _fields(
    description: str | None, mode: str | None, safe: bool | None, variants: str | None
) -> dict[str, Any]:
    """Return the fields of a Bank for the settings that are given."""
    fields = {
        "description": description,
        "mode": mode and f"BANK_MODE_{mode.upper()}",
        "safe": safe,
        "query_variants": None if variants is None else split_names(variants),
    }
    return {name: value for name, value in fields.items() if value is not None}


def _parse_threshold(text: str) -> tuple[str, float | None]:
    """Parse ALGORITHM=N; None for the algorithm's default. Raises BadParameter."""
    algorithm, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError(text)
        return algorithm, None if value == "default" else float(value)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is not ALGORITHM=N", param_hint="--threshold") from exc


@click.group()
def bank() -> None:
    """Curate banks: lists of known content."""


@bank.command(epilog="Example: featsvc bank create partner-a --mode shadow")
@bank_argument
@_settings_options
@reason_option
@remote_command
def create(
    client: Client,
    bank_id: str,
    thresholds: tuple[str, ...],
    context: banks_pb2.ChangeContext,
    as_json: bool,
    **settings: Any,
) -> None:
    """Create an empty bank.

    BANK is its id: 1 to 64 of a-z, 0-9, "_" and "-", beginning with a letter or digit.
    """
    message = banks_pb2.Bank(
        thresholds={a: n for a, n in map(_parse_threshold, thresholds) if n is not None},
        **_fields(**settings),
    )
    request = banks_pb2.CreateBankRequest(bank_id=bank_id, bank=message, context=context)
    show_bank(client.banks.CreateBank(request), as_json)


@bank.command("list")
@limit_option(0)
@remote_command
def list_(client: Client, limit: int, as_json: bool) -> None:
    """List every bank."""
    listing = list_banks(client, limit)
    if as_json:
        listing.print_json(message_json)
        return
    banks = [message_json(each) for each in listing]
    columns = ("bank", "mode", "safe", "entries", "signals", "revision", "description")
    keys = ("bank", "mode", "safe", "entries", "signal_count", "revision", "description")
    for each in banks:
        each["safe"] = "yes" if each["safe"] else ""
    output.table(columns, ([each[key] for key in keys] for each in banks))
    listing.print_count("bank")
    listing.print_cut()


@bank.command()
@bank_argument
@remote_command
def show(client: Client, bank_id: str, as_json: bool) -> None:
    """Show the settings and counts of a bank."""
    show_bank(get_bank(client, bank_id), as_json)


@bank.command(
    "set", epilog='Example: featsvc bank set partner-a --mode enforce --reason "a quiet week"'
)
@bank_argument
@_settings_options
@click.option("--etag", default="", help="Refuse if the settings have changed since this etag.")
@reason_option
@remote_command
def set_(
    client: Client,
    bank_id: str,
    thresholds: tuple[str, ...],
    etag: str,
    context: banks_pb2.ChangeContext,
    as_json: bool,
    **settings: Any,
) -> None:
    """Change settings of a bank; the others stay."""
    fields = _fields(**settings)
    if not (fields or thresholds):
        raise click.UsageError("nothing to change: give at least one setting, see --help")
    message = banks_pb2.Bank(name=bank_name(bank_id), etag=etag, **fields)
    if thresholds:
        # Read, change, write back: the etag refuses if another curator was faster.
        current = get_bank(client, bank_id)
        message.etag = etag or current.etag
        message.thresholds.update(current.thresholds)
        for algorithm, value in map(_parse_threshold, thresholds):
            if value is None:
                message.thresholds.pop(algorithm, None)
            else:
                message.thresholds[algorithm] = value
        fields["thresholds"] = thresholds
    request = banks_pb2.UpdateBankRequest(bank=message, context=context)
    request.update_mask.paths.extend(fields)
    show_bank(client.banks.UpdateBank(request), as_json)


@bank.command(epilog='Example: featsvc bank delete partner-a --reason "the contract ended"')
@bank_argument
@yes_option
@reason_option
@remote_command
def delete(
    client: Client, bank_id: str, yes: bool, context: banks_pb2.ChangeContext, as_json: bool
) -> None:
    """Delete a bank and withdraw its entries; its history stays."""
    current = get_bank(client, bank_id)
    confirm(
        f"This deletes bank {bank_id} and withdraws its {count_entries(current.entry_count)}.", yes
    )
    request = banks_pb2.DeleteBankRequest(
        name=current.name, etag=current.etag, force=True, context=context
    )
    deleted = client.banks.DeleteBank(request)
    if as_json:
        output.json_line({"bank": bank_id, **message_json(deleted)})
    else:
        withdrawn = count_entries(deleted.withdrawn_entries)
        echo(f"deleted, {withdrawn} withdrawn, revision {deleted.revision}")


for _command in (
    *(import_file, export, entries, find, add, withdraw, quarantine, log, diff, rollback),
    *(overlap, evaluate, noisy, edit, restore, decisions, copy_store, recount),
):
    bank.add_command(_command)
