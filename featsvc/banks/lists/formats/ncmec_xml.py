"""NCMEC hash sharing v2, XML: each image or video is an entry with all its fingerprints.

    queryResult > images|videos > image|video|deletedImage|deletedVideo
        member@id, id, classification, fingerprints > md5|sha1|pdna|pdq|...
    queryResult > paging > next

The external id is `<member id>-<id>`, the classification is a label, the member's name the source;
negative feedback makes the opinion disputed. A `deletedImage` or `deletedVideo` withdraws its
entry. Large fingerprints are given by an `href`, and are counted as left out, as are fingerprints,
fields and records of unknown names. A file may hold several pages, one after another.

Expat parses the documents piece by piece. A document type declaration is refused, so there are no
entities, and nothing is ever fetched.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from xml.parsers import expat

from featsvc.banks.lists.formats.rows import (
    BY_REFERENCE,
    OTHER_KINDS,
    ImportRow,
    LeftOut,
    PageEnd,
    bad_row,
    check_row,
    kept_labels,
    kept_signals,
    our_name,
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
_FIELDS = frozenset({"member", "id", "timestamp", "classification", "fingerprints", "feedback"})
_NEXT_PAGE = ["queryResult", "paging", "next"]
_NEXT_DOCUMENT = frozenset(
    {
        expat.errors.codes[expat.errors.XML_ERROR_JUNK_AFTER_DOC_ELEMENT],
        expat.errors.codes[expat.errors.XML_ERROR_MISPLACED_XML_PI],
    }
)


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow | LeftOut | PageEnd]:
    """Raises InvalidInput for XML that is not well-formed: no later record could be trusted."""
    reader = _Reader()
    for chunk in chunks:
        for start in range(0, len(chunk), _PIECE_BYTES):
            yield from reader.feed(chunk[start : start + _PIECE_BYTES])
    yield from reader.feed(b"", last=True)


class _Record:
    """An image or video that is being read; `number` counts those of the file, from 1."""

    __slots__ = (
        "classification",
        "disputed",
        "error",
        "fingerprints",
        "id",
        "left_out",
        "line",
        "member",
        "number",
        "signals",
        "source",
        "unknown",
    )

    def __init__(self, line: int, number: int) -> None:
        self.line = line
        self.number = number
        self.member = self.source = self.id = self.classification = ""
        self.fingerprints = 0
        self.signals: dict[EntrySignal, None] = {}
        self.error: InvalidInput | None = None
        self.disputed = False
        self.left_out: Counter[str] = Counter()
        self.unknown: Counter[str] = Counter()


class _Reader:
    """Feeds a parser for each document of the file, and collects rows.

    `_kept` are the bytes from the parser's position on, which begins at byte `_begin` of its
    document: the next document may begin among them.
    """

    def __init__(self) -> None:
        self._rows: list[ImportRow | BadRow | LeftOut | PageEnd] = []
        self._records = 0
        self._lines_before = 0
        self._begin_document(b"")

    def _begin_document(self, data: bytes) -> None:
        self._path: list[str] = []
        self._text: list[str] = []
        self._text_chars = 0
        self._has_more = self._by_reference = False
        self._record: _Record | None = None
        self._kept, self._begin = data, 0
        parser = expat.ParserCreate()
        parser.buffer_text = True
        parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
        parser.StartDoctypeDeclHandler = self._refuse_doctype
        parser.StartElementHandler = self._start
        parser.EndElementHandler = self._end
        parser.CharacterDataHandler = self._characters
        self._parser = parser

    def feed(
        self, piece: bytes, *, last: bool = False
    ) -> Iterator[ImportRow | BadRow | LeftOut | PageEnd]:
        position = max(0, self._parser.CurrentByteIndex)
        self._kept = self._kept[position - self._begin :] + piece
        self._begin = position
        while True:
            try:
                self._parser.Parse(piece, last)
                break
            except expat.ExpatError as exc:
                piece = self._next_document(exc)
            except (LookupError, ValueError) as exc:
                raise self._error(f"not an encoding of XML that is read: {exc}") from exc
        if self._begin + len(self._kept) - self._parser.CurrentByteIndex > MAX_PENDING_BYTES:
            raise self._error(f"a tag is longer than {MAX_PENDING_BYTES} bytes")
        rows, self._rows = self._rows, []
        yield from rows

    def _next_document(self, error: expat.ExpatError) -> bytes:
        """Begin the document that follows, and return its data. Raises InvalidInput without one."""
        at = self._parser.ErrorByteIndex - self._begin
        if self._path or error.code not in _NEXT_DOCUMENT:
            message = f"not well-formed XML: {expat.ErrorString(error.code)}"
            line = self._lines_before + error.lineno
            raise InvalidInput(f"line {line}: {message}", field="file") from error
        self._lines_before += error.lineno - 1
        data = self._kept[at:]
        self._begin_document(data)
        return data

    def _line(self) -> int:
        return self._lines_before + self._parser.CurrentLineNumber

    def _error(self, message: str) -> InvalidInput:
        return InvalidInput(f"line {self._line()}: {message}", field="file")

    def _refuse_doctype(self, *_: object) -> None:
        raise self._error("document type declarations are refused; remove it from the list")

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        name = name.rpartition(":")[2]
        depth = len(self._path)
        if depth >= _MAX_DEPTH:
            raise self._error(f"elements are nested deeper than {_MAX_DEPTH}")
        if not self._path and name != "queryResult":
            raise self._error(
                f"the document is a {shown(name)!r}, not a queryResult of NCMEC's hash sharing"
            )
        if depth == _RECORD_DEPTH and name in _RECORDS:
            self._records += 1
            self._record = _Record(self._line(), self._records)
        elif depth == _RECORD_DEPTH and self._path[1] != "paging":
            self._rows.append(LeftOut(name))
        elif self._record is not None:
            if name == "member" and depth == _RECORD_DEPTH + 1:
                self._record.member = attributes.get("id", "")
            elif name == "negativeFeedback":
                self._record.disputed = True
            self._by_reference = "href" in attributes
        self._path.append(name)
        self._text.clear()
        self._text_chars = 0

    def _characters(self, text: str) -> None:
        if self._record is None and self._path != _NEXT_PAGE:
            return
        self._text_chars += len(text)
        if self._text_chars <= _MAX_TEXT_CHARS:
            self._text.append(text)
        elif self._path[-2] != "fingerprints":
            raise self._error(
                f"the text of {shown(self._path[-1])!r} is longer than {_MAX_TEXT_CHARS} characters"
            )

    def _end(self, _: str) -> None:
        record = self._record
        text = "".join(self._text).strip()
        if not self._path[1:]:
            self._rows.append(PageEnd(self._has_more))
        elif self._path == _NEXT_PAGE:
            self._has_more = bool(text)
        name = self._path.pop()
        if record is None:
            return
        self._text.clear()
        match self._path[2:]:
            case []:
                self._rows += _rows_of(record, withdrawn=_RECORDS[name])
                self._record = None
            case [_, "fingerprints"]:
                record.fingerprints += 1
                if self._by_reference and not text:
                    _count(record.left_out, BY_REFERENCE)
                elif self._text_chars > _MAX_TEXT_CHARS:
                    kind = f"{our_name(name)} of more than {_MAX_TEXT_CHARS:,} characters"
                    _count(record.left_out, kind)
                elif len(record.signals) <= MAX_ENTRY_SIGNALS:
                    _add_fingerprint(record, name, text)
            case [_]:
                _set(record, name, text)
        self._text_chars = 0


def _count(counts: Counter[str], kind: str) -> None:
    """Count a fingerprint or field by kind. A record may have many kinds, of any length."""
    kind = shown(kind)
    counts[kind if kind in counts or len(counts) < MAX_ENTRY_SIGNALS else OTHER_KINDS] += 1


def _left_out(counts: Counter[str]) -> list[LeftOut]:
    return [LeftOut(kind, count) for kind, count in counts.items()]


def _set(record: _Record, name: str, text: str) -> None:
    match name:
        case "member":
            record.source = text
        case "id":
            record.id = text
        case "classification":
            record.classification = text
        case _ if name not in _FIELDS:
            _count(record.unknown, f'field "{name}"')


def _add_fingerprint(record: _Record, name: str, text: str) -> None:
    left_out: list[LeftOut] = []
    try:
        record.signals.update(dict.fromkeys(kept_signals(name, text, left_out, field=name)))
    except InvalidInput as exc:
        record.error = record.error or exc
    for unkept in left_out:
        _count(record.left_out, unkept.kind)


def _rows_of(record: _Record, *, withdrawn: bool) -> Sequence[ImportRow | BadRow | LeftOut]:
    """Return the record's row, if anything of it is kept, and what is left out of it."""
    external_id = f"{record.member}-{record.id}" if record.id else ""
    labels_left_out: list[LeftOut] = []
    try:
        if not external_id:
            raise InvalidInput.at("id", "the record has no id")
        if record.error is not None:
            raise record.error
        if len(record.signals) > MAX_ENTRY_SIGNALS:
            raise InvalidInput.at("fingerprints", f"must be at most {MAX_ENTRY_SIGNALS}")
        if not record.fingerprints and not withdrawn:
            return [LeftOut("record without fingerprints")]
        if not record.signals and not withdrawn:
            return _left_out(record.left_out)
        labels = kept_labels([record.classification], labels_left_out)
        row = ImportRow(
            record.line,
            tuple(record.signals),
            external_id,
            labels,
            record.source,
            Opinion.DISPUTED if record.disputed else Opinion.UNSPECIFIED,
            withdrawn=withdrawn,
        )
        check_row(row)
    except InvalidInput as exc:
        reason = f"{exc} (record {record.number})"
        return [bad_row(record.line, exc.field, reason, external_id)]
    return [row, *labels_left_out, *_left_out(record.left_out), *_left_out(record.unknown)]
