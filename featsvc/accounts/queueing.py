"""Which commands form the next pipeline to a server.

Redis works through a pipeline before it reads from the next connection, so a pipeline is bounded by
work. The unit of work is a field of an HMGET, about half a microsecond of Redis and parser; what a
command takes is estimated from its arguments.

    small calls, up to 512 units     in order of arrival, before the others
    calls of up to 2,048 units       in one pipeline, in the order of their commands
    larger calls                     in pieces, in turn with the other calls of their queue
"""

import asyncio
from collections import deque
from collections.abc import Iterator, Sequence

from featsvc.accounts.connections import Command, Reply

SMALL_WORK = 512
PIPELINE_WORK = 2048
_COMMAND_WORK = 4  # of a command without arguments
_SCRIPT_BYTES = 4  # of a script's arguments per unit of work: an event is about 100 bytes and 30 us
_SCRIPTS = ("EVALSHA", "EVAL")


def work_of(command: Command) -> int:
    """Estimate the work of a command."""
    if command[0] in _SCRIPTS:
        return _COMMAND_WORK + sum(map(_size, command[3:])) // _SCRIPT_BYTES
    return _COMMAND_WORK + len(command)


def _size(argument: str | bytes | int) -> int:
    return 8 if isinstance(argument, int) else len(argument)


def fits_pipeline(commands: Sequence[Command]) -> bool:
    """Return whether a call of these commands stays in one pipeline, and so in their order."""
    return sum(map(work_of, commands)) <= PIPELINE_WORK


class PendingCall:
    """The commands of one call; `future` gets their replies once all have arrived."""

    __slots__ = ("_replies", "_unanswered", "commands", "future", "sent", "waits_since", "work")

    def __init__(
        self, commands: Sequence[Command], future: "asyncio.Future[list[Reply]]", *, tick: int
    ) -> None:
        self.commands = commands
        self.future = future
        self.work = sum(map(work_of, commands))
        self.sent = 0  # commands[:sent] are in pipelines
        self.waits_since = tick  # when it was queued, or last got a place in a pipeline
        self._unanswered = len(commands)
        self._replies: list[Reply] = []

    def resolve(self, start: int, replies: list[Reply]) -> None:
        """Take the replies to `commands[start:]`, as many as there are."""
        if self.future.done():  # cancelled, or another piece has failed
            return
        if len(replies) == len(self.commands):
            self.future.set_result(replies)
            return
        self._replies = self._replies or [None] * len(self.commands)
        self._replies[start : start + len(replies)] = replies
        self._unanswered -= len(replies)
        if not self._unanswered:
            self.future.set_result(self._replies)

    def fail(self, failure: Exception) -> None:
        if not self.future.done():
            self.future.set_exception(failure)


class Piece:
    """`call.commands[start:stop]`, in one pipeline."""

    __slots__ = ("call", "start", "stop")

    def __init__(self, call: PendingCall, start: int, stop: int) -> None:
        self.call, self.start, self.stop = call, start, stop

    @property
    def commands(self) -> Sequence[Command]:
        return self.call.commands[self.start : self.stop]


class CallQueue:
    """Calls that wait for a pipeline. Calls that were cancelled or have failed leave it."""

    def __init__(self) -> None:
        self._small: deque[PendingCall] = deque()
        self._large: deque[PendingCall] = deque()

    def __bool__(self) -> bool:
        return bool(self._small or self._large)

    def add(self, call: PendingCall) -> None:
        (self._small if call.work <= SMALL_WORK else self._large).append(call)

    def clear(self) -> list[PendingCall]:
        """Empty the queue; return its calls."""
        calls = [*self._small, *self._large]
        self._small.clear()
        self._large.clear()
        return calls

    def take_older(self, tick: int) -> Iterator[PendingCall]:
        """Take the calls that have waited since before `tick`."""
        for calls in (self._small, self._large):  # both in the order of `waits_since`
            while calls and calls[0].waits_since < tick:
                yield calls.popleft()

    def take_small(self) -> list[Piece]:
        """Take the next pipeline of small calls."""
        pieces = []
        work = 0
        while self._small and (not work or work + self._small[0].work <= PIPELINE_WORK):
            call = self._small.popleft()
            if not call.future.done():
                call.sent = len(call.commands)
                pieces.append(Piece(call, 0, call.sent))
                work += call.work
        return pieces

    def take_large(self, tick: int) -> list[Piece]:
        """Take the next pipeline of the other calls; a call whose rest waits goes to the end."""
        pieces: list[Piece] = []
        work = 0
        while self._large:
            call = self._large[0]
            if call.future.done():
                self._large.popleft()
                continue
            stop, more = _cut(call.commands, call.sent)
            if pieces and work + more > PIPELINE_WORK:
                break
            pieces.append(Piece(call, call.sent, stop))
            work += more
            call.sent, call.waits_since = stop, tick
            self._large.popleft()
            if stop < len(call.commands):
                self._large.append(call)
        return pieces


def _cut(commands: Sequence[Command], start: int) -> tuple[int, int]:
    """Return the end of the next piece, which has at least one command, and its work.

    ASKING applies to the next command of its connection, so it is never the last one of a piece.
    """
    work = 0
    for stop in range(start, len(commands)):
        more = work_of(commands[stop])
        if work + more > PIPELINE_WORK and stop > start and commands[stop - 1] != ("ASKING",):
            return stop, work
        work += more
    return len(commands), work
