"""The CSV that Meta's `tx dataset --print-signals --csv` writes. The header names the columns.

    collab,signal_type,signal_str,category,tags

Each row is an entry: `collab` is its source, `category` its opinion (POSITIVE_CLASS,
NEGATIVE_CLASS; INVESTIGATION_SEED leaves it open), and `tags` its labels, separated by blanks. An
`external_id` may be added. Other columns, categories and kinds of signals are counted as left out.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

from featsvc.banks.lists.formats import csv_rows
from featsvc.banks.lists.formats.dialect import has_header
from featsvc.banks.lists.formats.rows import (
    ImportRow,
    LeftOut,
    bad_row,
    check_row,
    kept_labels,
    kept_signals,
)
from featsvc.banks.records import Opinion
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput

_Parsed: TypeAlias = ImportRow | BadRow | list[ImportRow | LeftOut]
_COLUMNS = ("signal_type", "signal_str", "collab", "category", "tags", "external_id")
_REQUIRED = frozenset(_COLUMNS[:2])
_CACHED_CHARS = 512
_OPINIONS = {
    "": Opinion.UNSPECIFIED,
    "investigation_seed": Opinion.UNSPECIFIED,
    "positive_class": Opinion.POSITIVE,
    "negative_class": Opinion.NEGATIVE,
}


def is_header(lines: Sequence[str]) -> bool:
    return has_header(lines, _has_meaning)


def _has_meaning(header: Sequence[str]) -> bool:
    return set(_names(header)) >= _REQUIRED


def _names(header: Sequence[str]) -> list[str]:
    return [name.strip().lower() for name in header]


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow | LeftOut]:
    """Raises InvalidInput for a header without the required columns, or with one of them twice."""
    rows: Iterator[_Parsed | BadRow] = csv_rows.table_rows(chunks, _parser, _has_meaning)
    for row in rows:
        if isinstance(row, list):
            yield from row
        else:
            yield row


def _parser(
    line: int, header: Sequence[str], delimiter: str
) -> Callable[[int, Sequence[str]], _Parsed]:
    columns = _names(header)
    for name in _COLUMNS:
        if columns.count(name) > 1 or (name in _REQUIRED and name not in columns):
            raise InvalidInput(
                f"line {line}: the column {name} must occur once, not {columns.count(name)} times",
                field="header",
            )

    others = [index for index, name in enumerate(columns) if name not in _COLUMNS]

    def parse(number: int, fields: Sequence[str]) -> _Parsed:
        if len(fields) != len(columns):
            return csv_rows.odd_row(number, fields, len(columns), delimiter)
        left_out: list[LeftOut] = []
        try:
            row = _parse(number, dict(zip(columns, fields, strict=True)), left_out)
        except InvalidInput as exc:
            return bad_row(number, exc.field, str(exc), delimiter.join(fields))
        if row is not None and others:
            left_out.extend(LeftOut(f'column "{columns[i]}"') for i in others if fields[i])
        if row is not None and not left_out:
            return row
        return [*left_out] if row is None else [*left_out, row]

    return parse


def _parse(line: int, cells: dict[str, str], left_out: list[LeftOut]) -> ImportRow | None:
    """Return the row, None if nothing of it is kept. Raises InvalidInput."""
    signals = kept_signals(cells["signal_type"], cells["signal_str"], left_out, field="signal_str")
    if not signals:
        return None
    shared_cells = cells.get("collab", ""), cells.get("category", ""), cells.get("tags", "")
    # Long cells are rarely shared, and the cache outlives the list.
    shared = (_known if sum(map(len, shared_cells)) <= _CACHED_CHARS else _shared)(*shared_cells)
    left_out += shared.left_out
    external_id = cells.get("external_id", "").strip()
    row = ImportRow(line, signals, external_id, shared.labels, shared.source, shared.opinion)
    if external_id:
        check_row(row)
    return row


class _Shared(NamedTuple):
    """What the cells that many rows share say."""

    labels: tuple[str, ...]
    source: str
    opinion: Opinion
    left_out: tuple[LeftOut, ...]


def _shared(collab: str, category: str, tags: str) -> _Shared:
    """Raises InvalidInput."""
    left_out: list[LeftOut] = []
    labels = kept_labels(tags.split(), left_out)
    opinion = _OPINIONS.get(category.strip().lower())
    if opinion is None:
        left_out.append(LeftOut(f'opinion "{category.strip()}"'))
        opinion = Opinion.UNSPECIFIED
    check_row(ImportRow(0, (), labels=labels, source=collab.strip()))
    return _Shared(labels, collab.strip(), opinion, tuple(left_out))


_known = lru_cache(maxsize=1024)(_shared)
