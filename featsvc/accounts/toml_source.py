"""TOML files with line numbers.

`tomllib` drops line numbers, and without one the reader of an error has to search for the key.
"""

import re
import tomllib
from bisect import bisect_left
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

from featsvc.errors import ConfigInvalid

_HEADER = re.compile(r"\s*\[([^\[\]]+)\]\s*(?:#.*)?$")
_KEY = re.compile(r"\s*((?:[A-Za-z0-9_-]+|\"[^\"]*\"|'[^']*')(?:\s*\.\s*[A-Za-z0-9_-]+)*)\s*=")
_AT_LINE = re.compile(r"at line (\d+)")


class TomlSource:
    """A parsed file. `tree` holds its tables, `name` its path for messages."""

    def __init__(self, path: Path) -> None:
        """Raises ConfigInvalid for a file that cannot be read or is not TOML."""
        self.name = str(path)
        self._lines: dict[tuple[str, ...], int] = {}
        try:
            text = path.read_text(encoding="utf-8")
            self.tree: dict[str, Any] = tomllib.loads(text)
        except OSError as exc:
            self.fail((), f"cannot be read: {exc.strerror}")
        except UnicodeDecodeError as exc:
            self.fail((), f"is not TOML: {exc}")
        except tomllib.TOMLDecodeError as exc:
            if at := _AT_LINE.search(str(exc)):
                self._lines[()] = int(at[1])
            self.fail((), f"is not TOML: {exc}")
        except RecursionError:
            self._lines[()] = _first_bad_line(text)
            self.fail((), "lists and tables are nested too deeply here")
        except ValueError:  # only Python's limit of digits is left
            self._lines[()] = _first_bad_line(text)
            self.fail((), "has a number of too many digits here")
        self._lines = _line_numbers(text)

    def fail(self, path: Iterable[str], message: str) -> NoReturn:
        """Raise ConfigInvalid, `FILE:LINE: KEY: message`; `path` is the path of the key."""
        keys = tuple(path)
        line = next(
            (self._lines[keys[:n]] for n in range(len(keys), -1, -1) if keys[:n] in self._lines), 1
        )
        # A quoted key may have any characters; a message is one line.
        where = ".".join(key if key.isprintable() else ascii(key) for key in keys) or "file"
        raise ConfigInvalid(
            f"{self.name}:{line}: {where}: {message}",
            field=where,
            metadata={"file": self.name, "line": str(line), "key": where, "problem": message},
        )


def _first_bad_line(text: str) -> int:
    """Return the line at which parsing fails by something else than a mistake in the syntax."""
    lines = text.split("\n")

    def fails(count: int) -> bool:
        try:
            tomllib.loads("\n".join(lines[:count]))
        except tomllib.TOMLDecodeError:  # the text is cut, but what precedes can be parsed
            return False
        except (ValueError, RecursionError):
            return True
        return False

    return bisect_left(range(1, len(lines)), True, key=fails) + 1


def _line_numbers(text: str) -> dict[tuple[str, ...], int]:
    """Return the lines of tables and of keys at the start of a line, by path."""
    lines: dict[tuple[str, ...], int] = {}
    table: tuple[str, ...] = ()
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = _split(header[1])
            lines.setdefault(table, number)
        elif key := _KEY.match(line):
            lines.setdefault((*table, *_split(key[1])), number)
    return lines


def _split(dotted: str) -> tuple[str, ...]:
    """Return the parts of a key; quoted ones may have dots and escapes."""
    if '"' not in dotted and "'" not in dotted:
        return tuple(part.strip() for part in dotted.split("."))
    parts: list[str] = []
    try:
        tree = tomllib.loads(f"{dotted} = 0")
    except tomllib.TOMLDecodeError:  # a line of a text that looks like a key
        tree = {}
    while isinstance(tree, dict) and tree:
        part, tree = next(iter(tree.items()))
        parts.append(part)
    return tuple(parts)
