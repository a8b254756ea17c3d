"""A hash list that is being read: counts and hashes its bytes, detects its format, parses rows."""

import hashlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from pathlib import PurePath

from featsvc.banks.interruption import check
from featsvc.banks.lists import formats
from featsvc.banks.lists.formats.compression import decompressed
from featsvc.banks.lists.formats.encoding import HEAD_BYTES, text_bytes
from featsvc.banks.lists.formats.foreign import refuse_foreign
from featsvc.banks.lists.formats.reading import Reading
from featsvc.banks.lists.formats.rows import OTHER_KINDS, ImportRow, LeftOut
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput, shown

MAX_KINDS = 50
_NAME_CHARS = 255
MAX_REJECTED_WAITING = 20_000
"""Bad rows kept until the reader takes them; with more the import waits."""
_REJECTED_WAIT_S = 0.02


class ListFile:
    """Iterates once over the rows of a hash list that arrives in pieces.

    Another thread may read `bytes_read` and `rows_read` for progress; `sha256`, `rows_read`,
    `left_out` and `has_more` are final after the iteration. `left_out` counts by kind what the file
    holds that is not kept, `MAX_KINDS` of them by name; `has_more` is what the last page of a feed
    says. A record of which nothing is kept is no row. `format` is empty until it is detected.
    Raises InvalidInput if the format is unknown or cannot be detected, or if the file was
    truncated.
    """

    def __init__(
        self,
        chunks: Iterable[bytes],
        *,
        name: str = "",
        format: str = "",  # noqa: A002 (the wire's name)
        size_bytes: int = 0,
        sender_gone: Callable[[], bool] = lambda: False,
        keep_rejected: bool = False,
    ) -> None:
        """`size_bytes` is the size that the sender announced, 0 if unknown. `sender_gone` returns
        whether the sender is gone, which may show only after the last piece. With `keep_rejected`
        no bad row is lost, and another thread must call `take_rejected`."""
        self.name = PurePath(name.replace("\\", "/")).name[:_NAME_CHARS]
        self.format = format
        self.reading = Reading()
        """How to read the list; to be set before the iteration."""
        self.bytes_read = 0
        self.rows_read = 0
        self.left_out: dict[str, int] = {}
        self.has_more = False
        self._rejected: deque[BadRow] = deque()
        self._keep_rejected = keep_rejected
        self._digest = hashlib.sha256()
        self._chunks = chunks
        self._size_bytes = size_bytes
        self._sender_gone = sender_gone
        if format:
            formats.get_format(format)

    @property
    def sha256(self) -> str:
        """Digest of the bytes read so far, in lower-case hex."""
        return self._digest.hexdigest()

    def __iter__(self) -> Iterator[ImportRow | BadRow]:
        raw = decompressed(self._counted())
        start = _head(raw)
        refuse_foreign(start)
        chunks = text_bytes(chain((start,), raw))
        head = _head(chunks)
        if not self.format:
            self.format = formats.detect(head[:HEAD_BYTES], self.reading)
        rows = formats.get_format(self.format).rows(chain((head,), chunks), self.reading)
        for row in rows:
            if isinstance(row, (ImportRow, BadRow)):
                self.rows_read += 1
                yield row
            elif isinstance(row, LeftOut):
                self._count(row)
            else:
                self.has_more = row.has_more

    def _count(self, left_out: LeftOut) -> None:
        """Count what is not kept. Names of kinds are the list's own, so they may be anything."""
        words = "".join(c if c.isprintable() else " " for c in left_out.kind[:_NAME_CHARS]).split()
        kind = shown(" ".join(words)) or "unnamed"
        if kind not in self.left_out and len(self.left_out) >= MAX_KINDS:
            kind = OTHER_KINDS
        self.left_out[kind] = self.left_out.get(kind, 0) + left_out.number

    def reject(self, row: BadRow) -> None:
        """Keep a bad row for `take_rejected`; wait while too many are kept."""
        if not self._keep_rejected:
            return
        while len(self._rejected) >= MAX_REJECTED_WAITING:
            check()
            if self._sender_gone():
                self.check_complete()
            time.sleep(_REJECTED_WAIT_S)
        self._rejected.append(row)

    def take_rejected(self, limit: int) -> list[BadRow]:
        """Take at most `limit` bad rows that are not taken yet; from any thread."""
        return [self._rejected.popleft() for _ in range(min(limit, len(self._rejected)))]

    def _counted(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            self._digest.update(chunk)
            self.bytes_read += len(chunk)
            yield chunk
        self.check_complete()

    def check_complete(self) -> None:
        """Raises InvalidInput if the file was truncated. Call it again before the commit."""
        complete = self._size_bytes in (0, self.bytes_read)
        if not complete or self._sender_gone():
            announced = f" of {self._size_bytes}" if self._size_bytes else ""
            raise InvalidInput(
                f"file: ends after {self.bytes_read}{announced} bytes, nothing was imported; send "
                "it again",
                reason="FILE_BROKE_OFF",
                field="file",
            )


def _head(chunks: Iterable[bytes]) -> bytes:
    """Return the first pieces, of HEAD_BYTES or more together."""
    head = bytearray()
    for chunk in chunks:
        head += chunk
        if len(head) >= HEAD_BYTES:
            break
    return bytes(head)
