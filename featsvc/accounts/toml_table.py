"""Typed reads from one table of a TOML file, with errors that name file, line and key."""

import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from featsvc.accounts.toml_source import TomlSource, did_you_mean

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_SPAN = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

Scalar = str | float | bool


class TomlTable:
    """One table. `keys` are those it may have; empty means any. Every method may fail() so."""

    def __init__(
        self, source: TomlSource, path: tuple[str, ...], tree: Any, keys: tuple[str, ...] = ()
    ) -> None:
        self.source = source
        self.path = path
        if not isinstance(tree, dict):
            self.fail("", "must be a table")
        self.tree: dict[str, Any] = tree
        for key in tree if keys else ():
            if key not in keys:
                self.fail(key, "unknown key" + did_you_mean(key, keys))

    def fail(self, key: str, message: str) -> NoReturn:
        """Raise ConfigInvalid for a key of this table, or for the table where key is empty."""
        self.source.fail((*self.path, key) if key else self.path, message)

    def table(self, key: str, keys: tuple[str, ...] = ()) -> "TomlTable":
        """A table below; absent is empty."""
        return TomlTable(self.source, (*self.path, key), self.tree.get(key, {}), keys)

    def tables(self, key: str, keys: tuple[str, ...]) -> Iterator[tuple[str, "TomlTable"]]:
        """The named tables below a table."""
        outer = self.table(key)
        for name in outer.tree:
            outer.check_name(name)
            yield name, outer.table(name, keys)

    def check_name(self, name: str) -> None:
        """A key that becomes a name."""
        if not _NAME.fullmatch(name):
            self.fail(name, "a name is 1 to 64 of a-z, 0-9 and _, and begins with a letter")

    def text(self, key: str, *, default: str | None = None) -> str:
        value = self.tree.get(key, default)
        if value is None:
            self.fail(key, "is missing")
        if not isinstance(value, str) or (not value and default is None):
            self.fail(key, f"must be a text in quotes, not {value!r}")
        return value

    def name(self, key: str) -> str:
        """A text that is a name."""
        value = self.text(key)
        if not _NAME.fullmatch(value):
            self.fail(key, f"{value!r}: a name is 1 to 64 of a-z, 0-9 and _, letter first")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of at least one text, none twice."""
        values = self.tree.get(key)
        if not isinstance(values, list) or not values:
            self.fail(
                key,
                'must be a list such as ["1h", "24h"]'
                if key == "windows"
                else "must be a list of names",
            )
        for value in values:
            if not isinstance(value, str):
                self.fail(key, f"must hold texts in quotes, not {value!r}")
            if values.count(value) > 1:
                self.fail(key, f"{value!r} is listed twice")
        return tuple(values)

    def integer(self, key: str, *, low: int, high: int, default: int) -> int:
        value = self.tree.get(key, default)
        if key not in self.tree:
            return default
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            self.fail(key, f"must be a whole number from {low} to {high}, not {value!r}")
        return value

    def number(self, key: str) -> float:
        value = self.tree[key]
        if (
            isinstance(value, bool)
            or not isinstance(value, int | float)
            or not math.isfinite(value)
        ):
            self.fail(key, f"must be a finite number, not {value!r}")
        return float(value)

    def span(self, key: str) -> int:
        """A span of time such as "24h", in milliseconds."""
        return self.parse_span(key, self.text(key))

    def parse_span(self, key: str, text: str) -> int:
        """The same for a text from a list."""
        match = _SPAN.fullmatch(text)
        if not match:
            self.fail(
                key, f'{text!r} is no span of time; write for example "30s", "5m", "1h", "90d"'
            )
        return int(match[1]) * _UNIT_MS[match[2]]

    def filters(self, key: str) -> tuple[tuple[str, tuple[Scalar, ...]], ...]:
        """`{ attribute = value or [values] }`, sorted by attribute; absent is empty."""
        table = self.table(key)
        filters = []
        for attribute, value in sorted(table.tree.items()):
            allowed = value if isinstance(value, list) else [value]
            for one in allowed:
                if not isinstance(one, str | int | float | bool):
                    table.fail(attribute, f"must be a text, number or flag, or a list, not {one!r}")
            if not allowed:
                table.fail(attribute, "an empty list lets nothing through")
            filters.append((attribute, tuple(allowed)))
        return tuple(filters)
