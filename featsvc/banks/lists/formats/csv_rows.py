"""Our CSV, and the CSV of `tx dataset`. The header names the columns, in any order.

    algorithm,signal,external_id,labels,source,opinion,note,expire_time,variant,quality,withdrawn
    signal_type,signal_str,collab,category,tags

`algorithm` and `signal` (`signal_type` and `signal_str`) are required. `signal` is hex, the text of
an algorithm that is only stored, or for `raw_text` the text to be hashed. Labels are separated by
`;` (tags by blanks). `opinion` is positive, negative, disputed or empty; `expire_time` is ISO 8601
(UTC if it has no offset); `withdrawn` is true, false or empty. Quoting is that of RFC 4180; a
quoted field may span lines, and a row has the number of the line it begins on. `spreadsheet` says
how a cell is written that a spreadsheet would run.
"""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from operator import itemgetter
from typing import NamedTuple

from featsvc.banks.lists.formats.lines import Lines
from featsvc.banks.lists.formats.rows import (
    ImportRow,
    bad_row,
    check_row,
    clean_labels,
    listed_algorithm,
    parse_listed_signals,
    parse_time,
)
from featsvc.banks.lists.formats.spreadsheet import format_cell, parse_cell
from featsvc.banks.records import (
    MAX_EXTERNAL_ID_BYTES,
    MAX_QUALITY,
    Entry,
    Opinion,
    check_text,
    check_variant,
)
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput, shown


class Cells(NamedTuple):
    """The cells of a written row, in the order of the columns."""

    algorithm: str
    signal: str
    external_id: str = ""
    labels: str = ""
    source: str = ""
    opinion: str = ""
    note: str = ""
    expire_time: str = ""
    variant: str = ""
    quality: str = ""
    withdrawn: str = ""


REQUIRED = ("algorithm", "signal")
COLUMNS = Cells._fields
HEADER = (",".join(COLUMNS) + "\n").encode()
# Columns of tx -> ours.
_TX_COLUMNS = {
    "signal_type": "algorithm",
    "signal_str": "signal",
    "collab": "source",
    "category": "opinion",
    "tags": "labels",
}
_TX_OPINIONS = {"positive_class": "positive", "negative_class": "negative"}
_FLAGS = {"": False, "false": False, "0": False, "no": False, "true": True, "1": True, "yes": True}
_CACHED_CELLS = 10_000
_QUALITY_DIGITS = len(str(MAX_QUALITY))
MAX_OPEN_BYTES = 64 * 1024
"""Limit of a row that spans lines: an open quote must not swallow the list."""


def is_header(line: str) -> bool:
    return all(name in _names(line) for name in REQUIRED)


def is_tx_header(line: str) -> bool:
    return {"signal_type", "signal_str"} <= set(_names(line))


def _names(line: str) -> list[str]:
    return [name.strip().strip('"').lower() for name in line.split(",")]


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    """Raises InvalidInput for an unknown header: no row could be trusted."""
    lines = Lines(chunks)
    parser = None
    for text in lines:
        line, fields, error = lines.number, text.split(","), ""
        if '"' in text:
            fields, error = _quoted(text, lines)
        if error and parser is None:
            raise InvalidInput(f"line {line}: {error}", field="header")
        if error:
            yield bad_row(line, "", error, "")
        elif not fields[0] and not "".join(fields).strip():
            pass
        elif parser is None:
            parser = _Parser(_columns(line, fields), tx="signal_type" in _names(fields[0]))
        else:
            yield parser.parse(line, fields)
        if lines.bad:
            yield from lines.take_bad()
    yield from lines.take_bad()


def _quoted(text: str, lines: Lines) -> tuple[list[str], str]:
    """Return the fields of a row with quotes, which may span lines, or [] and the error."""
    try:
        return next(csv.reader(_capped(text, lines), strict=True)), ""
    except (csv.Error, _RowTooLong) as exc:
        # The lines that an open quote swallowed are lost; the next line is a new row.
        return [], f"not CSV: {exc}"


def _capped(first: str, lines: Lines) -> Iterator[str]:
    yield first + "\n"
    taken = len(first)
    for text in lines:
        taken += len(text) + 1
        if taken > MAX_OPEN_BYTES:
            raise _RowTooLong
        yield text + "\n"


class _RowTooLong(Exception):
    def __init__(self) -> None:
        super().__init__(
            f"the row spans lines and is longer than {MAX_OPEN_BYTES} bytes; is a quote left open?"
        )


def _columns(line: int, header: Sequence[str]) -> tuple[str, ...]:
    names = tuple(name.strip().lower() for name in header)
    if "signal_type" in names:
        names = tuple(_TX_COLUMNS.get(name, name) for name in names)
    for name in names:
        if name not in COLUMNS:
            raise InvalidInput(
                f"line {line}: unknown column {shown(name)!r}; known are {', '.join(COLUMNS)}",
                field="header",
            )
    for name in (*REQUIRED, *names):
        if names.count(name) != 1:
            raise InvalidInput(
                f"line {line}: the column {name} must occur once, not {names.count(name)} times",
                field="header",
            )
    return names


