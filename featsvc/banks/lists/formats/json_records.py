"""Records of JSON documents of any size, one at a time.

A file is any number of documents, one after another, each in a line of its own or not. A document
is a page, or an array of pages. A page is an object with an array of records under a known key:

    {"hashRecords": [{...}, {...}], "hasMoreRecords": true}

Where a page may be, a record may be too: an array of records, a record in each line.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, TypeVar

import msgspec

from featsvc.banks.lists.formats.lines import without_bom
from featsvc.errors import InvalidInput

T = TypeVar("T")

MAX_RECORD_BYTES = 2**20
PIECE_BYTES = 64 * 1024
"""A string that has not ended is scanned again when so much more data has arrived."""
_MAX_DEPTH = 64
# A lone quote begins a string whose end has not arrived yet. The possessive quantifiers keep no
# positions to backtrack to, which would take a hundred times the memory of the data.
_TOKEN = re.compile(rb'"(?:[^"\\]++|\\.)*+"|"|[{}\[\]]', re.DOTALL)
_BLANK = b" \t\r\n\xef\xbb\xbf"


class Record(NamedTuple):
    """A value where a record or a page may be; `number` counts records of the file, from 1.

    `paged` says that it was in the array of a page.
    """

    line: int
    number: int
    data: bytes
    paged: bool


class Page(NamedTuple):
    """The end of a page; `fields` are those of the page, its records left out."""

    fields: dict[str, Any]


def records(chunks: Iterable[bytes], key: str) -> Iterator[tuple[int, bytes]]:
    """Yield the records of all pages, and the line that each begins on. Raises as `pages` does."""
    for item in pages(chunks, key):
        if isinstance(item, Record):
            yield item.line, item.data


def pages(chunks: Iterable[bytes], key: str) -> Iterator[Record | Page]:
    """Yield each record, and each page at its end. The records of a page are under `key`.

    Raises InvalidInput if a document is not JSON or truncated, or holds a value of more than 1 MiB.
    """
    return _Reader(_pieces(without_bom(chunks)), key).documents()


def decode_record(decoder: msgspec.json.Decoder[T], record: bytes | str) -> T:
    """Raises InvalidInput, its `field` naming the column."""
    try:
        return decoder.decode(record)
    except msgspec.DecodeError as exc:
        _, _, column = str(exc).partition("`$.")
        raise InvalidInput(f"not a record: {exc}", field=column.rstrip("`")) from None
    except UnicodeDecodeError as exc:
        raise InvalidInput(
            f"not a record: 0x{exc.object[exc.start]:02x} in one of its texts is not UTF-8"
        ) from None


def _pieces(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Join small chunks: a long string must not be scanned at every byte that arrives."""
    waiting: list[bytes] = []
    size = 0
    for chunk in chunks:
        waiting.append(chunk)
        size += len(chunk)
        if size >= PIECE_BYTES:
            yield b"".join(waiting)
            waiting.clear()
            size = 0
    yield b"".join(waiting)


