"""Lines of text from bytes in pieces of any size, in constant memory."""

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from featsvc.banks.lists.formats.rows import bad_row
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput

T = TypeVar("T")

MAX_LINE_BYTES = 4 * 2**20
"""Enough for an entry of sixteen vectors of 4,096 dimensions, or of sixteen parts of a text."""
_BOM = b"\xef\xbb\xbf"


class Lines:
    """Iterates over the lines of a file without their ends (LF or CRLF) and without a BOM.

    A line that is too long, is not UTF-8 or holds a NUL is yielded as "", so that line numbers
    stay right, and is added to `bad`, which the reader must empty. `number` is the number of the
    last line, from 1.
    """

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self.number = 0
        self.bad: list[BadRow] = []
        self._lines = self._split(chunks)

    def __iter__(self) -> Iterator[str]:
        return self._lines

    def take_bad(self) -> list[BadRow]:
        """Return the bad lines since the last call."""
        taken, self.bad = self.bad, []
        return taken

    def _split(self, chunks: Iterable[bytes]) -> Iterator[str]:
        rest = b""
        skipping = False
        for chunk in without_bom(chunks):
            data = rest + chunk
            if skipping:
                # The line was reported when it became too long: skip to its end.
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
        """Yield the lines of a block of whole lines; decode it at once if no line is bad."""
        try:
            lines = block.decode("utf-8").split("\n")
        except UnicodeDecodeError:
            lines = []
        if not lines or b"\0" in block or max(map(len, lines)) * 4 > MAX_LINE_BYTES:
            yield from map(self._text, block.split(b"\n"))
            return
        if b"\r" in block:
            lines = [line.removesuffix("\r") for line in lines]
        for self.number, line in enumerate(lines, self.number + 1):  # noqa: B020 (readers use it)
            yield line

    def _text(self, piece: bytes) -> str:
        self.number += 1
        if len(piece) > MAX_LINE_BYTES:
            return self._reject(piece, f"the line is longer than {MAX_LINE_BYTES} bytes")
        try:
            # Some writers pad lines to one length.
            text = piece.rstrip(b"\0\r").decode("utf-8")
        except UnicodeDecodeError as exc:
            return self._reject(
                piece,
                f"byte {exc.start + 1} of the line is not UTF-8 (0x{piece[exc.start]:02x}): the "
                "list may be Windows-1252 or Latin-1; save it as CSV UTF-8, or convert it with "
                "iconv -f WINDOWS-1252 -t UTF-8",
            )
        if "\0" in text:
            return self._reject(piece, "the line holds a NUL character; is it binary?")
        return text.removesuffix("\r")

    def _reject(self, piece: bytes, reason: str) -> str:
        row = piece[:1024].decode("utf-8", "replace").replace("\0", "\ufffd")
        self.bad.append(bad_row(self.number, "", reason, row))
        return ""


def read_lines(chunks: Iterable[bytes], parse: Callable[[int, str], T]) -> Iterator[T | BadRow]:
    """Parse every line that is not blank, given its number; InvalidInput makes it a bad row."""
    lines = Lines(chunks)
    for line in lines:
        if lines.bad:
            yield from lines.take_bad()
        if not line or line.isspace():
            continue
        try:
            row = parse(lines.number, line)
        except InvalidInput as exc:
            yield bad_row(lines.number, exc.field, str(exc), line)
        else:
            yield row
    yield from lines.take_bad()


def without_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the pieces without a byte order mark at the start."""
    head = b""
    pieces = iter(chunks)
    for chunk in pieces:
        head += chunk
        if len(head) >= len(_BOM):
            break
    yield head.removeprefix(_BOM)
    yield from pieces
