"""Messages about names and values of definitions."""

import difflib
from collections.abc import Iterable

_LISTED = 12
_SHOWN_CHARS = 64


def quoted(value: object) -> str:
    """Return the repr of a value from a file, cut for a message."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # thousands of digits, hundreds of nested lists
        return f"this {type(value).__name__}"
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


def unknown(kind: str, name: str, known: Iterable[str]) -> str:
    """Return `unknown KIND 'NAME'; did you mean "X"?`, or the known names if none is close."""
    names = list(known)
    name = name[:_SHOWN_CHARS]
    if close := difflib.get_close_matches(name, names, 1):
        hint = f'did you mean "{close[0]}"?'
    elif names:
        hint = "known are " + ", ".join(names[:_LISTED]) + (", ..." if names[_LISTED:] else "")
    else:
        hint = "none are defined"
    return f"unknown {kind} {name!r}; {hint}"