class _Reader:
    """Reads tokens, which are brackets and strings. Positions are those in the whole file.

    Data before `_keep` is dropped when more arrives; `_at` is the end of the last token.
    """

    def __init__(self, pieces: Iterator[bytes], key: str) -> None:
        self._pieces = pieces
        self._key = b'"' + key.encode() + b'"'
        self._data = b""
        self._dropped = self._keep = self._at = 0
        self._line, self._counted = 1, 0
        self._number = 0

    def documents(self) -> Iterator[Record | Page]:
        while token := self._between(b""):
            if token == b"{":
                yield from self._page()
            elif token == b"[":
                while (token := self._between(b",", within=True)) != b"]":
                    if token != b"{":
                        raise self._error("expected a page or a record")
                    yield from self._page()
            else:
                raise self._error("not JSON: a bracket closes nothing")

    def _page(self) -> Iterator[Record | Page]:
        """Read on after the brace of a page, or of a record among pages."""
        begin = self._keep = self._at - 1
        line = self._line_of(begin)
        outline: list[bytes] = []
        outline_bytes = 0
        last = b""
        while (token := self._token()) != b"}":
            if token == b"[" and last == self._key and self._gap().strip(_BLANK) == b":":
                outline.append(self._slice(self._keep))
                outline_bytes += len(outline[-1])
                yield from self._array()
                self._keep = self._at - 1
            elif token in (b"{", b"["):
                self._skip_value()
            elif token == b"]":
                raise self._error("not JSON: ] closes {")
            if outline_bytes + self._at - self._keep > MAX_RECORD_BYTES:
                raise self._too_long()
            last = token
        if not outline:
            self._number += 1
            yield Record(line, self._number, self._slice(begin), paged=False)
            return
        try:
            fields = _page_decoder.decode(b"".join((*outline, self._slice(self._keep))))
        except (msgspec.DecodeError, UnicodeDecodeError) as exc:
            raise InvalidInput(f"line {line}: not JSON: {exc}", field="file") from None
        yield Page(fields)

    def _array(self) -> Iterator[Record]:
        """Read on after the bracket of an array of records."""
        while True:
            before = self._keep = self._at
            token = self._token()
            if self._gap().strip(_BLANK + b",") or token.startswith(b'"'):
                # Numbers and strings instead of records.
                yield self._record(before)
            if token == b"]":
                return
            if token == b"}":
                raise self._error("not JSON: } closes [")
            if token in (b"{", b"["):
                self._keep = self._at - 1
                self._skip_value()
                yield self._record(self._keep)

    def _record(self, begin: int) -> Record:
        if self._at - begin > MAX_RECORD_BYTES:
            raise self._too_long()
        self._number += 1
        line = self._line_of(begin)
        return Record(line, self._number, self._slice(begin), paged=True)

    def _between(self, separators: bytes, *, within: bool = False) -> bytes:
        """Return the next bracket between pages; b"" at the end, unless it is `within` an array."""
        self._keep = self._at
        token = self._token(may_end=not within)
        if self._gap().strip(_BLANK + separators) or token.startswith(b'"'):
            raise self._error("not JSON: expected a page or a record")
        return token

    def _token(self, *, may_end: bool = False) -> bytes:
        """Consume the next token; b"" at the end of the file, if it may end here."""
        self._before = self._at
        while True:
            found = _TOKEN.search(self._data, self._at - self._dropped)
            if found and found.group() != b'"':
                self._at = self._dropped + found.end()
                self._token_bytes = len(found.group())
                return found.group()
            if not self._more():
                if not may_end or found:
                    raise self._truncated()
                self._at = self._dropped + len(self._data)
                self._token_bytes = 0
                return b""

    def _gap(self) -> bytes:
        """Return what is between the last two tokens."""
        return self._slice(self._before, self._at - self._token_bytes)

    def _skip_value(self) -> None:
        """Read on to the end of the object or array that the last token begins."""
        depth = 1
        while True:
            end = self._at - self._dropped
            for found in _TOKEN.finditer(self._data, end):
                kind = found.group()
                if kind == b'"':
                    break
                end = found.end()
                if kind in b"{[":
                    depth += 1
                    if depth > _MAX_DEPTH:
                        raise self._error(f"values are nested deeper than {_MAX_DEPTH}")
                elif kind in b"}]":
                    depth -= 1
                    if not depth:
                        self._at = self._dropped + end
                        return
            self._at = self._dropped + end
            if not self._more():
                raise self._truncated()

    def _more(self) -> bool:
        """Append the next piece of data, and return whether there was one."""
        if self._dropped + len(self._data) - self._keep > MAX_RECORD_BYTES:
            raise self._too_long()
        piece = next(self._pieces, None)
        if piece is None:
            return False
        self._line_of(self._keep)
        self._data = self._slice(self._keep, self._dropped + len(self._data)) + piece
        self._dropped = self._keep
        return True

    def _slice(self, begin: int, end: int | None = None) -> bytes:
        end = self._at if end is None else end
        return self._data[begin - self._dropped : end - self._dropped]

    def _line_of(self, position: int) -> int:
        """Return the line of a position, which must not go back."""
        begin, end = self._counted - self._dropped, position - self._dropped
        self._line += self._data.count(b"\n", begin, end) if begin < end else 0
        self._counted = max(self._counted, position)
        return self._line

    def _error(self, message: str) -> InvalidInput:
        return InvalidInput(f"line {self._line_of(self._at)}: {message}", field="file")

    def _truncated(self) -> InvalidInput:
        return self._error("the JSON document is truncated")

    def _too_long(self) -> InvalidInput:
        return self._error(f"a value is longer than {MAX_RECORD_BYTES} bytes")


_page_decoder = msgspec.json.Decoder(dict[str, Any])
