"""`featsvc bank add`: signals, pictures and texts become entries."""

import os
import sys
from collections.abc import Iterable, Iterator
from datetime import datetime
from pathlib import Path

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2, types_pb2

from featsvc.cli import output
from featsvc.cli.curating import (
    bank_argument,
    bank_name,
    count_entries,
    reason_option,
    show_entries,
)
from featsvc.cli.inputs import (
    MAX_REQUEST_BYTES,
    STDIN,
    parse_signal,
    printable,
    read_file,
    read_text,
    text_options,
)
from featsvc.cli.listing import call_each
from featsvc.cli.messages import last_part, message_json
from featsvc.cli.remote import remote_command
from featsvc.cli.words import counted, echo

_MAX_REQUEST_ENTRIES = 1000
_LOG_PAGE = 100


@click.command(epilog="Example: featsvc bank add partner-a picture.jpg --label urgent")
@bank_argument
@click.argument("things", nargs=-1, metavar="[ALGORITHM:HEX|FILE]...")
@text_options(multiple=True)
@click.option(
    "--external-id", metavar="ID", default="", help="The source's id. Default: the file's name."
)
@click.option("--label", "labels", metavar="LABEL", multiple=True, help="A label. Repeatable.")
@click.option("--source", metavar="NAME", default="", help="Where the content comes from.")
@click.option(
    "--opinion",
    type=click.Choice(["positive", "negative", "disputed"]),
    help="What the source thinks of the content.",
)
@click.option("--note", default="", help="A note for other curators.")
@click.option(
    "--variants/--no-variants",
    default=True,
    show_default=True,
    help="Store crops and tilts of a picture too, to find cut copies.",
)
@click.option(
    "--expires",
    metavar="YYYY-MM-DD",
    type=click.DateTime(["%Y-%m-%d"]),
    help="When the entry stops matching.",
)
@click.option(
    "--vector",
    "models",
    multiple=True,
    metavar="MODEL@VERSION",
    help="Store this model's vector of each picture too. Repeatable.",
)
@click.option(
    "--allow-replaced",
    is_flag=True,
    help="Let other content replace an entry of the same external id.",
)
@reason_option
@remote_command
def add(
    client: Client,
    bank_id: str,
    things: tuple[str, ...],
    text: tuple[str, ...],
    text_file: tuple[str, ...],
    external_id: str,
    labels: tuple[str, ...],
    source: str,
    opinion: str | None,
    note: str,
    variants: bool,
    expires: datetime | None,
    models: tuple[str, ...],
    allow_replaced: bool,
    context: banks_pb2.ChangeContext,
    as_json: bool,
) -> None:
    """Add signals, pictures or texts to a bank.

    Each becomes an entry. The service hashes pictures and texts and keeps their hashes and vectors
    only.
    """
    count = len(things) + len(text) + len(text_file)
    if not count:
        raise click.UsageError("nothing to add: give a signal, a file, --text or --text-file")
    if external_id and count > 1:
        raise click.UsageError("--external-id is for one entry: give one signal, file or text")
    _check_names([*(thing for thing in things if os.path.isfile(thing)), *text_file])
    template = banks_pb2.Entry(
        external_id=external_id,
        labels=labels,
        source=source,
        note=note,
        opinion=f"OPINION_{opinion.upper()}" if opinion else None,
    )
    if expires:
        template.expire_time.FromDatetime(expires)
    added: list[banks_pb2.Entry] = []
    for request in _add_requests(_additions(things, text, text_file), template):
        request.parent = bank_name(bank_id)
        request.entry_variants = variants
        request.vector_models.extend(models)
        request.context.CopyFrom(context)
        request.allow_replaced = allow_replaced
        answer = client.banks.AddEntries(request)
        _warn_of_replaced(client, answer)
        _warn_of_unstable(request, answer)
        added += answer.entries
    if as_json:
        output.json_lines(map(message_json, added))
        return
    show_entries(added)
    echo(f"{count_entries(len(added))} in {bank_id}")
    for entry in added:
        if {s.algorithm for s in entry.signals} == {"text_sha256"}:
            name = entry.external_id or last_part(entry.name)
            echo(f"{name}: too short to be found in another text, or when it is edited", err=True)


