"""The way to one server: connects by itself, bundles what is sent at once, gives up in time.

A circuit guards it. CONNECTING: requests wait, as long as their budget lasts. CLOSED: they go
out. OPEN, after a failed attempt: they fail at once, while a task goes on trying; the first
success closes the circuit, so a server that is back is used again within `_LONGEST_PAUSE_S`.
"""

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, Sequence
from enum import Enum

import hiredis

from featsvc.accounts.connection import Connection, Reply, pack
from featsvc.errors import Overloaded, Unavailable

_log = logging.getLogger(__name__)
_FIRST_PAUSE_S = 0.02
_LONGEST_PAUSE_S = 0.4
_MAX_UNANSWERED = 50_000
_CONNECT_TIMEOUT_S = 1.0
_WAIT_SHARE = 0.8  # of the timeout, for WAIT


class Circuit(Enum):
    CONNECTING = "connecting"
    CLOSED = "closed"
    OPEN = "open"


class Link:
    """`connect` opens a connection within the seconds it is given; `timeout_ms` bounds one trip.

    With `replicas`, commands are writes, and their replies become errors unless that many
    replicas confirm them in time. WAIT holds up its connection, so one bundle goes at a time, and
    meanwhile the next one gathers.
    """

    def __init__(
        self,
        connect: Callable[[float], Awaitable[Connection]],
        *,
        timeout_ms: int,
        replicas: int = 0,
    ) -> None:
        self.circuit = Circuit.CONNECTING
        self._connect = connect
        self._timeout_s = timeout_ms / 1000
        self._replicas = replicas
        self._confirming = False
        self._connection: Connection | None = None
        self._trouble: Unavailable | None = None
        self._settled = asyncio.Event()  # set while the circuit is CLOSED or OPEN
        self._outbox: list[tuple[Sequence[bytes], asyncio.Future[list[Reply]]]] = []
        self._unanswered = 0
        self._keeper: asyncio.Task[None] | None = None
        self._closed = False

    async def execute(self, commands: Sequence[bytes]) -> list[Reply]:
        """Send commands, one reply each; errors of a single command are values.

        Everything sent in one turn of the event loop leaves in one write, in order. Raises
        Unavailable within the timeout (twice that with `replicas`), ConnectionLost where it is
        unknown what was carried out, Overloaded where too much is unanswered.
        """
        if self._connection is None:
            await self._until_settled()
        if self._unanswered + len(commands) > _MAX_UNANSWERED:
            raise Overloaded(f"{self._unanswered} commands to Redis are unanswered; slow down")
        future: asyncio.Future[list[Reply]] = asyncio.get_running_loop().create_future()
        if not self._outbox and not self._confirming:
            asyncio.get_running_loop().call_soon(self._flush)
        self._outbox.append((commands, future))
        self._unanswered += len(commands)
        try:
            return await future
        finally:
            self._unanswered -= len(commands)

    def reset(self) -> None:
        """Drop the connection and connect anew, for example because the server is no primary."""
        if self._connection:
            self._connection.close()

    async def close(self) -> None:
        """Stop trying and end the connection."""
        self._closed = True
        if self._keeper:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)
        self.reset()
        self._connection = None
        self._settle(Circuit.OPEN, Unavailable("the feature store is closed"))

    async def _until_settled(self) -> None:
        if self._keeper is None and not self._closed:
            self._keeper = asyncio.create_task(self._keep_connected(), name="redis-link")
        try:
            await asyncio.wait_for(self._settled.wait(), self._timeout_s)
        except TimeoutError:
            raise Unavailable("Redis: no connection in time", retry_after_ms=500) from None
        if self._connection is None:
            reason = str(self._trouble or "Redis: connection lost")
            raise Unavailable(reason, retry_after_ms=500)

    def _settle(self, circuit: Circuit, trouble: Unavailable | None) -> None:
        self.circuit, self._trouble = circuit, trouble
        if circuit is Circuit.CONNECTING:
            self._settled.clear()
        else:
            self._settled.set()

    async def _keep_connected(self) -> None:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                connection = await self._connect(max(self._timeout_s, _CONNECT_TIMEOUT_S))
            except Unavailable as exc:
                if self.circuit is not Circuit.OPEN:
                    _log.warning("%s; features are away until it is back", exc)
                self._settle(Circuit.OPEN, exc)
                await asyncio.sleep(pause_s * random.uniform(0.5, 1.0))  # noqa: S311 - jitter
                pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
                continue
            if self.circuit is Circuit.OPEN:
                _log.warning("Redis at %s is back", connection.name)
            pause_s = _FIRST_PAUSE_S
            self._connection = connection
            self._settle(Circuit.CLOSED, None)
            try:
                await connection.lost.wait()
            finally:
                connection.close()
                self._connection = None
            self._settle(Circuit.CONNECTING, None)

    def _flush(self) -> None:
        outbox, self._outbox = self._outbox, []
        connection = self._connection
        loop = asyncio.get_running_loop()
        if connection is None:
            for _, future in outbox:
                if not future.done():
                    future.set_exception(Unavailable("Redis: connection lost", retry_after_ms=500))
            return
        sent_at = loop.time()
        commands = [command for share, _ in outbox for command in share]
        if self._replicas:
            self._confirming = True
            commands.append(pack("WAIT", self._replicas, int(self._timeout_s * 1000 * _WAIT_SHARE)))
        batch = connection.execute(commands)
        timer = loop.call_later(self._timeout_s, self._expire, connection, batch, sent_at)

        def deliver(done: "asyncio.Future[list[Reply]]") -> None:
            timer.cancel()
            if self._replicas:
                self._confirming = False
                if not done.exception():
                    _check_confirmed(done.result(), self._replicas)
                if self._outbox:
                    loop.call_soon(self._flush)
            _deliver(done, outbox)

        batch.add_done_callback(deliver)

    def _expire(
        self, connection: Connection, batch: "asyncio.Future[list[Reply]]", sent_at: float
    ) -> None:
        if batch.done():
            return
        batch.set_exception(
            Unavailable(
                f"Redis at {connection.name}: no answer within {self._timeout_s * 1000:g} ms"
            )
        )
        if connection.last_reply_at < sent_at:  # silent since: hung rather than busy
            connection.close()


