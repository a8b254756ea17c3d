"""A hash list being read: counts and hashes the bytes, tells the format, parses the rows."""

import hashlib
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from pathlib import PurePath

from featsvc.banks import formats
from featsvc.banks.formats.compression import decompressed
from featsvc.banks.formats.rows import ImportRow
from featsvc.banks.results import BadRow

_NAME_CHARS = 255
MAX_REJECTED_WAITING = 100_000
"""Bad rows kept for a reader that is slower than the import."""


class ListFile:
    """Iterates once over the rows of a hash list that arrives in pieces.

    `bytes_read` and `rows_read` may be read from another thread, for progress; `sha256` and
    `rows_read` are final when the iteration is. `format` is empty until it is told.
    Raises InvalidInput where the format is unknown or cannot be told.
    """

    def __init__(self, chunks: Iterable[bytes], *, name: str = "", format: str = "") -> None:  # noqa: A002 (the wire's name)
        self.name = PurePath(name.replace("\\", "/")).name[:_NAME_CHARS]
        self.format = format
        self.bytes_read = 0
        self.rows_read = 0
        self._rejected: deque[BadRow] = deque(maxlen=MAX_REJECTED_WAITING)
        self._digest = hashlib.sha256()
        self._chunks = chunks
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
        read = formats.get_format(self.format)
        rows = read(chain((bytes(head),), chunks))
        for self.rows_read, row in enumerate(rows, 1):
            yield row

    def reject(self, row: BadRow) -> None:
        """Put a bad row where `take_rejected` finds it."""
        self._rejected.append(row)

    def take_rejected(self) -> list[BadRow]:
        """Bad rows since the last call, from any thread; all but the newest are lost past a cap."""
        return [self._rejected.popleft() for _ in range(len(self._rejected))]

    def _counted(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._digest.update(chunk)
            self.bytes_read += len(chunk)
            yield chunk
