"""A relay in front of a real server, which delays or holds what the server sends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

Pass = Callable[[int, bytes, bytes], AsyncIterator[bytes]]
"""Yields what the client gets, given the number of its connection, all that it has sent there, and
the bytes of the server."""


class Relay:
    """Connections to `socket`, numbered from 0 in the order of their opening."""

    def __init__(self, socket: Path, passed: Pass) -> None:
        self._socket = socket
        self._passed = passed
        self.sent: list[bytes] = []
        """What clients have sent, one entry for each connection."""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.sent)
        self.sent.append(b"")
        server_reader, server_writer = await asyncio.open_unix_connection(self._socket)

        async def commands() -> None:
            while data := await reader.read(65536):
                self.sent[number] += data
                server_writer.write(data)
            server_writer.close()  # which ends the replies

        async def replies() -> None:
            while data := await server_reader.read(65536):
                async for part in self._passed(number, self.sent[number], data):
                    writer.write(part)
                    await writer.drain()
            writer.close()

        try:
            with suppress(ConnectionError):
                await asyncio.gather(commands(), replies())
        finally:
            writer.close()
            server_writer.close()


@asynccontextmanager
async def relaying(socket: Path, path: Path, passed: Pass) -> AsyncIterator[Relay]:
    """Relay connections to `path` to the server at `socket`."""
    relay = Relay(socket, passed)
    tasks: set[asyncio.Task[None]] = set()

    def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        tasks.add(asyncio.create_task(relay.serve(reader, writer)))

    server = await asyncio.start_unix_server(connected, path)
    try:
        yield relay
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
