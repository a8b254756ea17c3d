"""Page sizes and tokens."""

import base64
import binascii

from featsvc.errors import InvalidInput

DEFAULT_PAGE_SIZE = 100
MAX_PAGE_SIZE = 1000
_MAX_DIGITS = 18


def check_page_size(asked: int) -> int:
    """The size to use. Raises InvalidInput."""
    if not 0 <= asked <= MAX_PAGE_SIZE:
        raise InvalidInput(
            f"page_size: {asked} is not within 1 to {MAX_PAGE_SIZE}", field="page_size"
        )
    return asked or DEFAULT_PAGE_SIZE


def encode_token(after: str) -> str:
    return base64.urlsafe_b64encode(after.encode()).decode().rstrip("=")


def decode_token(token: str) -> str:
    """Raises InvalidInput."""
    try:
        raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        return raw.decode()
    except (binascii.Error, UnicodeError):
        raise _bad_token() from None


def decode_number(token: str) -> int:
    """A token of a number; 0 for none. Raises InvalidInput."""
    text = decode_token(token)
    if text and not (text.isascii() and text.isdecimal() and len(text) <= _MAX_DIGITS):
        raise _bad_token()
    return int(text or 0)


def _bad_token() -> InvalidInput:
    return InvalidInput(
        "page_token: not one that this server gave; begin anew without a token", field="page_token"
    )
