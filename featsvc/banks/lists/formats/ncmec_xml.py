"""NCMEC hash sharing v2, XML: each image or video is an entry with all its fingerprints.

    queryResult > images|videos > image|video|deletedImage|deletedVideo
        member@id, id, classification, fingerprints > md5|sha1|pdna|pdq|...

The external id is `<member id>-<id>`, the classification is a label, the member's name the source;
negative feedback makes the opinion disputed. A `deletedImage` or `deletedVideo` withdraws its
entry. Expat parses the document piece by piece. A document type declaration is refused, so there
are no entities, and nothing is ever fetched.
"""

from collections.abc import Iterable, Iterator
from xml.parsers import expat

from featsvc.banks.lists.formats.rows import (
    ImportRow,
    algorithm_of,
    bad_row,
    check_row,
    parse_listed_signal,
)
from featsvc.banks.records import MAX_ENTRY_SIGNALS, EntrySignal, Opinion
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput, shown

MAX_PENDING_BYTES = 2**20
_MAX_TEXT_CHARS = 64 * 1024
_MAX_DEPTH = 64
_RECORD_DEPTH = 2
"""Elements around a record."""
_PIECE_BYTES = 64 * 1024
_RECORDS = {"image": False, "video": False, "deletedImage": True, "deletedVideo": True}


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    """Raises InvalidInput for XML that is not well-formed: no later record could be trusted."""
    reader = _Reader()
    fed = 0
    for chunk in chunks:
        for start in range(0, len(chunk), _PIECE_BYTES):
            piece = chunk[start : start + _PIECE_BYTES]
            fed += len(piece)
            yield from reader.feed(piece, fed)
    yield from reader.feed(b"", fed, last=True)


class _Record:
    """An image or video that is being read."""

    __slots__ = ("classification", "disputed", "line", "member", "number", "signals", "source")

    def __init__(self, line: int) -> None:
        self.line = line
        self.member = self.source = self.number = self.classification = ""
        self.signals: list[tuple[str, str]] = []
        self.disputed = False


class _Reader:
    def __init__(self) -> None:
        self._rows: list[ImportRow | BadRow] = []
        self._path: list[str] = []
        self._text: list[str] = []
        self._text_chars = 0
        self._record: _Record | None = None
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        self._parser = parser

    def feed(self, piece: bytes, fed: int, *, last: bool = False) -> Iterator[ImportRow | BadRow]:
        try:
            self._parser.Parse(piece, last)
        except expat.ExpatError as exc:
            message = f"not well-formed XML: {expat.ErrorString(exc.code)}"
            raise InvalidInput(f"line {exc.lineno}: {message}", field="file") from exc
        if fed - self._parser.CurrentByteIndex > MAX_PENDING_BYTES:
            raise self._error(f"a tag is longer than {MAX_PENDING_BYTES} bytes")
        rows, self._rows = self._rows, []
        yield from rows

    def _error(self, message: str) -> InvalidInput:
        return InvalidInput(f"line {self._parser.CurrentLineNumber}: {message}", field="file")

    def _refuse_doctype(self, *_: object) -> None:
        raise self._error("document type declarations are refused; remove it from the list")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        if len(self._path) >= _MAX_DEPTH:
            raise self._error(f"elements are nested deeper than {_MAX_DEPTH}")
        if not self._path and name != "queryResult":
            raise self._error(
                f"the document is a {shown(name)!r}, not a queryResult of NCMEC's hash sharing"
            )
        if len(self._path) == _RECORD_DEPTH and name in _RECORDS:
            self._record = _Record(self._parser.CurrentLineNumber)
        elif self._record is not None:
            if name == "member" and len(self._path) == _RECORD_DEPTH + 1:
                self._record.member = attributes.get("id", "")
            elif name == "negativeFeedback":
                self._record.disputed = True
        self._path.append(name)
        self._text.clear()
        self._text_chars = 0

    def _characters(self, text: str) -> None:
        if self._record is None:
            return
        self._text_chars += len(text)
        if self._text_chars > _MAX_TEXT_CHARS:
            raise self._error(
                f"the text of {shown(self._path[-1])!r} is longer than {_MAX_TEXT_CHARS} characters"
            )
        self._text.append(text)

    def _end(self, _: str) -> None:
        name = self._path.pop()
        record = self._record
        if record is None:
            return
        text = "".join(self._text).strip()
        self._text.clear()
        match self._path[2:]:
            case []:
                self._rows.append(_parse(record, withdrawn=_RECORDS[name]))
                self._record = None
            case [_, "fingerprints"]:
                if len(record.signals) <= MAX_ENTRY_SIGNALS:
                    record.signals.append((name, text))
            case [_]:
                _set(record, name, text)


def _set(record: _Record, name: str, text: str) -> None:
    match name:
        case "member":
            record.source = text
        case "id":
            record.number = text
        case "classification":
            record.classification = text


def _parse(record: _Record, *, withdrawn: bool) -> ImportRow | BadRow:
    external_id = f"{record.member}-{record.number}" if record.number else ""
    try:
        if not external_id:
            raise InvalidInput.at("id", "the record has no id")
        if not record.signals and not withdrawn:
            raise InvalidInput.at("fingerprints", "the record has no fingerprints")
        if len(record.signals) > MAX_ENTRY_SIGNALS:
            raise InvalidInput.at("fingerprints", f"must be at most {MAX_ENTRY_SIGNALS}")
        row = ImportRow(
            record.line,
            tuple(dict.fromkeys(_signal(name, text) for name, text in record.signals)),
            external_id,
            (record.classification,) if record.classification else (),
            record.source,
            Opinion.DISPUTED if record.disputed else Opinion.UNSPECIFIED,
            withdrawn=withdrawn,
        )
        check_row(row)
    except InvalidInput as exc:
        return bad_row(record.line, exc.field, str(exc), external_id)
    return row


def _signal(name: str, text: str) -> EntrySignal:
    return parse_listed_signal(algorithm_of(name, field=name), text, field=name)
