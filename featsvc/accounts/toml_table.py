"""Typed reads from one table of a TOML file, with errors that name file, line and key."""

import math
import re
from collections.abc import Iterator
from typing import Any, NoReturn

from featsvc.accounts.names import quoted, unknown
from featsvc.accounts.toml_source import TomlSource

_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_DURATION = re.compile(r"([1-9][0-9]{0,5})([smhd])")
_UNIT_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}

_EXACT = 2**53
_MOST_INTEGER, _LEAST_INTEGER = 2**64 - 1, -(2**63)

Scalar = str | float | bool
Filters = tuple[tuple[str, tuple[Scalar, ...]], ...]
"""Allowed values by attribute; an integer is exact at any size."""


class TomlTable:
    """One table of a file.

    `keys` are the keys that it may have; empty allows any. Every method raises ConfigInvalid for a
    key that is missing or has the wrong type.
    """

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
                self.fail(key, unknown("key", key, keys))

    def fail(self, key: str, message: str) -> NoReturn:
        """Raise ConfigInvalid for a key of this table, or for the table if `key` is empty."""
        self.source.fail((*self.path, key) if key else self.path, message)

    def table(self, key: str, keys: tuple[str, ...] = ()) -> "TomlTable":
        """Return a subtable; an absent one is empty."""
        return TomlTable(self.source, (*self.path, key), self.tree.get(key, {}), keys)

    def tables(self, key: str, keys: tuple[str, ...]) -> Iterator[tuple[str, "TomlTable"]]:
        """Return the named tables of a subtable."""
        outer = self.table(key)
        for name in outer.tree:
            outer.check_name(name)
            yield name, outer.table(name, keys)

    def check_name(self, name: str, key: str = "") -> None:
        """Check a name, which is the value of `key`, or else a key itself."""
        if not _NAME.fullmatch(name):
            self.fail(
                key or name,
                f"{quoted(name)}: a name is 1 to 64 of a-z, 0-9 and _, and begins with a letter",
            )

    def text(self, key: str, *, default: str | None = None) -> str:
        """Return a text, which is not empty unless there is a default."""
        value = self.tree.get(key, default)
        if value is None:
            self.fail(key, "is missing")
        if not isinstance(value, str) or (not value and default is None):
            self.fail(key, f"must be a quoted string, not {quoted(value)}")
        return value

    def texts(self, key: str) -> tuple[str, ...]:
        """Return a list of at least one text, all different."""
        values = self.tree.get(key)
        if not isinstance(values, list) or not values:
            example = '["1h", "24h"]' if key == "windows" else '["name", "other_name"]'
            self.fail(key, f"must be a list such as {example}")
        for value in values:
            if not isinstance(value, str):
                self.fail(key, f"must contain quoted strings, not {quoted(value)}")
            if values.count(value) > 1:
                self.fail(key, f"contains {quoted(value)} twice")
        return tuple(values)

    def integer(self, key: str, *, high: int, default: int) -> int:
        """Return an integer from 1 to `high`; `default` if absent."""
        if key not in self.tree:
            return default
        value = self.tree[key]
        if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= high:
            self.fail(key, f"must be a whole number from 1 to {high}, not {quoted(value)}")
        return value

    def number(self, key: str) -> float | None:
        """Return a finite number; None if absent."""
        if key not in self.tree:
            return None
        value = self.tree[key]
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        try:
            number = float(value) if is_number else math.nan
        except OverflowError:  # an integer of more than 308 digits
            number = math.nan
        if not math.isfinite(number):
            self.fail(key, f"must be a finite number, not {quoted(value)}")
        return number

    def duration(self, key: str) -> int:
        """Return a duration such as "24h" in milliseconds; 0 if absent."""
        return self.parse_duration(key, self.text(key)) if key in self.tree else 0

    def parse_duration(self, key: str, text: str) -> int:
        """Return the milliseconds of a duration in the value of `key`."""
        match = _DURATION.fullmatch(text)
        if not match:
            self.fail(
                key, f'{quoted(text)} is not a duration; write for example "30s", "5m" or "90d"'
            )
        return int(match[1]) * _UNIT_MS[match[2]]

    def filters(self, key: str) -> Filters:
        """Return `{ attribute = value or [values] }`, sorted by attribute; empty if absent."""
        table = self.table(key)
        filters = []
        for attribute, value in sorted(table.tree.items()):
            allowed = value if isinstance(value, list) else [value]
            for scalar in allowed:
                table.check_scalar(attribute, scalar)
            if not allowed:
                table.fail(attribute, "an empty list matches no event; give at least one value")
            filters.append((attribute, tuple(allowed)))
        return tuple(filters)

    def check_scalar(self, key: str, value: object) -> None:
        """Check one value of a filter, which must be comparable with attributes exactly."""
        if isinstance(value, bool | str):
            return
        if isinstance(value, int):
            if not _LEAST_INTEGER <= value <= _MOST_INTEGER:
                self.fail(key, f"{quoted(value)} does not fit into 64 bits")
        elif not isinstance(value, float):
            self.fail(key, f"must be a text, number or flag, or a list, not {quoted(value)}")
        elif not math.isfinite(value):
            self.fail(key, f"{value!r} matches no event; give a finite number")
        elif abs(value) >= _EXACT:  # and so whole
            self.fail(
                key, f"{value!r} stands for several integers; write the integer, without . and e"
            )
