"""Shared by the bank commands: options, confirmation, names, tables of entries."""

import getpass
import math
import os
import time
from collections.abc import Iterable, Mapping, Sequence

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2

from featsvc.cli import output
from featsvc.cli.listing import Listing
from featsvc.cli.messages import last_part, message_json
from featsvc.cli.words import counted, echo

bank_argument = click.argument("bank_id", metavar="BANK")
yes_option = click.option("--yes", "-y", is_flag=True, help="Do not ask for confirmation.")
dry_run_option = click.option(
    "--dry-run", is_flag=True, help="Print what would change; change nothing."
)
revision_option = click.option(
    "--revision", type=click.IntRange(min=0), default=0, metavar="R", help="As of revision R."
)


def _change_context(_: click.Context, __: click.Parameter, why: str) -> banks_pb2.ChangeContext:
    """Return who makes a change, the user of this machine, and why."""
    try:
        actor = getpass.getuser()
    except (KeyError, OSError):
        actor = f"uid {os.getuid()}"
    return banks_pb2.ChangeContext(actor=actor, reason=why)


reason_option = click.option(
    "--reason", "context", default="", callback=_change_context, help="Why; kept in the log."
)


def confirm(change: str, yes: bool) -> None:
    """Print a change, and ask for confirmation unless `yes`. Raises ClickException."""
    echo(change, err=True)
    if yes:
        return
    try:
        agreed = click.confirm("Continue?", err=True)
    except click.Abort:
        agreed = False
        echo(err=True)
    if not agreed:
        raise click.ClickException("nothing was changed; answer y, or pass --yes")


def count_entries(number: int) -> str:
    """Return `1 entry` or `1,234 entries`."""
    return counted(number, "entry")


def bank_name(bank_id: str) -> str:
    """Return `banks/{bank_id}`."""
    return f"banks/{bank_id}"


def entry_names(bank_id: str, entry_ids: Iterable[str]) -> list[str]:
    """Return `banks/{bank_id}/entries/{id}` for each id."""
    return [f"{bank_name(bank_id)}/entries/{entry_id}" for entry_id in entry_ids]


def get_bank(client: Client, bank_id: str) -> banks_pb2.Bank:
    """Return one bank."""
    bank: banks_pb2.Bank = client.banks.GetBank(banks_pb2.GetBankRequest(name=bank_name(bank_id)))
    return bank


def list_banks(client: Client, limit: int = 0) -> Listing[banks_pb2.Bank]:
    """List the first `limit` banks, 0 for all."""
    request = banks_pb2.ListBanksRequest()
    return Listing.paged(client.banks.ListBanks, request, "banks", limit)


def show_bank(bank: banks_pb2.Bank, as_json: bool) -> None:
    """Print one bank: a line for each field, or JSON."""
    values = message_json(bank)
    if as_json:
        output.json_line(values)
        return
    output.fields((name.replace("_", " "), _setting(value)) for name, value in values.items())


def _setting(value: object) -> object:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    if isinstance(value, list):
        return ", ".join(value) or "none"
    return {True: "yes", False: "no"}[value] if isinstance(value, bool) else value


def show_entries(
    entries: Iterable[banks_pb2.Entry], left: Mapping[str, Sequence[object]] | None = None
) -> None:
    """Print a table of entries. `left` has further columns by name, a value for each entry."""
    further = left or {}
    output.table(
        (*further, "entry", "external id", "signals", "labels", "source", "state"),
        (
            (
                *(values[row] for values in further.values()),
                last_part(entry.name),
                entry.external_id,
                _signals_text(entry),
                ", ".join(entry.labels),
                entry.source,
                state_of(entry),
            )
            for row, entry in enumerate(entries)
        ),
    )


def _signals_text(entry: banks_pb2.Entry) -> tuple[str, ...]:
    """Return one signal for each line; variants are only counted."""
    originals = [s for s in entry.signals if s.variant == "original"]
    # Lists of entries leave out the value of a `text` signal.
    lines = [
        f"{s.algorithm}:{output.shorten(s.value)}" if s.value else s.algorithm for s in originals
    ]
    lines += [f"{v.model}: {counted(len(v.values), 'dimension')}" for v in entry.vectors]
    if variants := len(entry.signals) - len(originals):
        lines.append(f"and {counted(variants, 'variant')}")
    return tuple(lines)


def state_of(entry: banks_pb2.Entry) -> str:
    """Return what is special about an entry: withdrawn, in quarantine, edited."""
    if entry.removed_revision:
        return f"withdrawn at {entry.removed_revision}"
    expires_s = entry.expire_time.seconds if entry.HasField("expire_time") else math.inf
    edited = set(entry.decided_fields) - {"quarantined", "withdrawn"}
    states = {
        "quarantined": entry.quarantined,
        "expired": expires_s <= time.time(),
        "edited": bool(edited),
    }
    return ", ".join(state for state, holds in states.items() if holds)
