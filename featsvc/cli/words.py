"""Words for people: counts with their noun, and texts whose every character has a shape.

Lists come from others: a label or a file name with control characters could move the cursor, forge
a line or turn the text around. So every line and every cell of a table that a command prints goes
through here, and shows such a character as `\\x1b` or `\\u202e`.
"""

import re
import unicodedata

import click

_WITHOUT_SHAPE = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories of Unicode: controls, formats (direction, zero width), surrogates, line separators."""
_STRAY_BYTE = re.compile("[\udc80-\udcff]")
"""A byte of a file name that is not UTF-8, as Python reads it."""


def has_shape(char: str) -> bool:
    """Whether a character is drawn, or a blank."""
    return unicodedata.category(char) not in _WITHOUT_SHAPE


def visible(text: object, *, keep: str = "") -> str:
    """Return a text with escapes for the characters without a shape, except those of `keep`."""
    shown = str(text)
    if shown.isprintable():
        return shown
    shown = _STRAY_BYTE.sub(lambda byte: f"\\x{ord(byte.group()) - 0xDC00:02x}", shown)
    return "".join(
        char if char in keep or has_shape(char) else char.encode("unicode_escape").decode()
        for char in shown
    )


def echo(text: object = "", *, err: bool = False) -> None:
    """Print one line for people; a line break in the text is escaped, too."""
    click.echo(visible(text), err=err)


def counted(number: float, singular: str) -> str:
    """Return `1 entry` or `1,234 entries`: every count that people read."""
    return f"{number:,} {singular if number == 1 else plural(singular)}"


def plural(singular: str) -> str:
    """Return the plural of a regular noun."""
    if singular.endswith("y") and singular[-2] not in "aeiou":
        return f"{singular[:-1]}ies"
    return f"{singular}es" if singular.endswith(("ch", "sh", "s", "x")) else f"{singular}s"
