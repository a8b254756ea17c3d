"""Bytes in pieces of any size to lines of text, in constant memory."""

from collections.abc import Iterable, Iterator

from featsvc.banks.lists.formats.rows import bad_row
from featsvc.banks.results import BadRow

MAX_LINE_BYTES = 4 * 2**20
"""An entry of sixteen vectors of 4,096 dimensions, or of sixteen parts of a text, has room."""
_BOM = b"\xef\xbb\xbf"


class Lines:
    """Iterates over the lines of a file without their ends (LF or CRLF; a BOM is dropped).

    A line that is too long, no UTF-8, or holds a NUL comes out empty, so that line numbers hold,
    and is put into `bad`, which the reader empties. `number` is that of the last line, from 1.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.number = 0
        self.bad: list[BadRow] = []
        self._lines = self._split(chunks)

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def take_bad(self) -> list[BadRow]:
        """The bad lines since the last call."""
        taken, self.bad = self.bad, []
        return taken

    def _split(self, chunks: Iterable[bytes]) -> Iterator[str]:
        rest = b""
        skipping = False
        for chunk in without_bom(chunks):
            data = rest + chunk
            if skipping:
                # Up to the end of a line that was reported when it passed the cap.
                _, newline, data = data.partition(b"\n")
                skipping = not newline
            whole, newline, rest = data.rpartition(b"\n")
            if newline:
                yield from self._texts(whole)
            if len(rest) > MAX_LINE_BYTES:
                yield self._text(rest)
                skipping, rest = True, b""
        if rest:
            yield self._text(rest)

    def _texts(self, block: bytes) -> Iterator[str]:
        """The lines of a block of whole ones: all at once where nothing is wrong with any."""
        try:
            lines = block.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            lines = []
        if not lines or b"\0" in block or max(map(len, lines)) * 4 > MAX_LINE_BYTES:
            yield from map(self._text, block.split(b"\n"))
            return
        if b"\r" in block:
            lines = [line.removesuffix("\r") for line in lines]
        for self.number, line in enumerate(lines, self.number + 1):  # noqa: B020 (readers look)
            yield line

    def _text(self, piece: bytes) -> str:
        self.number += 1
        if len(piece) > MAX_LINE_BYTES:
            return self._reject(piece, f"longer than {MAX_LINE_BYTES} bytes")
        try:
            text = piece.decode("utf-8")
        except UnicodeDecodeError as exc:
            return self._reject(piece, f"byte {exc.start + 1} is not UTF-8")
        if "\0" in text:
            return self._reject(piece, "holds a NUL character")
        return text.removesuffix("\r")

    def _reject(self, piece: bytes, reason: str) -> str:
        shown = piece[:1024].decode("utf-8", "replace").replace("\0", "\ufffd")
        self.bad.append(bad_row(self.number, "", reason, shown))
        return ""


def without_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """The pieces without the byte order mark that may begin them."""
    head = b""
    pieces = iter(chunks)
    for chunk in pieces:
        head += chunk
        if len(head) >= len(_BOM):
            break
    yield head.removeprefix(_BOM)
    yield from pieces
