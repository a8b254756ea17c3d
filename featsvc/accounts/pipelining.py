"""Pipelined round trips to one server, each with a timeout, and a circuit for the server.

All small calls of one turn of the event loop leave as one pipeline; `featsvc.accounts.queueing`
says which commands share one. Each pipeline in flight has a connection of its own. Those with
large calls may hold only a few of the connections, so a small call waits for a few pipelines of
bounded work, however much is queued.

A round trip may take `timeout_ms` from the moment when its bytes are sent, or up to a fifth more.
The time is counted in ticks of a timer, at most one for each wake-up: while the event loop is
blocked no time passes, because replies may lie unread in the sockets. A connection has
`CONNECT_TIMEOUT_S` (or `timeout_ms`, if that is longer) to open and to log in. A call fails with
Unavailable if none of its commands gets into a pipeline for `_QUEUE_TIMEOUTS` timeouts and the time
for a connection.

The circuit opens when the server is silent: a round trip times out and no byte has arrived
meanwhile on any connection, or no connection can be opened. Calls then fail at once, except for one
probe after each pause. A reply closes the circuit, so a server that is back is used again within
`_LONGEST_PAUSE_S` and one round trip.
"""

import asyncio
import logging
import math
import random
from collections.abc import Callable, Sequence
from typing import cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    ReadOnlyError,
    RedisError,
    ResponseError,
)
from redis.exceptions import ConnectionError as RedisConnectionError

from featsvc.accounts.connections import Command, PipelineConnection, Received, Reply
from featsvc.accounts.queueing import CallQueue, PendingCall, Piece
from featsvc.errors import Overloaded, Unavailable

__all__ = ["CONNECT_TIMEOUT_S", "RETRY_AFTER_MS", "Command", "ConnectionLost", "Pipeliner", "Reply"]

_log = logging.getLogger(__name__)
_MAX_PIPELINES = 8
_MAX_LARGE_PIPELINES = 3
_MAX_UNANSWERED = 50_000
_TICKS = 5  # of the timer in one timeout
_QUEUE_TIMEOUTS = 4
_LONGEST_PAUSE_S = 0.4
CONNECT_TIMEOUT_S = 1.0
RETRY_AFTER_MS = 500
_WAIT_SHARE = 0.8  # of the timeout, for WAIT

_pack = cast(Callable[[Command], bytes], hiredis.pack_command)  # its stub allows only 1-tuples


class ConnectionLost(Unavailable):
    """The connection ended before the reply; whether the command was executed is unknown."""


