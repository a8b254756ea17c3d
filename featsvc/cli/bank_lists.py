"""`featsvc bank import` and `featsvc bank export`: whole lists."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2
from rich.progress import Progress, TaskID

from featsvc.cli import output
from featsvc.cli.bank_changes import describe_fields
from featsvc.cli.curating import (
    bank_argument,
    bank_name,
    confirm,
    dry_run_option,
    get_bank,
    reason_option,
    revision_option,
    yes_option,
)
from featsvc.cli.import_report import describe_share, print_found, print_withdrawals
from featsvc.cli.inputs import STDIN, printable
from featsvc.cli.messages import message_json
from featsvc.cli.remote import remote_command, with_client
from featsvc.cli.words import counted, echo, plural

_CHUNK_BYTES = 2**18
_SHOWN_BAD_ROWS = 20
_MIN_RATE_ROWS = 10_000
"""A rate of fewer rows says nothing."""
_CHANGES = ("new", "changed", "unchanged", "withdrawn")
"""The beginnings of the fields of ImportSummary that count entries by what became of them."""
_NOTES = {
    "expired_entries": ("entry", "expired already: matching nothing"),
    "duplicate_rows": ("row", "with a signal that an earlier row has"),
    "bad_rows": ("bad row", "not imported"),
    "kept_withdrawn": ("entry", "kept withdrawn by local decision"),
    "unknown_withdrawals": ("withdrawn row", "naming no live entry of its source"),
    "in_other_banks": ("entry", "also in another bank"),
    "in_safe_lists": ("entry", "also in a SAFE list"),
    "low_information": (
        "signal",
        "of low information (plain pictures): expect false matches",
    ),
    "unmatchable_signals": ("signal", "stored but never matched"),
    "unstable_signals": ("unstable signal", "finding exact copies of a picture only"),
}
"""Fields of ImportSummary: what they count, and what is to be known of it."""


@click.command("import", epilog="Example: featsvc bank import list.csv --bank partner-a --dry-run")
@click.argument(
    "file", type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path)
)
@click.option("--bank", "-b", "bank_id", required=True, metavar="BANK", help="Import into BANK.")
@click.option(
    "--format",
    "file_format",
    metavar="NAME",
    default="",
    help="Format of the list. Default: detected from the content.",
)
@click.option("--source", metavar="NAME", default="", help="Where the list comes from.")
@click.option(
    "--label", "labels", metavar="LABEL", multiple=True, help="A label for every entry. Repeatable."
)
@click.option(
    "--algorithm",
    metavar="NAME",
    default="",
    help="Algorithm of bare hashes, such as sha256. Default: by their length.",
)
@click.option(
    "--map",
    "maps",
    multiple=True,
    metavar="OURS=THEIRS,...",
    help="Columns of a table, as in algorithm=type,signal=value. The bank remembers them; '' makes "
    "it forget.",
)
@click.option(
    "--ignore-column",
    "ignored_columns",
    multiple=True,
    metavar="NAME",
    help="A column that is not read. Repeatable.",
)
@dry_run_option
@click.option("--skip-bad", is_flag=True, help="Import the good rows even if some are bad.")
@click.option("--replace", is_flag=True, help="Withdraw entries that the file does not hold.")
@click.option(
    "--allow-withdraw",
    "allow_withdrawn",
    type=click.IntRange(min=0),
    metavar="N",
    help="Withdraw up to N entries. Default: 10 % of the bank's, or 100 if that is more.",
)
@click.option(
    "--allow-replaced",
    is_flag=True,
    help="Let rows with other signals replace entries of the same external id.",
)
@yes_option
@reason_option
@remote_command
def import_file(
    client: Client,
    file: Path,
    bank_id: str,
    file_format: str,
    algorithm: str,
    maps: tuple[str, ...],
    ignored_columns: tuple[str, ...],
    source: str,
    labels: tuple[str, ...],
    dry_run: bool,
    skip_bad: bool,
    replace: bool,
    allow_withdrawn: int | None,
    allow_replaced: bool,
    yes: bool,
    context: banks_pb2.ChangeContext,
    as_json: bool,
) -> None:
    """Import a list as one revision, or not at all.

    FILE is a list in any format, or what `featsvc hash --json` prints; - reads standard input.

    Bad rows are written to FILE.rejected.jsonl and the first are printed, those of standard input
    all. If there are any, nothing is imported and the exit code is 1, unless --skip-bad is given.
    With --replace the command prints the change and asks for confirmation. Neither --yes nor the
    confirmation allows to withdraw more entries than --allow-withdraw does.
    """
    piped = str(file) == STDIN
    if replace and skip_bad:
        raise click.UsageError(
            "--replace with --skip-bad would withdraw the entries of bad rows: correct the file"
        )
    if piped and replace:
        raise click.UsageError(
            "--replace needs a file: a pipe that breaks off looks like a list with fewer entries"
        )
    options = banks_pb2.ImportOptions(
        parent=bank_name(bank_id),
        format=file_format,
        source=source,
        labels=labels,
        dry_run=dry_run,
        skip_bad=skip_bad,
        replace=replace,
        file_name="" if piped else printable(file.name),
        file_bytes=0 if piped else file.stat().st_size,
        context=context,
        algorithm=algorithm,
        column_map=_column_map(maps),
        ignored_columns=ignored_columns,
        allow_withdrawn=allow_withdrawn,
        allow_replaced=allow_replaced,
    )
    rejected = _RejectedRows(file)
    if replace and not (dry_run or yes):
        preview = banks_pb2.ImportOptions()
        preview.CopyFrom(options)
        preview.dry_run = True
        # The import refuses if the bank is no longer the one that the preview saw.
        options.etag = get_bank(client, bank_id).etag
        summary = _import(client, preview, file, None)[0].summary
        # If it would be refused, the import below says so.
        if summary.withdrawn_entries and not summary.refusals:
            confirm(
                f"This withdraws {describe_share(summary)} of {bank_id}; "
                f"{summary.new_entries:,} are new, {summary.changed_entries:,} "
                f"changed{_in_brackets(describe_fields(summary.changed_fields))}.",
                yes,
            )
    result, seconds = _import(client, options, file, rejected, quiet=as_json)
    bad_rows = result.summary.bad_rows
    refused = bool(bad_rows) and not skip_bad
    if as_json:
        output.json_line(
            {
                "file": printable(file),
                "bank": bank_id,
                "dry_run": dry_run,
                "imported": not (refused or dry_run),
                **message_json(result),
                "rejected_file": printable(rejected.path) if bad_rows and rejected.path else None,
                "seconds": round(seconds, 3),
            }
        )
    elif not refused:
        _print_import(result, seconds, dry_run)
    if rejected.count and rejected.path:
        echo(f"{counted(rejected.count, 'bad row')} written to {rejected.path}", err=True)
    if refused:
        raise click.ClickException(
            f"{counted(bad_rows, 'bad row')}, so nothing was imported; correct the file, or "
            "pass --skip-bad"
        )


def _in_brackets(text: str) -> str:
    return f" ({text})" if text else ""


def _column_map(maps: Sequence[str]) -> dict[str, str]:
    """Parse the values of --map; an empty one makes the bank forget its map."""
    if maps == ("",):
        return {"": ""}
    columns: dict[str, str] = {}
    for pair in (pair for text in maps for pair in text.split(",")):
        ours, sign, theirs = (part.strip() for part in pair.partition("="))
        if not (ours and sign and theirs):
            raise click.UsageError(
                f"--map: {pair!r} is not OURS=THEIRS, as in --map algorithm=type,signal=value"
            )
        if columns.setdefault(ours, theirs) != theirs:
            raise click.UsageError(f"--map: {ours} is given twice")
    return columns


class _RejectedRows:
    """Bad rows as they arrive: the first go to stderr, all of them to FILE.rejected.jsonl."""

    def __init__(self, file: Path) -> None:
        """Remove the rows that an earlier import of the file rejected."""
        self._file = printable(file)
        self.path: Path | None = file.with_name(f"{file.name}.rejected.jsonl")
        """None for standard input, and once it could not be written."""
        self.count = 0
        self._most_shown = _SHOWN_BAD_ROWS
        if self._file == STDIN:
            # Nothing else keeps them.
            self.path, self._most_shown = None, sys.maxsize
            return
        with self._writing():
            self.path.unlink(missing_ok=True)

    def take(self, rows: Sequence[banks_pb2.BadRow]) -> None:
        """Print and write rows."""
        for bad in rows:
            self.count += 1
            if self.count <= self._most_shown:
                column = f" {bad.column}" if bad.column else ""
                reason = bad.reason.removeprefix(f"{bad.column}: ")
                echo(f"{self._file}:{bad.line}{column}: {reason}", err=True)
            elif self.count == self._most_shown + 1:
                echo("...", err=True)
        if rows and self.path is not None:
            with self._writing(), self.path.open("a", encoding="utf-8") as out:
                for bad in rows:
                    out.write(json.dumps({"file": self._file, **message_json(bad)}) + "\n")

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """Report a folder that cannot be written to once, and go on without the file."""
        try:
            yield
        except OSError as exc:
            echo(f"{self.path}: cannot be written: {exc.strerror}", err=True)
            self.path = None


def _import(
    client: Client,
    options: banks_pb2.ImportOptions,
    file: Path,
    rejected: _RejectedRows | None,
    *,
    quiet: bool = True,
) -> tuple[banks_pb2.ImportEntriesResponse, float]:
    """Return the last message, and the seconds until the import was acknowledged.

    Print what the import found before it commits, unless `quiet`.
    """
    found = quiet
    message = banks_pb2.ImportEntriesResponse()
    seconds = 0.0
    verb = "checking" if options.dry_run else "importing"
    name = "standard input" if str(file) == STDIN else file.name
    with output.progress() as bar:
        task = bar.add_task(
            output.task_name(f"{verb} {name}"), total=options.file_bytes or None, rate=""
        )
        started = time.monotonic()
        for message in client.banks.ImportEntries(_requests(options, file)):
            elapsed = time.monotonic() - started
            if rejected is not None:
                rejected.take(message.bad)
            for name in ("planned", "summary"):
                if message.HasField(name) and not found:
                    print_found(message.format, getattr(message, name))
                    found = True
            if message.HasField("summary") and not seconds:
                seconds = elapsed
            if not (message.HasField("summary") and options.dry_run):
                _advance(bar, task, message, elapsed, options.file_bytes)
    return message, seconds


def _requests(
    options: banks_pb2.ImportOptions, file: Path
) -> Iterator[banks_pb2.ImportEntriesRequest]:
    yield banks_pb2.ImportEntriesRequest(options=options)
    # Unbuffered: at exit, a thread that still waits for standard input must hold no lock of it.
    source = 0 if str(file) == STDIN else file
    with open(source, "rb", buffering=0, closefd=source != 0) as stream:
        while chunk := stream.read(_CHUNK_BYTES):
            yield banks_pb2.ImportEntriesRequest(chunk=chunk)


def _advance(
    bar: Progress,
    task: TaskID,
    message: banks_pb2.ImportEntriesResponse,
    seconds: float,
    file_bytes: int,
) -> None:
    rate = f"{counted(message.rows_read, 'row')}, {message.rows_read / max(seconds, 0.001):,.0f}/s"
    bar.update(task, completed=message.bytes_read, rate=rate)
    if message.HasField("summary"):
        bar.update(task, description="committed, waiting until it is searched", rate="")
    elif file_bytes and message.bytes_read == file_bytes:
        # A task without a total is drawn as a bar that only moves.
        bar.tasks[0].total = None
        bar.update(task, description="saving", rate=counted(message.rows_read, "row"))


def _print_import(result: banks_pb2.ImportEntriesResponse, seconds: float, dry_run: bool) -> None:
    summary = result.summary
    rate = f" ({summary.rows / seconds:,.0f} rows/s)" if summary.rows >= _MIN_RATE_ROWS else ""
    echo(f"{counted(summary.rows, 'row')} in {seconds:.1f} s{rate}: {_changes(summary)}")
    if summary.changed_entries:
        echo(f"  {describe_fields(summary.changed_fields)}")
    for name, (what, remark) in _NOTES.items():
        if count := getattr(summary, name):
            echo(f"  {counted(count, what)} {remark}")
    for kind, count in sorted(summary.left_out.items(), key=lambda item: (-item[1], item[0])):
        echo(f"  {count:,} {_of_kind(kind, count)}: not kept")
    _print_columns(result)
    print_withdrawals(summary)
    if dry_run:
        echo("dry run: nothing was changed")
    elif not result.revision:
        echo("nothing to change")
    else:
        echo(f"committed as revision {result.revision}")
        if not result.served:
            echo("the service does not search this revision yet, but will soon", err=True)


def _of_kind(kind: str, count: int) -> str:
    """Return a kind of `left_out` for a count: `3 urls`, but `3 url_md5`, a name of the list's."""
    if kind == "other kinds":
        return "others" if count > 1 else "other"
    first, blank, rest = kind.partition(" ")
    is_noun = first.isascii() and first.isalpha() and first.islower()
    return f"{plural(first)}{blank}{rest}" if is_noun and count > 1 else kind


