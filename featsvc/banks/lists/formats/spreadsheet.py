"""Cells of CSV that a spreadsheet opens as texts, and that are read back exactly.

    value      written
    =1+1       '=1+1       a formula after any apostrophes, or a blank at the start: one apostrophe
    '-x        ''-x
    x<blank>   ''x<blank>  a blank at the end, which readers strip: two, since 't Hooft is a name
    't Hooft   't Hooft

Blanks are all that `str.strip` strips, tabs and line breaks among them. A spreadsheet runs a cell
that begins with one of `=+-@`, a tab or a carriage return; OWASP calls it CSV injection.
"""

import re

_GUARD = "'"
_GUARDED = re.compile(r"'*[=+\-@\s]")


def format_cell(value: str) -> str:
    """Return a value as a cell that is no formula."""
    if _GUARDED.match(value):
        return _GUARD + value
    return _GUARD * 2 + value if value[-1:].isspace() else value


def parse_cell(cell: str) -> str:
    """Return the value of a cell: what `format_cell` wrote, or else the cell without blanks."""
    if cell.startswith(_GUARD):
        if _GUARDED.match(cell, 1):
            return cell[1:]
        if cell.startswith(_GUARD * 2) and cell[-1].isspace():
            return cell[2:]
    return cell.strip()
