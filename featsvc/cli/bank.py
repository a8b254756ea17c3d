"""`featsvc bank`: what a curator does, over gRPC. Banks themselves here, the rest beside it."""

import click
from featsvc_client.v1 import banks_pb2

from featsvc.cli import output
from featsvc.cli.bank_entries import add, entries, find, quarantine, withdraw
from featsvc.cli.bank_history import diff, log, rollback
from featsvc.cli.bank_lists import export, import_file
from featsvc.cli.bank_tuning import evaluate, noisy, overlap
from featsvc.cli.curating import (
    all_banks,
    ask,
    bank_argument,
    bank_json,
    bank_name,
    change_context,
    get_bank,
    last_part,
    mode_name,
    reason_option,
    show_bank,
    variant_names,
    variants_option,
    yes_option,
)
from featsvc.cli.remote import connect, json_option, server_option

MODES = click.Choice(["enforce", "shadow", "off"])


@click.group()
def bank() -> None:
    """Curate banks: lists of known content."""


@bank.command()
@bank_argument
@click.option("--description", default="", help="What the list is.")
@click.option(
    "--mode",
    type=MODES,
    default="enforce",
    show_default=True,
    help="Act on matches, only watch them, or never search.",
)
@click.option("--safe", is_flag=True, help="A safe list: its matches suppress the others.")
@click.option(
    "--threshold",
    "thresholds",
    metavar="ALGORITHM=N",
    multiple=True,
    help="Distance that still matches, instead of the algorithm's default. Repeatable.",
)
@variants_option
@reason_option
@server_option
@json_option
def create(
    bank_id: str,
    description: str,
    mode: str,
    safe: bool,
    thresholds: tuple[str, ...],
    variants: str | None,
    reason: str,
    server: str,
    as_json: bool,
) -> None:
    """Create BANK: 1 to 64 of a-z, 0-9, "_", "-"."""
    message = banks_pb2.Bank(
        description=description,
        mode=f"BANK_MODE_{mode.upper()}",
        safe=safe,
        thresholds={k: v for k, v in map(_threshold, thresholds) if v is not None},
        query_variants=variant_names(variants or "default"),
    )
    with connect(server) as client:
        made = client.banks.CreateBank(
            banks_pb2.CreateBankRequest(
                bank_id=bank_id, bank=message, context=change_context(reason)
            )
        )
    show_bank(made, as_json)


@bank.command("list")
@server_option
@json_option
def list_banks(server: str, as_json: bool) -> None:
    """List every bank."""
    with connect(server) as client:
        found = list(all_banks(client))
    if as_json:
        for message in found:
            output.json_line(bank_json(message))
        return
    output.table(
        ("bank", "mode", "safe", "entries", "signals", "revision", "description"),
        (
            (
                last_part(m.name),
                mode_name(m),
                "yes" if m.safe else "",
                m.entry_count,
                m.signal_count,
                m.revision,
                m.description,
            )
            for m in found
        ),
    )


@bank.command()
@bank_argument
@server_option
@json_option
def show(bank_id: str, server: str, as_json: bool) -> None:
    """Show one bank: mode, thresholds, variants, counts, revision."""
    with connect(server) as client:
        found = get_bank(client, bank_id)
    show_bank(found, as_json)


@bank.command("set")
@bank_argument
@click.option("--description", help="What the list is.")
@click.option("--mode", type=MODES, help="Act on matches, only watch them, or never search.")
@click.option("--safe/--not-safe", default=None, help="Whether it is a safe list.")
@click.option(
    "--threshold",
    "thresholds",
    metavar="ALGORITHM=N",
    multiple=True,
    help="Distance that still matches; ALGORITHM=default for the algorithm's own. Repeatable.",
)
@variants_option
@click.option("--etag", default="", help="Refuse where the settings changed since it was shown.")
@reason_option
@server_option
@json_option
def set_bank(
    bank_id: str,
    description: str | None,
    mode: str | None,
    safe: bool | None,
    thresholds: tuple[str, ...],
    variants: str | None,
    etag: str,
    reason: str,
    server: str,
    as_json: bool,
) -> None:
    """Change what is given of BANK's settings, and nothing else."""
    message = banks_pb2.Bank(name=bank_name(bank_id), etag=etag)
    paths = []
    if description is not None:
        message.description = description
        paths.append("description")
    if mode is not None:
        message.mode = banks_pb2.Bank(mode=f"BANK_MODE_{mode.upper()}").mode
        paths.append("mode")
    if safe is not None:
        message.safe = safe
        paths.append("safe")
    if variants is not None:
        message.query_variants.extend(variant_names(variants))
        paths.append("query_variants")
    with connect(server) as client:
        if thresholds:
            # Read, change, write back: the etag refuses it where another curator was faster.
            now = get_bank(client, bank_id)
            message.etag = etag or now.etag
            message.thresholds.update(now.thresholds)
            for algorithm, value in map(_threshold, thresholds):
                if value is None:
                    message.thresholds.pop(algorithm, None)
                else:
                    message.thresholds[algorithm] = value
            paths.append("thresholds")
        if not paths:
            raise click.UsageError("nothing to change; see --help")
        request = banks_pb2.UpdateBankRequest(bank=message, context=change_context(reason))
        request.update_mask.paths.extend(paths)
        changed = client.banks.UpdateBank(request)
    show_bank(changed, as_json)


@bank.command()
@bank_argument
@yes_option
@reason_option
@server_option
@json_option
def delete(bank_id: str, yes: bool, reason: str, server: str, as_json: bool) -> None:
    """Delete BANK and withdraw its entries; its history stays."""
    with connect(server) as client:
        now = get_bank(client, bank_id)
        ask(f"This deletes bank {bank_id} and withdraws its {now.entry_count:,} entries.", yes)
        done = client.banks.DeleteBank(
            banks_pb2.DeleteBankRequest(
                name=now.name, etag=now.etag, force=True, context=change_context(reason)
            )
        )
    if as_json:
        output.json_line(
            {"bank": bank_id, "withdrawn": done.withdrawn_entries, "revision": done.revision}
        )
    else:
        click.echo(
            f"deleted, {done.withdrawn_entries:,} entries withdrawn, revision {done.revision}"
        )


def _threshold(text: str) -> tuple[str, float | None]:
    algorithm, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError(text)
        return algorithm, None if value == "default" else float(value)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is not ALGORITHM=N", param_hint="--threshold") from exc


for _command in (
    *(import_file, export, entries, find, add, withdraw, quarantine, log, diff, rollback),
    *(overlap, evaluate, noisy),
):
    bank.add_command(_command)
