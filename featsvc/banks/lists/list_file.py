"""A hash list being read: counts and hashes the bytes, tells the format, parses the rows."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import PurePath

from featsvc.banks.lists import formats
from featsvc.banks.lists.formats.compression import decompressed
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput

_NAME_CHARS = 255
MAX_REJECTED_WAITING = 20_000
"""Bad rows kept for a reader; then the import waits for it."""
_REJECTED_WAIT_S = 0.02


class ListFile:
    """Iterates once over the rows of a hash list that arrives in pieces.

    `bytes_read` and `rows_read` may be read from another thread, for progress; `sha256` and
    `rows_read` are final when the iteration is. `format` is empty until it is told.
    Raises InvalidInput where the format is unknown or cannot be told, or the file broke off.
    """

    def __init__(
        self,
        chunks: Iterable[bytes],
        *,
        name: str = "",
        format: str = "",  # noqa: A002 (the wire's name)
        size_bytes: int = 0,
        cut_off: Callable[[], bool] = lambda: False,
        keep_rejected: bool = False,
    ) -> None:
        """`size_bytes` is what the sender announced, 0 where nothing; `cut_off` tells whether the
        sender has gone away, which may show only after the pieces have ended. With
        `keep_rejected` somebody calls `take_rejected`, and no bad row is lost."""
        self.name = PurePath(name.replace("\\", "/")).name[:_NAME_CHARS]
        self.format = format
        self.bytes_read = 0
        self.rows_read = 0
        self._rejected: deque[BadRow] = deque()
        self._keep_rejected = keep_rejected
        self._digest = hashlib.sha256()
        self._chunks = chunks
        self._size_bytes = size_bytes
        self._cut_off = cut_off
        if format:
            formats.get_format(format)

    @property
    def sha256(self) -> str:
        """Lower-case hex, of what has been read so far."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[ImportRow | BadRow]:
        chunks = self._counted()
        chunks = decompressed(chunks)
        head = bytearray()
        for chunk in chunks:
            head += chunk
            if len(head) >= formats.HEAD_BYTES:
                break
        if not self.format:
            self.format = formats.detect(bytes(head[: formats.HEAD_BYTES]))
        rows = formats.get_format(self.format).read(chain((bytes(head),), chunks))
        for self.rows_read, row in enumerate(rows, 1):
            yield row

    def reject(self, row: BadRow) -> None:
        """Put a bad row where `take_rejected` finds it; wait while that is full."""
        if not self._keep_rejected:
            return
        while len(self._rejected) >= MAX_REJECTED_WAITING:
            if self._cut_off():
                self.check_whole()
            time.sleep(_REJECTED_WAIT_S)
        self._rejected.append(row)

    def take_rejected(self, limit: int) -> list[BadRow]:
        """At most so many of the bad rows that are not taken yet; from any thread."""
        return [self._rejected.popleft() for _ in range(min(limit, len(self._rejected)))]

    def _counted(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._digest.update(chunk)
            self.bytes_read += len(chunk)
            yield chunk
        self.check_whole()

    def check_whole(self) -> None:
        """Call it at the end of the pieces, and again before anything is made of them.

        Raises InvalidInput where less has come than was sent: half a list must not pass for one.
        """
        whole = self._size_bytes in (0, self.bytes_read)
        if not whole or self._cut_off():
            announced = f" of {self._size_bytes}" if self._size_bytes else ""
            raise InvalidInput(
                f"file: broke off after {self.bytes_read}{announced} bytes; nothing was imported, "
                "send it again",
                reason="FILE_BROKE_OFF",
                field="file",
            )
