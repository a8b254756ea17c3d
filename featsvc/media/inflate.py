"""Zlib streams of untrusted bytes, inflated by ISA-L: no more than asked for, checksum compared."""

from collections.abc import Callable, Iterator
from typing import cast

from isal import igzip_lib

InflateError = cast(type[Exception], igzip_lib.IsalError)
_PIECE_BYTES = 2**16
"""Compressed bytes given at a time: the inflater copies what it has not used yet."""
_MOST_BYTES = 2**18
"""Inflated bytes that are held at a time."""


def cut(view: memoryview) -> Iterator[memoryview]:
    """Yield the parts of a stream that an inflater takes at a time."""
    for at in range(0, len(view), _PIECE_BYTES):
        yield view[at : at + _PIECE_BYTES]


class Inflater:
    """The bytes of a zlib stream that comes in pieces.

    `corrupt` makes the error of a stream that is damaged or too short, from what is wrong with it.
    """

    def __init__(self, pieces: Iterator[memoryview], corrupt: Callable[[str], Exception]) -> None:
        self._pieces, self._corrupt = pieces, corrupt
        self._stream = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_ZLIB)

    def _inflate(self, size: int) -> bytes:
        """Return up to `size` bytes; none only at the end of the stream."""
        stream = self._stream
        while not stream.eof:
            piece: memoryview | bytes = b""
            if stream.needs_input:
                piece = next(self._pieces, b"")
                if not piece:
                    raise self._corrupt("its pixel data end too early")
            try:
                data: bytes = stream.decompress(piece, size)
            except InflateError as exc:
                raise self._corrupt(f"its pixel data are damaged ({exc})") from None
            if data:
                return data
        return b""

    def fill(self, buffer: memoryview) -> None:
        """Fill a buffer. Raises `corrupt` where the data end before, or are damaged."""
        at = 0
        while at < len(buffer):
            data = self._inflate(min(len(buffer) - at, _MOST_BYTES))
            if not data:
                raise self._corrupt("it has fewer pixels than its header says")
            buffer[at : at + len(data)] = data
            at += len(data)

    def finish(self) -> None:
        """Look for the end of the stream, and so at its checksum.

        More data than pixels are harmless, as in every viewer, and not read: they could be endless.
        """
        self._inflate(1)
