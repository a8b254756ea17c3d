"""MISP's CSV export: an attribute in each row.

    uuid,event_id,category,type,value,comment,to_ids,date,object_relation,attribute_tag,object_uuid,...

Read as `misp` reads attributes: those of an object are one entry, whose external id is the UUID of
the object. The export does not hold what is deleted.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial

from featsvc.banks.lists.formats.columns import plain
from featsvc.banks.lists.formats.csv_rows import odd_row, table_rows
from featsvc.banks.lists.formats.dialect import has_header
from featsvc.banks.lists.formats.exchanges import Rows, entry
from featsvc.banks.lists.formats.misp import TO_IDS, signal_of
from featsvc.banks.lists.formats.rows import ImportRow, LeftOut, bad_row
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput

_REQUIRED = frozenset({"uuid", "event_id", "category", "type", "value", "to_ids"})
_TRUE = frozenset({"1", "true"})


def is_header(lines: Sequence[str]) -> bool:
    return has_header(lines, _has_meaning)


def _has_meaning(header: Sequence[str]) -> bool:
    return frozenset(map(plain, header)) >= _REQUIRED


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow | LeftOut]:
    """Raises InvalidInput if the first line is no header of MISP."""
    for rows in table_rows(chunks, _parser, _has_meaning):
        if isinstance(rows, BadRow):
            yield rows
        else:
            yield from rows


def _parser(
    line: int, header: list[str], delimiter: str
) -> Callable[[int, list[str]], list[ImportRow | BadRow | LeftOut]]:
    names = [plain(name) for name in header]
    if not _REQUIRED.issubset(names):
        raise InvalidInput(
            f"line {line}: MISP's CSV has the columns {', '.join(sorted(_REQUIRED))}",
            field="header",
        )
    return partial(_parse, names, delimiter)


def _parse(
    names: Sequence[str], delimiter: str, line: int, fields: Sequence[str]
) -> list[ImportRow | BadRow | LeftOut]:
    if len(fields) != len(names):
        return [odd_row(line, fields, len(names), delimiter)]
    try:
        return list(_rows(line, names, fields))
    except InvalidInput as exc:
        return [bad_row(line, exc.field, str(exc), delimiter.join(fields))]


def _rows(line: int, header: Sequence[str], fields: Sequence[str]) -> Rows:
    cells = dict(zip(header, fields, strict=True))
    kind = cells["type"].strip()
    signal = signal_of(kind, cells["value"])
    if signal is None:
        yield LeftOut(f"attribute of type {kind}")
        return
    labels = cells.get("attribute_tag", "").split(",")
    if cells["to_ids"].strip().lower() in _TRUE:
        labels.append(TO_IDS)
    external_id = cells.get("object_uuid", "").strip() or cells["uuid"]
    yield from entry(
        line, [signal], external_id=external_id, labels=labels, note=cells.get("comment", "")
    )
