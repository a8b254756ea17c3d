"""The functions that the table of algorithms names, and their types.

The table names them as `module:function`, so that it imports none of their modules: `hashing`, for
one, imports `signals`. A module is imported when its first hash is computed. The type of a function
depends on the algorithm's `Kind`:

    BYTES    `ByteHash`
    TEXT     `TextHash`
    PICTURE  `featsvc.hashing.picture.PictureHash`
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Any, Protocol, TypeAlias

from featsvc.signals.text_views import TextViews


@dataclass(frozen=True, slots=True)
class PreparedText:
    """A text in UTF-8 as it was sent, and its views. `parts`: compute the signals of an entry."""

    content: bytes
    views: TextViews
    parts: bool


TextValues: TypeAlias = tuple[Sequence[bytes], str]
"""The values of a text, in the order of its parts; or no values and the reason."""


class ByteHash(Protocol):
    """A hash of content as it was sent."""

    def __call__(self, content: bytes, /) -> bytes: ...


class TextHash(Protocol):
    """A hash of a text."""

    def __call__(self, text: PreparedText, /) -> TextValues: ...


@cache
def resolve(reference: str) -> Any:
    """Import the function that `module:function` names. Raises ImportError, AttributeError."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
