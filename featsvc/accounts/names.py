"""Messages about names that the definitions do not have."""

import difflib
from collections.abc import Iterable

_LISTED = 12
_SHOWN_CHARS = 64


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
