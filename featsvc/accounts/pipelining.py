"""Pipelined round trips to one server over redis-py's connections, with a timeout and a circuit.

All commands that are sent in one turn of the event loop leave as one pipeline. A few pipelines may
be in flight, each on its own connection; later commands wait and form the next pipeline.

The circuit opens when the server cannot be reached, or sends nothing for a whole round trip. Calls
then fail at once, except for one probe after each pause. A probe that succeeds closes the circuit,
so a server that is back is used again within `_LONGEST_PAUSE_S` and one round trip.
"""

import asyncio
import logging
import random
from collections.abc import Callable, Sequence
from typing import cast

import hiredis
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import (
    AuthenticationError,
    BusyLoadingError,
    NoPermissionError,
    RedisError,
    ResponseError,
)

from featsvc.errors import Overloaded, Unavailable

_log = logging.getLogger(__name__)
_MAX_PIPELINES = 8
_MAX_UNANSWERED = 50_000
_LONGEST_PAUSE_S = 0.4
RETRY_AFTER_MS = 500
_WAIT_SHARE = 0.8  # of the timeout, for WAIT

Command = tuple[str | bytes | int, ...]
_pack = cast(Callable[[Command], bytes], hiredis.pack_command)  # its stub allows only 1-tuples
Reply = bytes | int | None | list["Reply"] | RedisError


class ConnectionLost(Unavailable):
    """The connection ended before the reply; whether the command was executed is unknown."""


