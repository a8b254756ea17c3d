"""Connections that carry pipelines: redis-py connects and logs in, `ReplyParser` reads the replies.

redis-py reads one reply at a time through five coroutines, which costs more than parsing it. Here
one loop takes all replies that a read of the socket brought.
"""

from dataclasses import dataclass
from typing import Any, cast

import hiredis
from redis.asyncio.connection import AbstractConnection, DefaultParser
from redis.exceptions import RedisError

Command = tuple[str | bytes | int, ...]
Reply = bytes | int | None | list["Reply"] | RedisError


@dataclass(slots=True)
class Received:
    """How often bytes arrived from one server, over all connections to it."""

    times: int = 0


class ReplyParser(DefaultParser):  # type: ignore[misc,valid-type]  # a variable: hiredis is optional there
    """redis-py's parser over hiredis, which also counts reads and parses whole pipelines."""

    def __init__(self, socket_read_size: int, received: Received) -> None:
        super().__init__(socket_read_size=socket_read_size)
        self._received = received
        self._is_attached = False

    def on_connect(self, connection: AbstractConnection) -> None:
        super().on_connect(connection)
        self._is_attached = True
        self._incomplete = self._reader.gets()  # what the empty reader returns

    async def read_from_socket(self) -> bool:
        await super().read_from_socket()
        self._received.times += 1
        return True

    async def read_replies(self, replies: list[Reply], number: int) -> None:
        """Append `number` replies as they arrive; errors of single commands are values.

        Raises redis-py's ConnectionError, OSError.
        """
        reader = self._reader
        while number:
            reply = reader.gets()
            if reply is self._incomplete:
                await self.read_from_socket()
            elif not isinstance(reply, hiredis.PushNotification):
                replies.append(reply)
                number -= 1

    def is_quiet(self) -> bool:
        """Return whether the connection is open and has no unread bytes.

        One that redis-py had opened before it got this parser is not: it has to connect anew.
        """
        return (
            self._is_attached
            and self._connected
            and not (self._reader.has_data() or self._stream.at_eof() or self._stream._buffer)
        )


class PipelineConnection:
    """One connection of redis-py to a server."""

    def __init__(self, connection: AbstractConnection, received: Received) -> None:
        self._connection = connection
        connection.socket_timeout = None  # the pipeliner limits the time

        def make_parser(socket_read_size: int) -> ReplyParser:
            self._parser = ReplyParser(socket_read_size, received)
            return self._parser

        connection.set_parser(cast(Any, make_parser))

    @property
    def is_ready(self) -> bool:
        """Whether a command can be sent at once."""
        return self._connection.is_connected and self._parser.is_quiet()

    async def connect(self) -> None:
        """Connect anew, log in and select the database. Raises RedisError, OSError."""
        await self.disconnect()
        await self._connection.connect()  # type: ignore[no-untyped-call]

    async def exchange(self, packed: bytes, replies: list[Reply], number: int) -> None:
        """Send packed commands and append `number` replies as they arrive.

        Raises RedisError or OSError where the connection breaks.
        """
        await self._connection.send_packed_command(packed, check_health=False)
        await self._parser.read_replies(replies, number)

    async def disconnect(self) -> None:
        """Close the connection without waiting; `connect` opens it again."""
        await self._connection.disconnect(nowait=True)
