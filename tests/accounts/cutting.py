"""A relay in front of a server that breaks connections at a chosen byte of the requests."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from random import Random

MOST_BYTES = 6000


class Cutter:
    """Relays one unix socket to another. What follows the cut is lost, and so are the replies."""

    def __init__(self, target: Path) -> None:
        self._target = target
        self._left: int | None = None
        self.cuts = 0
        self.connections: set[asyncio.Task[None]] = set()

    def arm(self, rng: Random) -> None:
        """Break a connection after this many more bytes of requests, or not at all."""
        self._left = rng.randrange(MOST_BYTES) if rng.random() < 0.5 else None

    def disarm(self) -> None:
        self._left = None

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection."""
        self.connections.add(asyncio.create_task(self._relay(reader, writer)))

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(self._target)
        replies = asyncio.create_task(_pump(inner_reader, writer))
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                if self._left is not None and len(data) > self._left:
                    replies.cancel()
                    inner_writer.write(data[: self._left])
                    await inner_writer.drain()
                    self._left = None
                    self.cuts += 1
                    break
                if self._left is not None:
                    self._left -= len(data)
                inner_writer.write(data)
                await inner_writer.drain()
        inner_writer.close()
        writer.close()
        await asyncio.gather(replies, return_exceptions=True)


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@asynccontextmanager
async def cutting(target: Path, folder: Path) -> AsyncIterator[tuple[Cutter, str]]:
    """A relay to the socket `target`, and its URL."""
    cutter, path = Cutter(target), folder / "cut"
    server = await asyncio.start_unix_server(cutter.accept, path)
    try:
        yield cutter, f"unix://{path}"
    finally:
        server.close()
        await asyncio.gather(*cutter.connections)
        path.unlink(missing_ok=True)