class _Parser:
    """Parses the fields of rows. Cells that many rows share are parsed once."""

    def __init__(self, columns: tuple[str, ...], *, tx: bool) -> None:
        self._columns = columns
        self._tx = tx
        index = {name: i for i, name in enumerate(columns)}
        self._algorithm, self._signal = index["algorithm"], index["signal"]
        self._external_id = index.get("external_id", -1)
        shared = [index[name] for name in columns if name not in (*REQUIRED, "external_id")]
        # The key of `_known`: a text or a tuple of texts; any column serves if there are no others.
        self._key = itemgetter(*(shared or [self._algorithm]))
        self._known: dict[object, _SharedCells] = {}
        self._algorithms: dict[str, str] = {}

    def parse(self, line: int, fields: list[str]) -> ImportRow | BadRow:
        if len(fields) != len(self._columns):
            reason = f"the row has {len(fields)} fields, the header has {len(self._columns)}"
            return bad_row(line, "", reason, ",".join(fields))
        try:
            name = fields[self._algorithm]
            algorithm = self._algorithms.get(name)
            if algorithm is None:
                algorithm = self._algorithms[name] = listed_algorithm(name)
            key = self._key(fields)
            shared = self._known.get(key) or self._remember(key, fields)
            value = fields[self._signal]
            if value[:1] == "'":  # rare: this saves a call for each row
                value = parse_cell(value)
            signals = parse_listed_signals(
                algorithm, value, variant=shared.variant, quality=shared.quality
            )
            external_id = parse_cell(fields[self._external_id]) if self._external_id >= 0 else ""
            check_text("external_id", external_id, MAX_EXTERNAL_ID_BYTES)
        except InvalidInput as exc:
            return bad_row(line, exc.field, str(exc), ",".join(fields))
        return ImportRow(line, signals, external_id, *shared.fields)

    def _remember(self, key: object, fields: Sequence[str]) -> "_SharedCells":
        if len(self._known) >= _CACHED_CELLS:
            self._known.clear()
        cells = dict(zip(self._columns, fields, strict=True))
        shared = self._known[key] = _parse_shared(cells, tx=self._tx)
        return shared


class _SharedCells(NamedTuple):
    """The parsed cells besides algorithm, signal and external id."""

    variant: str
    quality: int | None
    fields: tuple[tuple[str, ...], str, Opinion, str, datetime | None, bool, int]
    """The fields of an `ImportRow` from `labels` on."""


def _parse_shared(cells: dict[str, str], *, tx: bool) -> _SharedCells:
    """Raises InvalidInput."""
    opinion = cells.get("opinion", "").strip().lower()
    labels = parse_cell(cells.get("labels", ""))
    if tx:
        opinion, labels = _TX_OPINIONS.get(opinion, opinion), ";".join(labels.split())
    expires = cells.get("expire_time", "").strip()
    flag = cells.get("withdrawn", "").strip().lower()
    if flag not in _FLAGS:
        raise InvalidInput.at("withdrawn", f"must be true or false, not {shown(flag)!r}")
    variant = check_variant(parse_cell(cells.get("variant", "")) or "original")
    quality = parse_quality(cells.get("quality", "").strip())
    row = ImportRow(
        0,
        (),
        labels=clean_labels(labels.split(";")),
        source=parse_cell(cells.get("source", "")),
        opinion=parse_opinion(opinion),
        note=parse_cell(cells.get("note", "")),
        expire_time=parse_time(expires, field="expire_time") if expires else None,
        withdrawn=_FLAGS[flag],
    )
    check_row(row)
    return _SharedCells(variant, quality, row[3:])


def parse_quality(text: str) -> int | None:
    """Parse 0 to 100; None for an empty text. Raises InvalidInput."""
    if not text:
        return None
    if (
        not (text.isascii() and text.isdigit())
        or len(text) > _QUALITY_DIGITS
        or int(text) > MAX_QUALITY
    ):
        raise InvalidInput.at("quality", f"must be 0 to {MAX_QUALITY}, not {shown(text)!r}")
    return int(text)


def parse_opinion(text: str) -> Opinion:
    """Raises InvalidInput."""
    try:
        return Opinion(text.strip().lower())
    except ValueError:
        raise InvalidInput.at(
            "opinion", f"must be positive, negative or disputed, not {shown(text)!r}"
        ) from None


def write(entry: Entry) -> Iterable[bytes]:
    """Write a row for each signal; `HEADER` comes before all rows."""
    text = io.StringIO()
    labels = format_cell(";".join(entry.labels))
    external_id, source, note = map(format_cell, (entry.external_id, entry.source, entry.note))
    expires = "" if entry.expire_time is None else entry.expire_time.isoformat()
    # With these line ends a cell with a carriage return is quoted, too.
    csv.writer(text, lineterminator="\r\n").writerows(
        Cells(
            algorithm=s.algorithm,
            signal=format_cell(s.text),
            external_id=external_id,
            labels=labels,
            source=source,
            opinion=entry.opinion.value,
            note=note,
            expire_time=expires,
            variant="" if s.variant == "original" else format_cell(s.variant),
            quality="" if s.quality is None else str(s.quality),
        )
        for s in entry.signals
    )
    yield text.getvalue().replace("\r\n", "\n").encode()
