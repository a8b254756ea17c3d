"""`featsvc bank import` and `featsvc bank export`: whole lists in and out."""

import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2
from rich.progress import Progress, TaskID

from featsvc.cli import output
from featsvc.cli.curating import (
    ask,
    bank_argument,
    bank_name,
    change_context,
    get_bank,
    reason_option,
    yes_option,
)
from featsvc.cli.remote import connect, json_option, server_option

CHUNK_BYTES = 2**18
_SHOWN_BAD_ROWS = 20
_RATE_ROWS = 10_000
"""Below, the rate says nothing."""
_NOT_COUNTS = ("bad",)


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--bank", "-b", "bank_id", required=True, metavar="BANK", help="Where it goes.")
@click.option("--format", "file_format", default="", help="Default: told by the content.")
@click.option("--source", default="", help="Where the list comes from.")
@click.option("--label", "labels", multiple=True, help="A label for every entry. Repeatable.")
@click.option("--dry-run", is_flag=True, help="Say what would change, change nothing.")
@click.option("--skip-bad", is_flag=True, help="Import the good rows although some are bad.")
@click.option("--replace", is_flag=True, help="Withdraw what the file does not hold.")
@yes_option
@reason_option
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
    replace: bool,
    yes: bool,
    reason: str,
    server: str,
    as_json: bool,
) -> None:
    """Import a list into a bank: all of it as one revision, or nothing.

    Bad rows are written to FILE.rejected.jsonl, and the first of them named; unless --skip-bad
    is given nothing is imported then, and the exit code is 1. With --replace the change is shown
    first.
    """
    options = banks_pb2.ImportOptions(
        parent=bank_name(bank_id),
        format=file_format,
        source=source,
        labels=labels,
        dry_run=dry_run,
        skip_bad=skip_bad,
        replace=replace,
        file_name=file.name,
        file_bytes=file.stat().st_size,
        context=change_context(reason),
    )
    with connect(server) as client, _Rejected(file) as rejected:
        if replace and not (dry_run or yes):
            preview = banks_pb2.ImportOptions()
            preview.CopyFrom(options)
            preview.dry_run = True
            # What was shown must be what is done.
            options.etag = get_bank(client, bank_id).etag
            would = _import(client, preview, file, _Rejected(None)).message.summary
            if would.withdrawn_entries:
                ask(
                    f"This withdraws {would.withdrawn_entries:,} entries of {bank_id} that are not "
                    f"in {file.name}; {would.new_entries:,} are new, {would.changed_entries:,} "
                    "changed.",
                    yes,
                )
        result, seconds = _import(client, options, file, rejected)
    refused = bool(result.summary.bad_rows) and not skip_bad
    if as_json:
        values = _result_json(file, bank_id, result, dry_run, refused, rejected.path)
        output.json_line({**values, "seconds": round(seconds, 3), "served": result.served})
    elif not refused:
        _print_import(result, seconds, dry_run)
    if rejected.count and rejected.path:
        click.echo(f"{rejected.count:,} bad rows are in {rejected.path}", err=True)
    if refused:
        raise click.ClickException(
            f"{result.summary.bad_rows:,} bad rows, nothing was imported; mend them or pass "
            "--skip-bad"
        )


class _Rejected:
    """Bad rows as they arrive: the first few to stderr, all of them to FILE.rejected.jsonl."""

    def __init__(self, file: Path | None) -> None:
        self._file = file
        self.path = None if file is None else file.with_name(f"{file.name}.rejected.jsonl")
        """None where nothing is written."""
        self.count = 0

    def __enter__(self) -> "_Rejected":
        if self.path is not None:
            # What an earlier import left there would be taken for this one's.
            with self._told(self.path):
                self.path.unlink(missing_ok=True)
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def take(self, rows: list[banks_pb2.BadRow]) -> None:
        if not rows or self._file is None:
            return
        for bad in rows[: max(0, _SHOWN_BAD_ROWS - self.count)]:
            column = f" {bad.column}" if bad.column else ""
            reason = bad.reason.removeprefix(f"{bad.column}: ")
            click.echo(f"{self._file}:{bad.line}{column}: {reason}", err=True)
        if self.count <= _SHOWN_BAD_ROWS < self.count + len(rows):
            click.echo("...", err=True)
        self.count += len(rows)
        if self.path is not None:
            with self._told(self.path), self.path.open("a", encoding="utf-8") as out:
                for bad in rows:
                    out.write(json.dumps({"file": str(self._file), **_bad_json(bad)}) + "\n")

    @contextmanager
    def _told(self, path: Path) -> Iterator[None]:
        """A folder that cannot be written to is said once, and holds no import up."""
        try:
            yield
        except OSError as exc:
            self.path = None
            click.echo(f"{path}: cannot be written: {exc.strerror}", err=True)


def _bad_json(bad: banks_pb2.BadRow) -> dict[str, object]:
    return {"line": bad.line, "column": bad.column, "reason": bad.reason, "row": bad.row}


class _Result(NamedTuple):
    """The last message, and the seconds until the import was acknowledged."""

    message: banks_pb2.ImportEntriesResponse
    seconds: float


