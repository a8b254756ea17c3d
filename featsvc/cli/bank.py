"""`featsvc bank`: what a curator does, over gRPC."""

import getpass
import os
import time
from collections.abc import Iterator
from pathlib import Path

import click
from rich.progress import Progress, TaskID

from featsvc.cli import output
from featsvc.cli.remote import connect, json_option, server_option
from featsvc.v1 import banks_pb2, types_pb2

CHUNK_BYTES = 2**18
_PAGE = 1000


@click.group()
def bank() -> None:
    """Curate banks: lists of known content."""


def _reason_option(command: click.decorators.FC) -> click.decorators.FC:
    return click.option("--reason", default="", help="Why, for the log.")(command)


def _context(reason: str) -> banks_pb2.ChangeContext:
    return banks_pb2.ChangeContext(actor=_actor(), reason=reason)


def _actor() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return f"uid {os.getuid()}"


@bank.command()
@click.argument("bank_id", metavar="BANK")
@click.option("--description", default="", help="What the list is.")
@click.option(
    "--mode",
    type=click.Choice(["enforce", "shadow", "off"]),
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
@_reason_option
@server_option
@json_option
def create(
    bank_id: str,
    description: str,
    mode: str,
    safe: bool,
    thresholds: tuple[str, ...],
    reason: str,
    server: str,
    as_json: bool,
) -> None:
    """Create BANK: 1 to 64 of a-z, 0-9, "_", "-"."""
    message = banks_pb2.Bank(
        description=description,
        mode=f"BANK_MODE_{mode.upper()}",
        safe=safe,
        thresholds=dict(_threshold(text) for text in thresholds),
    )
    with connect(server) as client:
        made = client.banks.CreateBank(
            banks_pb2.CreateBankRequest(bank_id=bank_id, bank=message, context=_context(reason))
        )
    _show(made, as_json)


@bank.command("list")
@server_option
@json_option
def list_banks(server: str, as_json: bool) -> None:
    """List every bank."""
    found: list[banks_pb2.Bank] = []
    with connect(server) as client:
        token = ""
        while True:
            page = client.banks.ListBanks(
                banks_pb2.ListBanksRequest(page_size=_PAGE, page_token=token)
            )
            found += page.banks
            token = page.next_page_token
            if not token:
                break
    if as_json:
        for message in found:
            output.json_line(_bank_json(message))
    else:
        output.table(
            ("bank", "mode", "safe", "entries", "signals", "revision", "description"),
            (
                (
                    _id(m.name),
                    _mode(m),
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
@click.argument("bank_id", metavar="BANK")
@server_option
@json_option
def show(bank_id: str, server: str, as_json: bool) -> None:
    """Show one bank: mode, thresholds, counts, revision."""
    with connect(server) as client:
        found = client.banks.GetBank(banks_pb2.GetBankRequest(name=f"banks/{bank_id}"))
    _show(found, as_json)


@bank.command()
@click.argument("bank_id", metavar="BANK")
@click.option(
    "--limit", type=click.IntRange(min=1), default=100, show_default=True, help="At most so many."
)
@server_option
@json_option
def entries(bank_id: str, limit: int, server: str, as_json: bool) -> None:
    """List the live entries of a bank."""
    found: list[banks_pb2.Entry] = []
    total = 0
    with connect(server) as client:
        token = ""
        while len(found) < limit:
            page = client.banks.ListEntries(
                banks_pb2.ListEntriesRequest(
                    parent=f"banks/{bank_id}",
                    page_size=min(_PAGE, limit - len(found)),
                    page_token=token,
                )
            )
            found += page.entries
            total = page.total_entries
            token = page.next_page_token
            if not token:
                break
    if as_json:
        for message in found:
            output.json_line(_entry_json(message))
        return
    output.table(
        ("entry", "external id", "signals", "labels", "source"),
        (
            (
                _id(m.name),
                m.external_id,
                "\n".join(f"{s.algorithm}:{s.value}" for s in m.signals),
                ", ".join(m.labels),
                m.source,
            )
            for m in found
        ),
    )
    click.echo(f"{len(found)} of {total} entries")


@bank.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bank", "-b", "bank_id", required=True, metavar="BANK", help="Where it goes.")
@click.option("--format", "file_format", default="", help="Default: told by the content.")
@click.option("--source", default="", help="Where the list comes from.")
@click.option("--label", "labels", multiple=True, help="A label for every entry. Repeatable.")
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@click.option("--skip-bad", is_flag=True, help="Import the good rows although some are bad.")
@_reason_option
@server_option
@json_option
def import_file(
    file: Path,
    bank_id: str,
    file_format: str,
    source: str,
    labels: tuple[str, ...],
    dry_run: bool,
    skip_bad: bool,
    reason: str,
    server: str,
    as_json: bool,
) -> None:
    """Import a list into a bank: all of it as one revision, or nothing.

    Bad rows are named with their line; unless --skip-bad is given nothing is imported then,
    and the exit code is 1.
    """
    options = banks_pb2.ImportOptions(
        parent=f"banks/{bank_id}",
        format=file_format,
        source=source,
        labels=labels,
        dry_run=dry_run,
        skip_bad=skip_bad,
        file_name=file.name,
        file_bytes=file.stat().st_size,
        context=_context(reason),
    )
    result = banks_pb2.ImportEntriesResponse()
    with connect(server) as client, output.progress() as bar:
        task = bar.add_task(f"importing {file.name}", total=options.file_bytes, rate="")
        started = time.monotonic()
        for result in client.banks.ImportEntries(_requests(options, file)):
            _advance(bar, task, result, time.monotonic() - started)
    summary = result.summary
    for bad in summary.bad:
        where = f"{file}:{bad.line}" + (f" {bad.column}" if bad.column else "")
        click.echo(f"{where}: {bad.reason}", err=True)
    refused = bool(summary.bad_rows) and not skip_bad and not dry_run
    counts = {
        field.name: getattr(summary, field.name)
        for field in summary.DESCRIPTOR.fields
        if field.name != "bad"
    }
    if as_json:
        output.json_line(
            {
                "file": str(file),
                "bank": bank_id,
                "format": result.format,
                "sha256": result.sha256,
                "revision": result.revision,
                "dry_run": dry_run,
                "imported": not (refused or dry_run),
                **counts,
                "bad": [
                    {"line": b.line, "column": b.column, "reason": b.reason} for b in summary.bad
                ],
            }
        )
    elif not refused:
        _print_import(counts, result.revision, dry_run)
    if refused:
        raise click.ClickException(
            f"{summary.bad_rows} bad rows, nothing was imported; mend them or pass --skip-bad"
        )


def _requests(
    options: banks_pb2.ImportOptions, file: Path
) -> Iterator[banks_pb2.ImportEntriesRequest]:
    yield banks_pb2.ImportEntriesRequest(options=options)
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield banks_pb2.ImportEntriesRequest(chunk=chunk)


def _advance(
    bar: Progress, task: TaskID, message: banks_pb2.ImportEntriesResponse, seconds: float
) -> None:
    rate = f"{message.rows_read:,} rows"
    if seconds > 0:
        rate += f", {message.rows_read / seconds:,.0f}/s"
    bar.update(task, completed=message.bytes_read, rate=rate)


def _print_import(counts: dict[str, int], revision: int, dry_run: bool) -> None:
    shown = ", ".join(
        f"{count:,} {name.replace('_', ' ')}" for name, count in counts.items() if count
    )
    click.echo(shown or "the file holds no rows")
    if dry_run:
        click.echo("dry run: nothing was changed")
    else:
        click.echo(f"committed as revision {revision}" if revision else "nothing to change")


def _threshold(text: str) -> tuple[str, float]:
    algorithm, equals, value = text.partition("=")
    try:
        if not equals:
            raise ValueError(text)
        return algorithm, float(value)
    except ValueError as exc:
        raise click.BadParameter(f"{text!r} is not ALGORITHM=N", param_hint="--threshold") from exc


def _id(name: str) -> str:
    return name.rpartition("/")[2]


def _mode(message: banks_pb2.Bank) -> str:
    return types_pb2.BankMode.Name(message.mode).removeprefix("BANK_MODE_")


def _bank_json(message: banks_pb2.Bank) -> dict[str, object]:
    return {
        "bank": _id(message.name),
        "mode": _mode(message),
        "safe": message.safe,
        "description": message.description,
        "thresholds": dict(message.thresholds),
        "entries": message.entry_count,
        "signals": dict(message.signal_counts),
        "revision": message.revision,
        "etag": message.etag,
    }


def _show(message: banks_pb2.Bank, as_json: bool) -> None:
    values = _bank_json(message)
    if as_json:
        output.json_line(values)
        return
    for name, value in values.items():
        pairs = isinstance(value, dict) and ", ".join(f"{k} {v:g}" for k, v in value.items())
        click.echo(f"{name:<12} {value if pairs is False else pairs}")


def _entry_json(message: banks_pb2.Entry) -> dict[str, object]:
    return {
        "bank": message.name.split("/")[1],
        "entry_id": _id(message.name),
        "external_id": message.external_id,
        "signals": [
            {"algorithm": s.algorithm, "signal": s.value, "variant": s.variant}
            for s in message.signals
        ],
        "labels": list(message.labels),
        "source": message.source,
        "added_revision": message.added_revision,
    }
