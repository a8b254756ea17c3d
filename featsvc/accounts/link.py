"""Trips to one server over redis-py's connections: bundled, bounded in time, guarded by a circuit.

Everything sent in one turn of the event loop leaves as one pipeline. A few pipelines may be under
way at once, each on a connection of its own; what comes meanwhile gathers for the next one.

The circuit opens when the server cannot be reached, or says nothing for a whole trip: calls then
fail at once, but for one that tries it anew after each pause. Its success closes the circuit, so a
server that is back is used again within `_LONGEST_PAUSE_S` and a trip.
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
_MAX_TRIPS = 8
_MAX_UNANSWERED = 50_000
_LONGEST_PAUSE_S = 0.4
_RETRY_AFTER_MS = 500
_WAIT_SHARE = 0.8  # of the timeout, for WAIT

Command = tuple[str | bytes | int, ...]
_pack = cast(Callable[[Command], bytes], hiredis.pack_command)  # its types say a tuple of one
Reply = bytes | int | None | list["Reply"] | RedisError


class ConnectionLost(Unavailable):
    """The connection ended before the answer was there; whether it was carried out is unknown."""


class Link:
    """`acquire` makes a connection to the server, which stays ours; `timeout_ms` bounds a trip.

    With `replicas`, commands are writes, and their replies become errors unless that many replicas
    confirm them in time.
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
        self._outbox: list[_Share] = []
        self._trips: set[asyncio.Task[None]] = set()
        self._unanswered = 0
        self._away: Unavailable | None = None  # the circuit is open, and this is why
        self._probing = False
        self._probe_at = 0.0

    async def execute(self, commands: Sequence[Command]) -> list[Reply]:
        """Send commands, one reply each, in order; errors of a single command are values.

        Raises Unavailable in time, ConnectionLost where it is unknown what was carried out,
        Overloaded where too much is unanswered.
        """
        loop = asyncio.get_running_loop()
        if self._unanswered + len(commands) > _MAX_UNANSWERED:
            raise Overloaded(f"{self._unanswered} commands to Redis are unanswered; slow down")
        if self._away:
            if self._probing or loop.time() < self._probe_at:
                raise Unavailable(str(self._away), retry_after_ms=_RETRY_AFTER_MS)
            self._probing = True
        share = _Share(commands, loop.create_future())
        self._outbox.append(share)
        if len(self._outbox) == 1:
            loop.call_soon(self._depart)
        self._unanswered += len(commands)
        try:
            return await share.replies
        finally:
            self._unanswered -= len(commands)

    async def close(self) -> None:
        """Give up what is under way and disconnect."""
        self._fail_all(Unavailable("the feature store is closed"), probe_at=float("inf"))
        for trip in self._trips:
            trip.cancel()
        await asyncio.gather(*self._trips, return_exceptions=True)
        for connection in self._idle:
            await connection.disconnect(nowait=True)

    def _depart(self) -> None:
        if self._outbox and len(self._trips) < _MAX_TRIPS:
            shares, self._outbox = self._outbox, []
            trip = asyncio.create_task(self._trip(shares), name="redis-trip")
            self._trips.add(trip)
            trip.add_done_callback(self._arrive)

    def _arrive(self, trip: "asyncio.Task[None]") -> None:
        self._trips.discard(trip)
        self._depart()

    async def _trip(self, shares: "Sequence[_Share]") -> None:
        commands = [command for share in shares for command in share.commands]
        failure: Unavailable = Unavailable("the feature store is closed")
        replies: list[Reply] = []
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._converse(commands, replies)
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
            at = 0
            for share in shares:
                share.settle(replies[at : at + len(share.commands)])
                at += len(share.commands)
        finally:
            self._probing = False
            for share in shares:
                share.fail(failure)  # unless it is settled

    async def _converse(self, commands: Sequence[Command], replies: list[Reply]) -> None:
        """Fill `replies` as they come."""
        packed = b"".join(map(_pack, commands))
        expected = len(commands)
        if self._replicas:
            wait_ms = int(self._timeout_s * 1000 * _WAIT_SHARE)
            packed += _pack(("WAIT", self._replicas, wait_ms))
            expected += 1
        connection = self._idle.pop() if self._idle else self._acquire()
        try:
            await self._ready(connection)
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

    async def _ready(self, connection: AbstractConnection) -> None:
        """Connect, log in and choose the database, unless that is done."""
        try:
            if connection.is_connected and await connection.can_read():
                await connection.disconnect(nowait=True)  # the server has closed it
            if not connection.is_connected:
                connection.socket_timeout = None  # the trip as a whole is bounded
                await connection.connect()  # type: ignore[no-untyped-call]
        except (AuthenticationError, NoPermissionError) as exc:
            raise self._unavailable(
                f"{exc}; check user and password in redis.url, and the ACL"
            ) from exc
        except (RedisError, OSError) as exc:
            raise self._unavailable(str(exc)) from exc

    def _unavailable(self, reason: str) -> Unavailable:
        return Unavailable(f"Redis at {self._name}: {reason}", retry_after_ms=_RETRY_AFTER_MS)

    def _open_circuit(self, reason: Unavailable) -> None:
        if self._away is None:
            _log.warning("%s; features are away until it is back", reason)
        pause_s = random.uniform(0.5, 1.0) * _LONGEST_PAUSE_S  # noqa: S311 - jitter
        self._fail_all(reason, probe_at=asyncio.get_running_loop().time() + pause_s)

    def _fail_all(self, reason: Unavailable, *, probe_at: float) -> None:
        """Whoever waits fails, and whoever comes before `probe_at` of the loop's clock."""
        self._away, self._probe_at = reason, probe_at
        outbox, self._outbox = self._outbox, []
        for share in outbox:
            share.fail(reason)

    def _close_circuit(self) -> None:
        if self._away:
            _log.warning("Redis at %s is back", self._name)
            self._away = None


class _Share:
    """One call's part of a trip."""

    __slots__ = ("commands", "replies")

    def __init__(self, commands: Sequence[Command], replies: "asyncio.Future[list[Reply]]") -> None:
        self.commands = commands
        self.replies = replies

    def settle(self, replies: list[Reply]) -> None:
        if not self.replies.done():  # its caller was cancelled
            self.replies.set_result(replies)

    def fail(self, failure: Unavailable) -> None:
        if not self.replies.done():
            # Each caller's traceback is its own.
            self.replies.set_exception(type(failure)(str(failure), retry_after_ms=_RETRY_AFTER_MS))


def _check_confirmed(replies: list[Reply], replicas: int) -> None:
    """Take WAIT's own reply off; where too few replicas confirmed, the others become errors."""
    confirmed = replies.pop()
    if not isinstance(confirmed, int) or confirmed < replicas:
        unsafe = ResponseError(f"NOREPLICAS {confirmed!r} of {replicas} replicas confirmed")
        replies[:] = [unsafe] * len(replies)