class Server:
    """The links to one server: with `replicas`, confirmed writes have one of their own."""

    def __init__(
        self,
        connect: Callable[[float], Awaitable[Connection]],
        *,
        timeout_ms: int,
        replicas: int,
    ) -> None:
        self._link = Link(connect, timeout_ms=timeout_ms)
        self._writes = self._link
        if replicas:
            self._writes = Link(connect, timeout_ms=timeout_ms, replicas=replicas)

    async def execute(self, commands: Sequence[bytes], *, writes: int) -> list[Reply]:
        """Send commands, the first `writes` of which change something; reads see those writes."""
        if self._writes is self._link or not writes:
            return await self._link.execute(commands)
        replies = await self._writes.execute(commands[:writes])
        if len(commands) > writes:
            replies += await self._link.execute(commands[writes:])
        return replies

    def reset(self) -> None:
        """Drop the connections and connect anew, for example because it is no primary."""
        self._link.reset()
        self._writes.reset()

    async def close(self) -> None:
        """Stop trying and end the connections."""
        await asyncio.gather(self._link.close(), self._writes.close())


def _check_confirmed(replies: list[Reply], replicas: int) -> None:
    """Take WAIT's own reply off; where too few replicas confirmed, the others become errors."""
    confirmed = replies.pop()
    if not isinstance(confirmed, int) or confirmed < replicas:
        unsafe = hiredis.ReplyError(f"NOREPLICAS {confirmed!r} of {replicas} replicas confirmed")
        replies[:] = [unsafe] * len(replies)


def _deliver(
    done: "asyncio.Future[list[Reply]]",
    outbox: list[tuple[Sequence[bytes], "asyncio.Future[list[Reply]]"]],
) -> None:
    """Hand each request its share of the replies."""
    exc = done.exception()
    at = 0
    for commands, future in outbox:
        if future.done():  # its caller was cancelled
            at += len(commands)
        elif exc is not None:
            future.set_exception(type(exc)(str(exc)))  # each caller's traceback is its own
        else:
            future.set_result(done.result()[at : at + len(commands)])
            at += len(commands)