def _changes(summary: banks_pb2.ImportSummary) -> str:
    """Return `998 new entries, 2 changed`."""
    parts: list[str] = []
    for kind in _CHANGES:
        if count := getattr(summary, f"{kind}_entries"):
            parts.append(f"{count:,} {kind}" if parts else counted(count, f"{kind} entry"))
    return ", ".join(parts) or counted(0, "entry")


def _print_columns(result: banks_pb2.ImportEntriesResponse) -> None:
    """Print how the columns of a table were read, as far as the list did not say it itself."""
    if result.column_map:
        columns = ", ".join(f"{ours} = {theirs}" for ours, theirs in result.column_map.items())
        remembered = ", as remembered from an earlier import" if result.map_remembered else ""
        echo(f"  columns: {columns}{remembered}")
    if result.unread_columns:
        echo(f"  columns not read: {', '.join(result.unread_columns)}")


@click.command(
    epilog="Example: featsvc bank export partner-a --format jsonl --output partner-a.jsonl"
)
@bank_argument
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "jsonl", "tx", "pdq-text"]),
    default="csv",
    show_default=True,
    help="JSON Lines has every field, CSV nearly every one, the others hashes only.",
)
@click.option(
    "--output",
    "-o",
    "out_file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write to FILE. Default: standard output.",
)
@revision_option
@with_client
def export(
    client: Client, bank_id: str, file_format: str, out_file: Path | None, revision: int
) -> None:
    """Write the live entries of a bank as a list.

    `featsvc bank import` reads it.
    """
    request = banks_pb2.ExportEntriesRequest(
        parent=bank_name(bank_id), format=file_format, revision=revision
    )
    answers = client.banks.ExportEntries(request)
    if out_file is None:
        _write(answers, sys.stdout.buffer.write)
        return
    # Rename at the end, so that an export that breaks off is not mistaken for a whole one.
    partial = out_file.with_name(f".{out_file.name}.{os.getpid()}.part")
    try:
        with partial.open("wb") as out:
            _write(answers, out.write)
            size = out.tell()
        partial.replace(out_file)
    finally:
        partial.unlink(missing_ok=True)
    echo(f"{bank_id} written to {out_file}: {counted(size, 'byte')}", err=True)


def _write(
    answers: Iterable[banks_pb2.ExportEntriesResponse], write: Callable[[bytes], object]
) -> None:
    for answer in answers:
        if answer.dropped_fields:
            fields = ", ".join(answer.dropped_fields)
            echo(f"left out, since the format has no place for it: {fields}", err=True)
        if answer.chunk:
            write(answer.chunk)
