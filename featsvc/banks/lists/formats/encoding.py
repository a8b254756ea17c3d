"""Lists in other encodings than UTF-8: converted piece by piece, in constant memory.

    UTF-16, UTF-32    by their byte order mark; UTF-16 also by the zeros of its first letters
    CR line ends      where the first 64 KiB have no LF
    NUL padding       zero bytes at the end, up to a whole block

Everything else is passed on as it came: readers report the bytes that are not UTF-8.
"""

import codecs
from collections.abc import Iterable, Iterator

from featsvc.errors import InvalidInput

HEAD_BYTES = 64 * 1024
_BOMS = (
    (codecs.BOM_UTF32_LE, "utf-32-le"),
    (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
# Letters at the start that show UTF-16 without a mark, and how many of them must be ASCII.
_SHOWN_LETTERS = 4
_MIN_ZEROS = 3
_NULS = bytes(HEAD_BYTES)


def text_bytes(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield the list in UTF-8, with LF line ends if it has none, without NULs at its end.

    Raises InvalidInput, naming the byte, for what is not valid in the encoding that was detected.
    """
    pieces = iter(chunks)
    start = bytearray()
    for chunk in pieces:
        start += chunk
        if len(start) >= HEAD_BYTES:
            break
    head = bytes(start)
    encoding, mark = _detected(head)
    text = _chained(head, pieces)
    if encoding:
        text = _decoded(text, encoding, mark)
        head = next(text, b"")
        text = _chained(head, text)
    if b"\r" in head and b"\n" not in head:
        text = (piece.replace(b"\r", b"\n") for piece in text)
    return _unpadded(text)


def _detected(head: bytes) -> tuple[str, int]:
    """Return the encoding, "" for UTF-8 and whatever else is no wider, and the mark's length."""
    for mark, encoding in _BOMS:
        if head.startswith(mark):
            return encoding, len(mark)
    start = head[: 2 * _SHOWN_LETTERS]
    low, high = start[::2].count(0), start[1::2].count(0)
    if low == 0 and high >= _MIN_ZEROS:
        return "utf-16-le", 0
    if high == 0 and low >= _MIN_ZEROS:
        return "utf-16-be", 0
    return "", 0


def _chained(head: bytes, pieces: Iterator[bytes]) -> Iterator[bytes]:
    if head:
        yield head
    yield from pieces


def _decoded(pieces: Iterable[bytes], encoding: str, mark: int) -> Iterator[bytes]:
    decoder = codecs.getincrementaldecoder(encoding)()
    taken = -mark
    piece = b""
    waiting = 0  # bytes of a letter whose end has not arrived yet
    try:
        for whole in pieces:
            piece, mark = whole[mark:], 0
            text = decoder.decode(piece)
            taken += len(whole)
            waiting = len(decoder.getstate()[0])
            if text:
                yield text.encode("utf-8")
        decoder.decode(b"", final=True)
    except UnicodeDecodeError as exc:
        name = encoding[:6].upper()
        raise InvalidInput(
            f"file: the list is {name}, and about byte {taken - waiting + exc.start + 1} of it is "
            f"not: the file is damaged or cut off. Save it again, as CSV UTF-8",
            reason="TEXT_NOT_UTF8",
            field="file",
        ) from None


def _unpadded(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Leave out the NULs at the end; they are only counted until more follows."""
    padding = 0
    for piece in pieces:
        kept = piece
        if piece.endswith(b"\0"):
            kept = piece.rstrip(b"\0")
            if not kept:
                padding += len(piece)
                continue
        while padding:
            nuls = min(padding, len(_NULS))
            yield _NULS[:nuls]
            padding -= nuls
        padding = len(piece) - len(kept)
        yield kept
