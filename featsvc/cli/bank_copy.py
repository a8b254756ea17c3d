"""`featsvc bank copy-store`: the whole store into another database. It calls no service."""

import time
from typing import TYPE_CHECKING

import click
from rich.progress import Progress, TaskID

from featsvc.cli import output
from featsvc.cli.words import counted, echo

if TYPE_CHECKING:
    from featsvc.banks.moving.store_copy import CopyProgress, StoreCopy


@click.command(
    "copy-store",
    epilog="Example: featsvc bank copy-store --from sqlite:////var/lib/featsvc/banks.db "
    "--to postgresql+psycopg://featsvc@db/featsvc",
)
@click.option(
    "--from", "source_url", metavar="URL", required=True, help="The store, as in banks.url."
)
@click.option(
    "--to",
    "target_url",
    metavar="URL",
    required=True,
    help="An empty database, or one with an unfinished copy of the same store.",
)
@click.option(
    "--restart", is_flag=True, help="Remove an unfinished copy from --to, and begin anew."
)
@output.json_option
def copy_store(source_url: str, target_url: str, restart: bool, as_json: bool) -> None:
    """Copy the whole store, with its history, into another database, and verify it.

    Both databases are SQLite or PostgreSQL; no service is called, and --from is only read. The copy
    is the store at its newest revision when the command starts: stop whatever writes to it first.

    A copy that is interrupted goes on when the command is run again. No service takes an unfinished
    one for a store. At the end all rows are read back and compared; if any differs the exit code
    is 1, and the copy stays unfinished.
    """
    # Imported late: the other commands for banks need no database.
    from featsvc.banks.moving import store_copy  # noqa: PLC0415

    started = time.monotonic()
    try:
        with output.progress() as bar:
            shown = _Shown(bar, bar.add_task("reading the store", total=None, rate=""))
            done = store_copy.copy_store(
                source_url, target_url, restart=restart, on_progress=shown.update
            )
    except KeyboardInterrupt:
        echo(
            "what is copied is kept in --to, as an unfinished copy: run the same command again to "
            "finish it",
            err=True,
        )
        raise
    seconds = time.monotonic() - started
    if as_json:
        output.json_line(_as_json(done, seconds))
    else:
        _print(done, seconds)
    if done.differences:
        raise click.ClickException(
            f"the copy differs from its source, first at: {'; '.join(done.differences)}. It is "
            "left unfinished; run the same command with --restart, and check the disk if it "
            "happens again"
        )


class _Shown:
    """The bar of a copy: each phase fills it once."""

    def __init__(self, bar: Progress, task: TaskID) -> None:
        self._bar = bar
        self._task = task
        self._phase = ""
        self._started, self._first = 0.0, 0

    def update(self, now: "CopyProgress") -> None:
        if now.phase != self._phase:
            self._phase, self._started, self._first = now.phase, time.monotonic(), now.done
        seconds = max(time.monotonic() - self._started, 0.001)
        rows = f"{counted(now.done, 'row')}, {(now.done - self._first) / seconds:,.0f}/s"
        self._bar.update(
            self._task,
            description=f"{now.phase} {now.table}".strip(),
            completed=now.done,
            total=now.total,
            rate=rows if now.table else "",
        )


def _as_json(done: "StoreCopy", seconds: float) -> dict[str, object]:
    return {
        "revision": done.revision,
        "verified": not done.differences,
        "resumed": done.resumed,
        "tables": {
            check.table: {
                "rows": check.rows,
                "checksum": check.checksum,
                "difference": check.difference,
            }
            for check in done.tables
        },
        "seconds": round(seconds, 3),
    }


def _print(done: "StoreCopy", seconds: float) -> None:
    output.table(
        ("table", "rows", "checksum", "compared"),
        [
            (check.table, check.rows, check.checksum, "differs" if check.difference else "equal")
            for check in done.tables
        ],
    )
    if not done.differences:
        rows = counted(sum(check.rows for check in done.tables), "row")
        resumed = ", an earlier copy resumed" if done.resumed else ""
        echo(f"revision {done.revision}: {rows} in {seconds:.1f} s, all equal{resumed}")
