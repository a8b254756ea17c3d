"""Bytes in pieces of any size to lines of text, in constant memory."""

from collections.abc import Iterable, Iterator

from featsvc.banks.formats.rows import bad_row
from featsvc.banks.records import BadRow

MAX_LINE_BYTES = 64 * 1024
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
        return self

    def __next__(self) -> str:
        return next(self._lines)

    def take_bad(self) -> list[BadRow]:
        """The bad lines since the last call."""
        taken, self.bad = self.bad, []
        return taken

    def _split(self, chunks: Iterable[bytes]) -> Iterator[str]:
        rest = b""
        skipping = False
        for chunk in _without_bom(chunks):
            pieces = (rest + chunk).split(b"\n")
            rest = pieces.pop()
            for piece in pieces:
                if skipping:
                    # The end of a line that was reported when it passed the cap.
                    skipping = False
                    continue
                yield self._text(piece)
            if len(rest) > MAX_LINE_BYTES:
                if not skipping:
                    yield self._text(rest)
                skipping, rest = True, b""
        if rest and not skipping:
            yield self._text(rest)

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


def _without_bom(chunks: Iterable[bytes]) -> Iterator[bytes]:
    head = b""
    pieces = iter(chunks)
    for chunk in pieces:
        head += chunk
        if len(head) >= len(_BOM):
            break
    yield head.removeprefix(_BOM)
    yield from pieces
