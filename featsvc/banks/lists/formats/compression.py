"""Lists compressed with gzip or zstd, detected by their first bytes, decompressed piece by piece.

    gzip  1f 8b      any number of members
    zstd  28 b5 2f fd  any number of frames, with a window of at most 128 MiB

A bomb is a small file that decompresses to a huge one: above `MIN_BOMB_BYTES`, data of more than
`MAX_RATIO` times its compressed size is refused. Real lists are hex, which compresses about 2:1.
"""

import io
import zlib
from collections.abc import Iterable, Iterator
from typing import IO, cast

import zstandard

from featsvc.errors import InvalidInput

MAX_RATIO = 200
MIN_BOMB_BYTES = 64 * 2**20
PIECE_BYTES = 256 * 1024
_MAX_WINDOW_BYTES = 128 * 2**20

_GZIP = b"\x1f\x8b"
_ZSTD = b"\x28\xb5\x2f\xfd"


def decompressed(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress the pieces if they are compressed. Raises InvalidInput for bad data and bombs."""
    source = _Source(chunks)
    head = source.peek(len(_ZSTD))
    if head.startswith(_GZIP):
        pieces = _gunzip(source)
    elif head == _ZSTD:
        pieces = _unzstd(source)
    else:
        yield from source
        return
    written = 0
    for piece in pieces:
        written += len(piece)
        if written > max(MIN_BOMB_BYTES, source.taken * MAX_RATIO):
            raise InvalidInput.at(
                "file",
                f"{source.taken} bytes decompress to more than {MAX_RATIO} times as much; "
                "if the file is right, decompress it before sending it",
            )
        yield piece


class _Source(io.RawIOBase):
    """A readable stream of pieces of bytes; `taken` counts the bytes that were read."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks = iter(chunks)
        self._rest = b""
        self.taken = 0

    def peek(self, size: int) -> bytes:
        while len(self._rest) < size and (chunk := next(self._chunks, b"")):
            self._rest += chunk
        return self._rest[:size]

    def read(self, size: int | None = -1) -> bytes:
        """Return the next piece, at most `size` bytes; empty at the end."""
        while not self._rest:
            chunk = next(self._chunks, None)
            if chunk is None:
                return b""
            self._rest = chunk
        cut = len(self._rest) if size is None or size < 0 else size
        piece, self._rest = self._rest[:cut], self._rest[cut:]
        self.taken += len(piece)
        return piece

    def __iter__(self) -> Iterator[bytes]:
        while piece := self.read():
            yield piece


def _gunzip(source: _Source) -> Iterator[bytes]:
    member = zlib.decompressobj(wbits=31)
    started = False
    data = b""
    try:
        while data := data or source.read(PIECE_BYTES):
            started = True
            yield member.decompress(data, PIECE_BYTES)
            data = member.unconsumed_tail
            if member.eof:
                # Some writers pad with zeros after the last member.
                data = member.unused_data.lstrip(b"\0")
                member, started = zlib.decompressobj(wbits=31), False
    except zlib.error as exc:
        raise InvalidInput.at("file", f"damaged gzip data: {exc}") from exc
    if started:
        raise InvalidInput.at("file", "the gzip data is truncated; send the whole file")


def _unzstd(source: _Source) -> Iterator[bytes]:
    reader = zstandard.ZstdDecompressor(max_window_size=_MAX_WINDOW_BYTES).stream_reader(
        cast("IO[bytes]", source), read_size=PIECE_BYTES, read_across_frames=True
    )
    try:
        while piece := reader.read(PIECE_BYTES):
            yield piece
    except zstandard.ZstdError as exc:
        raise InvalidInput.at("file", f"damaged zstd data: {exc}") from exc