def _import(
    client: Client, options: banks_pb2.ImportOptions, file: Path, rejected: _Rejected
) -> _Result:
    message = banks_pb2.ImportEntriesResponse()
    seconds = 0.0
    what = "looking at" if options.dry_run else "importing"
    with output.progress() as bar:
        task = bar.add_task(f"{what} {file.name}", total=options.file_bytes, rate="")
        started = time.monotonic()
        for message in client.banks.ImportEntries(_requests(options, file)):
            rejected.take(list(message.bad))
            seconds = seconds or (time.monotonic() - started) * message.HasField("summary")
            _advance(bar, task, message, time.monotonic() - started, options.file_bytes)
    return _Result(message, seconds)


def _requests(
    options: banks_pb2.ImportOptions, file: Path
) -> Iterator[banks_pb2.ImportEntriesRequest]:
    yield banks_pb2.ImportEntriesRequest(options=options)
    with file.open("rb") as stream:
        while chunk := stream.read(CHUNK_BYTES):
            yield banks_pb2.ImportEntriesRequest(chunk=chunk)


def _advance(
    bar: Progress,
    task: TaskID,
    message: banks_pb2.ImportEntriesResponse,
    seconds: float,
    file_bytes: int,
) -> None:
    rate = f"{message.rows_read:,} rows, {message.rows_read / max(seconds, 0.001):,.0f}/s"
    bar.update(task, completed=message.bytes_read, rate=rate)
    if message.HasField("summary"):
        bar.update(task, description="committed; until it is served", rate="")
    elif message.bytes_read == file_bytes:
        # How long that takes is not known: the bar only moves.
        bar.tasks[0].total = None
        bar.update(task, description="saving", rate=f"{message.rows_read:,} rows")


def _counts(summary: banks_pb2.ImportSummary) -> dict[str, int]:
    names = (field.name for field in summary.DESCRIPTOR.fields if field.name not in _NOT_COUNTS)
    return {name: getattr(summary, name) for name in names}


def _result_json(
    file: Path,
    bank_id: str,
    result: banks_pb2.ImportEntriesResponse,
    dry_run: bool,
    refused: bool,
    rejected: Path | None,
) -> dict[str, object]:
    return {
        "file": str(file),
        "bank": bank_id,
        "format": result.format,
        "sha256": result.sha256,
        "revision": result.revision,
        "dry_run": dry_run,
        "imported": not (refused or dry_run),
        **_counts(result.summary),
        "rejected_file": str(rejected) if result.summary.bad_rows else None,
        "bad": [
            {"line": b.line, "column": b.column, "reason": b.reason} for b in result.summary.bad
        ],
    }


_WORDS = {
    "rows": "rows read",
    "new_entries": "new entries",
    "changed_entries": "changed",
    "unchanged_entries": "unchanged",
    "withdrawn_entries": "withdrawn",
    "duplicate_rows": "rows with a signal that was there before in the file",
    "bad_rows": "bad rows, left out",
    "in_other_banks": "entries that another bank holds too",
    "in_safe_lists": "entries that a SAFE list holds",
    "low_information": "signals of low information (plain pictures): expect false matches",
    "unmatchable_signals": "signals that are kept but cannot be matched",
}


def _print_import(result: banks_pb2.ImportEntriesResponse, seconds: float, dry_run: bool) -> None:
    for name, count in _counts(result.summary).items():
        if count or name == "rows":
            click.echo(f"{count:>12,} {_WORDS[name]}")
    if dry_run:
        click.echo("dry run: nothing was changed")
    elif not result.revision:
        click.echo("nothing to change")
    else:
        rows = result.summary.rows
        rate = f" ({rows / seconds:,.0f} rows/s)" if rows >= _RATE_ROWS else ""
        click.echo(f"committed as revision {result.revision} after {seconds:.1f} s{rate}")
        if not result.served:
            click.echo("it is not served yet, but will be; `featsvc match` tells when", err=True)


@click.command()
@bank_argument
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["csv", "jsonl", "tx", "pdq-text"]),
    default="csv",
    show_default=True,
    help="JSON Lines carries every field, CSV nearly every one, the others hashes only.",
)
@click.option("--output", "-o", "out_file", type=click.Path(dir_okay=False, path_type=Path),
              help="Default: standard output.")  # fmt: skip
@click.option("--revision", type=click.IntRange(min=0), default=0, help="As it was then.")
@server_option
def export(
    bank_id: str, file_format: str, out_file: Path | None, revision: int, server: str
) -> None:
    """Write BANK's live entries as a list that `import` reads."""
    request = banks_pb2.ExportEntriesRequest(
        parent=bank_name(bank_id), format=file_format, revision=revision
    )
    with connect(server) as client:
        answers = client.banks.ExportEntries(request)
        if out_file is None:
            _write(answers, sys.stdout.buffer.write)
            return
        # An export that breaks off must not pass for a whole one.
        partial = out_file.with_name(f".{out_file.name}.{os.getpid()}.part")
        try:
            with partial.open("wb") as out:
                _write(answers, out.write)
            partial.replace(out_file)
        finally:
            partial.unlink(missing_ok=True)


def _write(
    answers: Iterator[banks_pb2.ExportEntriesResponse], write: Callable[[bytes], object]
) -> None:
    for answer in answers:
        if answer.dropped_fields:
            left_out = ", ".join(answer.dropped_fields)
            click.echo(f"the format cannot carry: {left_out}", err=True)
        if answer.chunk:
            write(answer.chunk)
