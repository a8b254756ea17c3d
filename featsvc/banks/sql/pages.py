"""Page sizes, page tokens, and pages cut from rows.

A token is the base64 of the key of the last row of a page. A reader fetches one row more than the
page has, which shows whether there is a next page.
"""

import base64
import binascii
from collections.abc import Callable, Sequence
from typing import TypeVar

from featsvc.banks.records import parse_number
from featsvc.errors import InvalidInput

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000


def check_page_size(size: int, *, field: str = "page_size") -> int:
    """Return the number of rows to answer with, the default for 0. Raises InvalidInput."""
    if not 0 <= size <= MAX_PAGE_SIZE:
        raise InvalidInput.at(field, f"must be 0 to {MAX_PAGE_SIZE}, not {size}")
    return size or DEFAULT_PAGE_SIZE


def cut_page(
    rows: Sequence[T], size: int, key: Callable[[T], str | int]
) -> tuple[tuple[T, ...], str]:
    """Return the first `size` of up to `size + 1` rows, and the token of the next page or ""."""
    page = tuple(rows[:size])
    if len(rows) <= size:
        return page, ""
    last = str(key(page[-1])).encode()
    return page, base64.urlsafe_b64encode(last).decode().rstrip("=")


def decode_token(token: str) -> str:
    """Return the key in a token. Raises InvalidInput."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        key = raw.decode()
    except (binascii.Error, UnicodeError):
        raise _bad_token() from None
    if "\0" in key:
        raise _bad_token()
    return key


def decode_number(token: str) -> int:
    """Return the number in a token, 0 for an empty one. Raises InvalidInput."""
    number = parse_number(decode_token(token) or "0")
    if number is None:
        raise _bad_token()
    return number


def decode_counted(token: str) -> tuple[int | None, str]:
    """Return the number and the text of a key `NUMBER TEXT`, None and "" for an empty token.

    A list that counts all its rows does so for its first page, and carries the number in its
    tokens. Raises InvalidInput.
    """
    number, _, text = decode_token(token).partition(" ")
    counted = parse_number(number)
    if token and counted is None:
        raise _bad_token()
    return counted, text


def decode_listed(token: str) -> tuple[int | None, int]:
    """Return the two numbers of a key `COUNTED LAST`: None and 0 for an empty token.

    Older tokens have the last one only: the list is counted again. Raises InvalidInput.
    """
    key = decode_token(token)
    counted, separator, last = key.partition(" ")
    if not separator:
        return None, decode_number(token)
    numbers = parse_number(counted), parse_number(last)
    if numbers[0] is None or numbers[1] is None:
        raise _bad_token()
    return numbers[0], numbers[1]


def _bad_token() -> InvalidInput:
    return InvalidInput.at("page_token", "not a token of this server; start again without one")