class Pipeliner:
    """Sends commands to one server.

    `acquire` returns a connection that the pipeliner then owns; `timeout_ms` limits a round trip.
    With `replicas`, all commands are writes, and their replies become errors unless that many
    replicas confirm them in time.
    """

    def __init__(
        self,
        name: str,
        acquire: Callable[[], AbstractConnection],
        *,
        timeout_ms: int,
        replicas: int = 0,
    ) -> None:
        self._name = name
        self._acquire = acquire
        self._timeout_s = timeout_ms / 1000
        self._replicas = replicas
        self._idle: list[AbstractConnection] = []
        self._queue: list[_PendingCall] = []
        self._in_flight: set[asyncio.Task[None]] = set()
        self._unanswered = 0
        self._outage: Unavailable | None = None  # why the circuit is open
        self._probing = False
        self._probe_at = 0.0

    async def execute(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands and return one reply each, in order; errors of single commands are values.

        Raises Unavailable within the timeout, ConnectionLost where it is unknown which commands
        were executed, Overloaded where too many commands are unanswered.
        """
        loop = asyncio.get_running_loop()
        if self._unanswered + len(commands) > _MAX_UNANSWERED:
            raise Overloaded(f"Redis: {self._unanswered} commands are unanswered; try again later")
        if self._outage:
            if self._probing or loop.time() < self._probe_at:
                raise Unavailable(str(self._outage), retry_after_ms=RETRY_AFTER_MS)
            self._probing = True
        call = _PendingCall(commands, loop.create_future())
        self._queue.append(call)
        if len(self._queue) == 1:
            loop.call_soon(self._start_round_trip)
        self._unanswered += len(commands)
        try:
            return await call.replies
        finally:
            self._unanswered -= len(commands)

    async def close(self) -> None:
        """Fail the commands in flight and disconnect."""
        self._fail_all(Unavailable("the feature store is closed"), probe_at=float("inf"))
        for task in self._in_flight:
            task.cancel()
        await asyncio.gather(*self._in_flight, return_exceptions=True)
        for connection in self._idle:
            await connection.disconnect(nowait=True)

    def _start_round_trip(self) -> None:
        if self._queue and len(self._in_flight) < _MAX_PIPELINES:
            calls, self._queue = self._queue, []
            task = asyncio.create_task(self._round_trip(calls), name="redis-round-trip")
            self._in_flight.add(task)
            task.add_done_callback(self._end_round_trip)

    def _end_round_trip(self, task: "asyncio.Task[None]") -> None:
        self._in_flight.discard(task)
        self._start_round_trip()

    async def _round_trip(self, calls: "Sequence[_PendingCall]") -> None:
        commands = [command for call in calls for command in call.commands]
        failure: Unavailable = Unavailable("the feature store is closed")
        replies: list[Reply] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._exchange(commands, replies)
        except TimeoutError:
            failure = self._unavailable(f"no answer within {self._timeout_s * 1000:g} ms")
            if not replies:
                self._open_circuit(failure)
        except ConnectionLost as exc:
            failure = exc
        except Unavailable as exc:
            failure = exc
            self._open_circuit(failure)
        else:
            self._close_circuit()
            if self._replicas:
                _check_confirmed(replies, self._replicas)
            start = 0
            for call in calls:
                call.resolve(replies[start : start + len(call.commands)])
                start += len(call.commands)
        finally:
            self._probing = False
            for call in calls:
                call.fail(failure)  # no effect on a resolved call

    async def _exchange(self, commands: Sequence[Command], replies: list[Reply]) -> None:
        """Send commands as one pipeline and append each reply to `replies` as it arrives."""
        packed = b"".join(map(_pack, commands))
        expected = len(commands)
        if self._replicas:
            wait_ms = int(self._timeout_s * 1000 * _WAIT_SHARE)
            packed += _pack(("WAIT", self._replicas, wait_ms))
            expected += 1
        connection = self._idle.pop() if self._idle else self._acquire()
        try:
            await self._ensure_connected(connection)
            await connection.send_packed_command(packed, check_health=False)
            for _ in range(expected):
                try:
                    replies.append(await connection.read_response())
                except ResponseError as exc:
                    replies.append(exc)
        except BusyLoadingError as exc:
            await connection.disconnect(nowait=True)
            raise self._unavailable(f"is loading its data: {exc}") from exc
        except (RedisError, OSError) as exc:
            await connection.disconnect(nowait=True)
            raise ConnectionLost(f"Redis at {self._name}: connection lost ({exc})") from exc
        except BaseException:
            await connection.disconnect(nowait=True)
            raise
        finally:
            self._idle.append(connection)

    async def _ensure_connected(self, connection: AbstractConnection) -> None:
        """Connect, log in and select the database if the connection is not open."""
        try:
            if connection.is_connected and await connection.can_read():
                await connection.disconnect(nowait=True)  # the server has closed it
            if not connection.is_connected:
                connection.socket_timeout = None  # the timeout of the round trip applies
                await connection.connect()  # type: ignore[no-untyped-call]
        except (AuthenticationError, NoPermissionError) as exc:
            raise self._unavailable(
                f"{exc}; check user and password in redis.url, and the ACL"
            ) from exc
        except (RedisError, OSError) as exc:
            raise self._unavailable(str(exc)) from exc

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
        queue, self._queue = self._queue, []
        for call in queue:
            call.fail(reason)

    def _close_circuit(self) -> None:
        if self._outage:
            _log.warning("Redis at %s is back", self._name)
            self._outage = None


class _PendingCall:
    """The commands of one call, and the future of their replies."""

    __slots__ = ("commands", "replies")

    def __init__(self, commands: Sequence[Command], replies: "asyncio.Future[list[Reply]]") -> None:
        self.commands = commands
        self.replies = replies

    def resolve(self, replies: list[Reply]) -> None:
        if not self.replies.done():  # done if the caller was cancelled
            self.replies.set_result(replies)

    def fail(self, failure: Unavailable) -> None:
        if not self.replies.done():
            # A copy for each caller, because raising adds a traceback.
            self.replies.set_exception(type(failure)(str(failure), retry_after_ms=RETRY_AFTER_MS))


def _check_confirmed(replies: list[Reply], replicas: int) -> None:
    """Remove WAIT's reply; if too few replicas confirmed, turn the other replies into errors."""
    confirmed = replies.pop()
    if not isinstance(confirmed, int) or confirmed < replicas:
        unconfirmed = ResponseError(f"NOREPLICAS {confirmed!r} of {replicas} replicas confirmed")
        replies[:] = [unconfirmed] * len(replies)
