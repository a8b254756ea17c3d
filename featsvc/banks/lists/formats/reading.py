"""What the sender of a list says about it, and what the reader of its columns found."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(slots=True)
class Reading:
    """How to read a list.

    `algorithm` names that of bare hashes, "" where it is not known. `column_map` maps our columns
    to those of the list; with `remembered` it is that of an earlier import, and is used only if the
    list has all these columns. `ignored_columns` are not read.

    A reader of columns sets `used_map` and `unread_columns`: columns of the list, as it writes
    them.
    """

    algorithm: str = ""
    column_map: Mapping[str, str] = field(default_factory=dict)
    remembered: bool = False
    ignored_columns: tuple[str, ...] = ()
    used_map: Mapping[str, str] = field(default_factory=dict)
    unread_columns: tuple[str, ...] = ()

    @property
    def options(self) -> tuple[str, ...]:
        """The options that the sender gave, which only some formats can heed."""
        given = {
            "algorithm": bool(self.algorithm),
            "column_map": bool(self.column_map) and not self.remembered,
            "ignored_columns": bool(self.ignored_columns),
        }
        return tuple(name for name, is_given in given.items() if is_given)