class Pipeliner:
    """Sends commands to one server.

    `acquire` returns a connection that the pipeliner then owns; `timeout_ms` limits a round trip.
    With `replicas`, all commands are writes, and their replies become errors unless that many
    replicas confirm them in time. Pipeliners of the same server share `received`.
    """

    def __init__(
        self,
        name: str,
        acquire: Callable[[], AbstractConnection],
        *,
        timeout_ms: int,
        replicas: int = 0,
        received: Received | None = None,
    ) -> None:
        self._name = name
        self._acquire = acquire
        self._timeout_s = timeout_ms / 1000
        self._connect_s = max(self._timeout_s, CONNECT_TIMEOUT_S)
        self._replicas = replicas
        self._received = received or Received()
        self._idle: list[PipelineConnection] = []  # the next one last
        self._queue = CallQueue()
        self._starting = False
        self._in_flight: set[_RoundTrip] = set()
        self._large_in_flight = 0
        self._unanswered = 0
        self._tick = 0
        self._tick_s = self._timeout_s / _TICKS
        self._connect_ticks = math.ceil(self._connect_s / self._tick_s)
        self._timer: asyncio.TimerHandle | None = None
        self._outage: Unavailable | None = None  # why the circuit is open
        self._probing = False
        self._probe_at = 0.0

    @property
    def is_idle(self) -> bool:
        """Whether no call is queued or in flight."""
        return not (self._queue or self._in_flight)

    async def execute(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands and return one reply each, in order; errors of single commands are values.

        The server executes them in order if `fits_pipeline(commands)`. Raises Unavailable if a
        reply does not come in time, ConnectionLost where it is unknown which commands were
        executed, Overloaded where too many commands are unanswered.
        """
        loop = asyncio.get_running_loop()
        if self._unanswered + len(commands) > _MAX_UNANSWERED:
            raise Overloaded(f"Redis: {self._unanswered} commands are unanswered; try again later")
        if self._outage:
            if self._probing or loop.time() < self._probe_at:
                raise Unavailable(str(self._outage), retry_after_ms=RETRY_AFTER_MS)
            self._probing = True
        call = PendingCall(commands, loop.create_future(), tick=self._tick)
        self._queue.add(call)
        if not self._starting:
            self._starting = True
            loop.call_soon(self._start_round_trips)
        self._unanswered += len(commands)
        try:
            return await call.future
        finally:
            self._unanswered -= len(commands)

    async def close(self) -> None:
        """Fail the commands in flight and disconnect."""
        self._fail_all(Unavailable("the feature store is closed"), probe_at=math.inf)
        if self._timer:
            self._timer.cancel()
        tasks = [trip.task for trip in self._in_flight]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for trip in tuple(self._in_flight):  # their tasks were cancelled before the first step
            self._end(trip, Unavailable("the feature store is closed"))
        for connection in self._idle:
            await connection.disconnect()

    def _start_round_trips(self) -> None:
        self._starting = False
        while self._queue and len(self._in_flight) < _MAX_PIPELINES:
            if pieces := self._queue.take_small():
                self._start_round_trip(_RoundTrip(pieces, is_large=False))
            elif self._large_in_flight < _MAX_LARGE_PIPELINES and (
                pieces := self._queue.take_large(self._tick)
            ):
                self._large_in_flight += 1
                self._start_round_trip(_RoundTrip(pieces, is_large=True))
            else:
                break
        if not self._in_flight:  # a probe that was cancelled in the queue
            self._probing = False

    def _start_round_trip(self, trip: "_RoundTrip") -> None:
        self._in_flight.add(trip)
        trip.task = asyncio.create_task(self._run(trip), name="redis-round-trip")
        if self._timer is None:
            self._schedule_tick()

    def _schedule_tick(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._tick_s, self._count_tick)

    def _count_tick(self) -> None:
        """End round trips and calls whose time is over; the timer stops with the last trip."""
        self._tick += 1
        self._timer = None
        for trip in self._in_flight:
            if trip.last_tick < self._tick and not trip.is_late:
                trip.is_late = True
                trip.task.cancel()
        longest = _QUEUE_TIMEOUTS * _TICKS + self._connect_ticks
        for call in self._queue.take_older(self._tick - longest):
            call.fail(self._unavailable("too many calls wait; try again later"))
        if self._in_flight:
            self._schedule_tick()

    async def _run(self, trip: "_RoundTrip") -> None:
        failure: Unavailable = Unavailable("the feature store is closed")
        try:
            await self._exchange(trip)
        except asyncio.CancelledError:
            if not trip.is_late:
                raise
            failure = self._late(trip)
        except ConnectionLost as exc:
            failure = exc
        except Unavailable as exc:
            failure = exc
            self._open_circuit(failure)
        else:
            self._close_circuit()
        finally:
            self._probing = False
            self._end(trip, failure)

    def _late(self, trip: "_RoundTrip") -> Unavailable:
        """Return the failure of a round trip whose time is over."""
        if trip.is_sent:
            failure = self._unavailable(f"no answer within {self._timeout_s * 1000:.0f} ms")
            is_silent = trip.received_before == self._received.times
        else:
            failure = self._unavailable(f"no connection within {self._connect_s * 1000:.0f} ms")
            is_silent = not self._is_connected()
        if is_silent:
            self._open_circuit(failure)
        return failure

    def _end(self, trip: "_RoundTrip", failure: Unavailable) -> None:
        """Give the calls the replies that have arrived, and the failure where one is missing."""
        self._in_flight.discard(trip)
        self._large_in_flight -= trip.is_large
        first = 0
        for piece in trip.pieces:
            end = first + piece.stop - piece.start
            if end <= len(trip.replies):
                piece.call.resolve(piece.start, trip.replies[first:end])
            else:
                # A copy for each caller, because raising adds a traceback.
                piece.call.fail(type(failure)(str(failure), retry_after_ms=RETRY_AFTER_MS))
            first = end
        self._start_round_trips()

    async def _exchange(self, trip: "_RoundTrip") -> None:
        """Send a round trip as one pipeline and receive its replies."""
        packed = b"".join([_pack(c) for piece in trip.pieces for c in piece.commands])
        expected = sum(piece.stop - piece.start for piece in trip.pieces)
        received: list[Reply] = []
        if self._replicas:
            wait_ms = int(self._timeout_s * 1000 * _WAIT_SHARE)
            packed += _pack(("WAIT", self._replicas, wait_ms))
            expected += 1
        else:
            trip.replies = received  # counts as it arrives, even if the rest does not
        if not self._idle:
            self._idle.append(PipelineConnection(self._acquire(), self._received))
        connection = self._idle.pop()
        try:
            if not connection.is_ready:
                trip.last_tick = self._tick + self._connect_ticks
                await self._connect(connection)
            trip.is_sent = True
            trip.received_before = self._received.times
            trip.last_tick = self._tick + _TICKS
            await connection.exchange(packed, received, expected)
            await self._check_replies(connection, received)
        except (RedisError, OSError) as exc:
            await connection.disconnect()
            raise ConnectionLost(f"Redis at {self._name}: connection lost ({exc})") from exc
        except BaseException:
            await connection.disconnect()
            raise
        finally:
            # Open connections are used first, so that few calls wait for a new one.
            self._idle.insert(len(self._idle) if connection.is_ready else 0, connection)
        if self._replicas:
            _check_confirmed(received, self._replicas)
            trip.replies = received

    async def _check_replies(self, connection: PipelineConnection, replies: list[Reply]) -> None:
        """Raise an error that concerns the server rather than a command."""
        types = set(map(type, replies))
        if ReadOnlyError in types:
            await connection.disconnect()  # the next connection asks Sentinel for the primary
        if any(issubclass(t, RedisConnectionError) for t in types):
            error = next(reply for reply in replies if isinstance(reply, RedisConnectionError))
            replies.clear()
            if isinstance(error, BusyLoadingError):
                raise self._unavailable(f"is loading its data: {error}")
            raise error

    async def _connect(self, connection: PipelineConnection) -> None:
        """Open a connection. Raises Unavailable, ConnectionLost while others are open."""
        try:
            await connection.connect()
        except (RedisError, OSError) as exc:
            reason = str(exc)
            if isinstance(exc, AuthenticationError | NoPermissionError):
                reason += "; check user and password in redis.url, and the ACL"
            failure = self._unavailable(reason)
            if self._is_connected():
                raise ConnectionLost(str(failure)) from exc
            raise failure from exc

    def _is_connected(self) -> bool:
        """Return whether commands are in flight, on other connections than one that fails."""
        return any(trip.is_sent for trip in self._in_flight)

    def _unavailable(self, reason: str) -> Unavailable:
        return Unavailable(f"Redis at {self._name}: {reason}", retry_after_ms=RETRY_AFTER_MS)

    def _open_circuit(self, reason: Unavailable) -> None:
        if self._outage is None:
            _log.warning("%s; features are unavailable until the server is back", reason)
        pause_s = random.uniform(0.5, 1.0) * _LONGEST_PAUSE_S  # noqa: S311 - jitter
        self._fail_all(reason, probe_at=asyncio.get_running_loop().time() + pause_s)

    def _fail_all(self, reason: Unavailable, *, probe_at: float) -> None:
        """Fail queued calls, and new ones until the loop's clock reaches `probe_at`."""
        self._outage, self._probe_at = reason, probe_at
        for call in self._queue.clear():
            call.fail(Unavailable(str(reason), retry_after_ms=RETRY_AFTER_MS))

    def _close_circuit(self) -> None:
        if self._outage:
            _log.warning("Redis at %s is back", self._name)
            self._outage = None


class _RoundTrip:
    """A pipeline in flight."""

    __slots__ = (
        *("is_large", "is_late", "is_sent", "last_tick", "pieces"),
        *("received_before", "replies", "task"),
    )

    def __init__(self, pieces: list[Piece], *, is_large: bool) -> None:
        self.pieces = pieces
        self.is_large = is_large
        self.is_sent = False
        self.is_late = False
        self.last_tick: float = math.inf  # of its present phase
        self.received_before = 0  # Received.times when it was sent
        self.replies: list[Reply] = []
        self.task: asyncio.Task[None]


def _check_confirmed(replies: list[Reply], replicas: int) -> None:
    """Remove WAIT's reply; if too few replicas confirmed, turn the other replies into errors."""
    confirmed = replies.pop()
    if not isinstance(confirmed, int) or confirmed < replicas:
        unconfirmed = ResponseError(f"NOREPLICAS {confirmed!r} of {replicas} replicas confirmed")
        replies[:] = [unconfirmed] * len(replies)
