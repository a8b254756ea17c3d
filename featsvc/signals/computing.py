"""From the functions that the table names to functions.

The table says `module:function`, so that it needs none of those modules: `hashing`, which lies
above, among them. A module is imported when its first hash is made. What a function is given
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
class ReadText:
    """A text as it was sent, in UTF-8, and as it reads. `parts`: an entry is to store it."""

    content: bytes
    views: TextViews
    parts: bool


TextValues: TypeAlias = tuple[Sequence[bytes], str]
"""The values of a text, in order of its parts; or none, and why."""


class ByteHash(Protocol):
    def __call__(self, content: bytes, /) -> bytes: ...


class TextHash(Protocol):
    def __call__(self, text: ReadText, /) -> TextValues: ...


@cache
def resolve(reference: str) -> Any:
    """The function that `module:function` names. Raises ImportError, AttributeError."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)
