"""Sending of a file of events: lines to events, events to batches, batches to the service."""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from typing import BinaryIO

import click
from featsvc_client import ServiceError
from featsvc_client.v1 import features_pb2

from featsvc.accounts.events import Event, check_event, clock_ms, parse_event_line
from featsvc.cli import output
from featsvc.cli.messages import enum_name
from featsvc.cli.words import counted, echo, visible
from featsvc.errors import InvalidInput

_BATCH_EVENTS = 500
_MAX_LINE_BYTES = 2**20
_BOM = b"\xef\xbb\xbf"
_SOURCE_BYTES = 16
_EXACT_IN_DOUBLE = 2**53
_DONE = frozenset({"APPLIED", "DUPLICATE", "TOO_LATE", "IGNORED"})
"""Statuses of events that need no further step; an unknown one may mean "not applied"."""

Send = Callable[[features_pb2.IngestEventsRequest], features_pb2.IngestEventsResponse]
Line = tuple[int, features_pb2.Event]
"""Line number, from 1, and the event on it."""


class Ingestion:
    """One run over a file. `counts` has the number of events by status, and of BAD lines.

    With `backfill` each batch names the file and its lines, and the run stops at the first batch
    that is not wholly applied. With `skip_bad` bad lines and rejected events are reported only.
    """

    def __init__(self, send: Send, file: BinaryIO, *, skip_bad: bool, backfill: bool) -> None:
        self.counts: Counter[str] = Counter()
        self._send = send
        self._file = file
        self._skip_bad = skip_bad
        self._backfill = backfill
        self._source = ""
        self._first_beyond = ""
        self._bad_line = ""  # what is wrong with the line at which reading ended
        self._unapplied = ""  # what became of the event at which a back-fill ended

    def run(self) -> None:
        """Send the events. Raises ServiceError where a call fails, after saying how far it came."""
        lines = self._lines()
        # The first line of a back-fill goes alone. It names the source: were it refused and then
        # corrected, what was applied under the old name would count again.
        size = 1 if self._backfill else _BATCH_EVENTS
        with output.progress(count=True) as bar:
            task = bar.add_task("ingesting", total=None, rate="")
            while batch := list(islice(lines, size)):
                self._send_batch(batch)
                bar.update(task, advance=len(batch))
                if self._unapplied:
                    break
                size = _BATCH_EVENTS

    def failure(self) -> click.ClickException | None:
        """Return the error to end with after `run`; None if no event needs a further step."""
        if self._unapplied:
            return click.ClickException(visible(self._unapplied))
        if beyond := self.counts["BEYOND_HORIZON"]:
            verb = "is" if beyond == 1 else "are"
            echo(
                f"{self._first_beyond}: {counted(beyond, 'event')} from here on {verb} beyond the "
                "horizon of an entity: the service no longer knows whether it counted them before, "
                "so it did not count them now; send history with --backfill",
                err=True,
            )
        if self._bad_line:
            return click.ClickException(
                f"{visible(self._bad_line)}; {self._sent()}; correct it and run again (events "
                "count once), or pass --skip-bad"
            )
        unapplied = sum(count for status, count in self.counts.items() if status not in _DONE)
        if not unapplied:
            return None
        verb = "was" if unapplied == 1 else "were"
        return click.ClickException(
            f"{counted(unapplied, 'event')} {verb} not applied; see the lines above"
        )

    def _send_batch(self, batch: list[Line]) -> None:
        request = features_pb2.IngestEventsRequest(events=[event for _, event in batch])
        if self._backfill:
            request.backfill.source = self._source
            request.backfill.positions.extend(number for number, _ in batch)
        try:
            results = self._send(request).results
        except ServiceError:
            if self.counts:
                where = self._at(batch[0][0])
                echo(f"{where}: the service failed here; {self._sent()}; run again", err=True)
            raise
        for (number, _), result in zip(batch, results, strict=True):
            status = enum_name(result, "status")
            self.counts[status] += 1
            if status == "BEYOND_HORIZON":
                # Said once: of a file of history that may be every line.
                self._first_beyond = self._first_beyond or self._at(number)
            elif result.reason:
                echo(f"{self._at(number)}: {status}: {result.reason}", err=True)
            skipped = status == "REJECTED" and self._skip_bad
            if self._backfill and status not in _DONE and not skipped and not self._unapplied:
                self._unapplied = f"{self._at(number)}: {status}; {_next_step(status)}"

    def _lines(self) -> Iterator[Line]:
        """Yield line number and event; end at a bad line, unless `skip_bad`."""
        for number, line in _numbered(self._file):
            names_source = self._backfill and not self._source
            if names_source:
                self._source = _source_of(line)
            try:
                if len(line) > _MAX_LINE_BYTES:
                    raise InvalidInput("not an event: longer than 1 MiB")
                event = parse_event_line(line)
                if self._backfill:
                    # What the service would refuse is found before later lines count: then it can
                    # be corrected in place.
                    check_event(event, now_ms=clock_ms())
                message = _message(event)
            except InvalidInput as exc:
                problem = f"{self._at(number)}: {exc}"
                if names_source or not self._skip_bad:
                    self._bad_line = problem
                    return
                echo(problem, err=True)
                self.counts["BAD"] += 1
            else:
                yield number, message

    def _sent(self) -> str:
        sent = self.counts.total() - self.counts["BAD"]
        return f"{counted(sent, 'event')} before it {'was' if sent == 1 else 'were'} sent"

    def _at(self, number: int) -> str:
        return f"{self._file.name}:{number}"


def _next_step(status: str) -> str:
    """Return what to do about an event at which a back-fill stopped."""
    if status == "REJECTED":
        # Its line number is taken: later lines of the same account may have counted.
        return (
            "append it, corrected, as a new last line and run again with --skip-bad, which "
            "continues here"
        )
    return "run again, which continues here"


def _numbered(file: BinaryIO) -> Iterator[tuple[int, bytes]]:
    """Yield line number and line of every line that is not blank; the rest of a huge line is cut.

    A byte order mark and the ends of lines are left out.
    """
    number = 0
    while line := file.readline(_MAX_LINE_BYTES + 2):
        number += 1
        part = line
        while part and not part.endswith(b"\n"):
            part = file.readline(_MAX_LINE_BYTES)
        if number == 1:
            line = line.removeprefix(_BOM)
        if stripped := line.strip():
            yield number, stripped


def _source_of(line: bytes) -> str:
    """Return the name of a back-fill's source: a digest of the first line of the file."""
    return f"line-{hashlib.blake2b(line, digest_size=_SOURCE_BYTES).hexdigest()}"


def _message(parsed: Event) -> features_pb2.Event:
    event = features_pb2.Event(event_id=parsed.event_id, type=parsed.type, entities=parsed.entities)
    event.time.FromMilliseconds(parsed.time_ms)
    for name, value in parsed.attributes.items():
        attribute = event.attributes[name]
        if isinstance(value, bool):
            attribute.flag = value
        elif isinstance(value, str):
            attribute.text = value
        elif isinstance(value, int) and abs(value) >= _EXACT_IN_DOUBLE:
            attribute.integer = value
        else:
            # Exact here, and services without `integer` know it.
            attribute.number = value
    return event