def _check_names(paths: Iterable[str]) -> None:
    """Raise ClickException for two files of one name, whose signals would become one entry."""
    known: dict[str, str] = {}
    for path in paths:
        first = known.setdefault(Path(path).name, path)
        if path != STDIN and os.path.realpath(path) != os.path.realpath(first):
            raise click.ClickException(
                f"{printable(first)} and {printable(path)} have the same name, which would be the "
                "external id of both; nothing was added. Add each by itself with --external-id"
            )


_Addition = tuple[banks_pb2.Entry, types_pb2.Content]
"""An entry, and the content that the service hashes into it; not set for a signal."""


def _additions(
    things: Iterable[str], texts: Iterable[str] = (), text_files: Iterable[str] = ()
) -> Iterator[_Addition]:
    """Read what to add, one after another. Raises ClickException."""
    for thing in things:
        # Unlike Path.is_file, it is False for a name that is too long: the hex of a vector.
        if os.path.isfile(thing):
            data = read_file(Path(thing))
            if not data:
                raise click.ClickException(f"{thing}: the file is empty")
            yield (
                banks_pb2.Entry(external_id=printable(Path(thing).name)),
                types_pb2.Content(data=data),
            )
        elif ":" in thing:
            signal = parse_signal(thing, "ALGORITHM:HEX")
            entry = banks_pb2.Entry()
            entry.signals.add(algorithm=signal.algorithm, value=signal.value)
            yield entry, types_pb2.Content()
        else:
            raise click.ClickException(
                f"{thing}: neither a file nor ALGORITHM:HEX, such as pdq:f8f8f0..."
            )
    for text in texts:
        yield banks_pb2.Entry(), types_pb2.Content(text=text)
    for path in text_files:
        name = "" if path == STDIN else printable(Path(path).name)
        yield banks_pb2.Entry(external_id=name), types_pb2.Content(text=read_text(path))


def _add_requests(
    additions: Iterable[_Addition], template: banks_pb2.Entry
) -> Iterator[banks_pb2.AddEntriesRequest]:
    """Yield as few requests as their limits allow: each is one revision."""
    request = banks_pb2.AddEntriesRequest()
    size = 0
    for entry, content in additions:
        size += content.ByteSize()
        if size > MAX_REQUEST_BYTES or len(request.entries) == _MAX_REQUEST_ENTRIES:
            yield request
            request = banks_pb2.AddEntriesRequest()
            size = content.ByteSize()
        entry.MergeFrom(template)
        request.entries.append(entry)
        request.contents.append(content)
    yield request


def _warn_of_unstable(
    request: banks_pb2.AddEntriesRequest, added: banks_pb2.AddEntriesResponse
) -> None:
    """Name the pictures whose PDQ finds no copy that was saved anew."""
    for index, entry in enumerate(request.entries):
        if index in added.unstable_contents:
            echo(
                f"{entry.external_id or f'picture {index + 1}'}: its pdq is UNSTABLE, as of "
                "pictures that are their own mirror image or have few shades: it finds exact "
                "copies, but no copy that was saved anew",
                err=True,
            )


def _warn_of_replaced(client: Client, added: banks_pb2.AddEntriesResponse) -> None:
    """Name the entries that held other signals before: what had those no longer matches."""
    written = [entry for entry in added.entries if entry.added_revision == added.revision]
    if not written:
        return
    bank = written[0].name.rpartition("/entries/")[0]
    log = banks_pb2.ListRevisionsRequest(parent=bank, page_size=_LOG_PAGE)
    found = [r for r in client.banks.ListRevisions(log).revisions if r.revision == added.revision]
    if found and not found[0].changed_entries:
        return
    # A new entry is as old as its revision.
    began = found[0].commit_time.ToNanoseconds() if found else sys.maxsize
    changed = [e for e in written if e.external_id and e.create_time.ToNanoseconds() < began]
    before = [
        banks_pb2.ListEntriesRequest(
            parent=bank, external_id=entry.external_id, revision=added.revision - 1
        )
        for entry in changed
    ]
    for entry, held in zip(changed, call_each(client.banks.ListEntries, before), strict=True):
        lost = {
            (signal.algorithm, signal.value)
            for old in held.entries
            if old.name == entry.name
            for signal in old.signals
        } - {(signal.algorithm, signal.value) for signal in entry.signals}
        if lost:
            no_longer = "no longer matches" if len(lost) == 1 else "no longer match"
            echo(
                f"{entry.external_id}: replaced the entry of this name; "
                f"{counted(len(lost), 'signal')} of it {no_longer}. If it is other "
                "content, add it with its own --external-id, and the earlier content again",
                err=True,
            )
