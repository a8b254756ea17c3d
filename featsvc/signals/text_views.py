"""Normal forms of a text, which undo the edits that evade a filter.

Texts are compared by two views, each a run of letters, digits and two tokens:

- **plain**: NFKC, without invisible characters and without marks above or below letters; look-alike
  letters are replaced by the Latin letter that they imitate; case is folded; each URL and each
  number is one token, because links and phone numbers change from copy to copy; nothing separates
  the words, so that added or removed blanks and punctuation make no difference.
- **folded**: the plain view in which digits and signs inside words are replaced by the letters that
  they imitate (`fr33`, `c@$h`), and l by i, because 1 and ! imitate both.

The views serve comparison, not reading: Cyrillic and Greek letters become Latin ones, in queries
and entries alike.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from featsvc.errors import InvalidInput, MediaTooLarge

MAX_TEXT_BYTES = 2**20
"""The size limit in UTF-8, as in the contract."""

URL, NUMBER = "\ue000", "\ue001"
"""Tokens from the private use area, which `view_text` drops from its input."""

_URLS = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{1,15}://|\bwww\.)\S+|\b(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}/\S*"
)
_NUMBERS = re.compile(r"(?<![^\W_])\d+(?:[\s.,:/()+-]{1,8}\d+)*(?![^\W_])")
_BETWEEN_WORDS = re.compile(rf"[^\w{URL}{NUMBER}]+|_+")
_WORDS = re.compile(r"\S+")
_LETTER = re.compile(r"[^\W\d_]")
# Signs that also end a sentence or open a clause count as letters only before a letter.
_SIGNS_IN_WORDS = re.compile(r"[!|](?=[\w@$])")
_LEET = str.maketrans("4@83690152$7l", "aabeggoiszsti")
_DROPPED = frozenset({"Cf", "Cs", "Co", "Cn", "Cc"})
_MARKS = re.compile(
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f]+"
)
# Characters that are invisible although their category is that of letters or marks.
_BLANK_LETTERS = "\u115f\u1160\u3164\uffa0\u17b4\u17b5\u034f"


@dataclass(frozen=True, slots=True)
class TextViews:
    """The `plain` and the `folded` view of a text; both may be empty."""

    plain: str
    folded: str

    @property
    def digest(self) -> bytes:
        """The SHA-256 of the plain view in UTF-8, equal for texts that read the same."""
        return hashlib.sha256(self.plain.encode()).digest()


def check_text(text: str, *, field: str = "text") -> None:
    """Raise InvalidInput for an empty text, MediaTooLarge for one over 1 MiB in UTF-8."""
    if not text:
        raise InvalidInput(f"{field}: empty; send a text", reason="CONTENT_EMPTY", field=field)
    # A character takes at most four bytes, so that shorter texts need no encoding.
    if len(text) * 4 > MAX_TEXT_BYTES:
        _check_bytes(len(text.encode("utf-8", "surrogatepass")), field)


def decode_text(content: bytes, *, field: str = "text") -> str:
    """Decode the bytes of a text file, without a byte order mark.

    Raises InvalidInput (empty, or reason TEXT_NOT_UTF8), MediaTooLarge.
    """
    _check_bytes(len(content), field)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InvalidInput(
            f"{field}: byte {content[exc.start]:#04x} at offset {exc.start} is not UTF-8; "
            "convert the text to UTF-8, or send it as a file",
            reason="TEXT_NOT_UTF8",
            field=field,
        ) from exc
    check_text(text, field=field)
    return text


def _check_bytes(count: int, field: str) -> None:
    if count > MAX_TEXT_BYTES:
        raise MediaTooLarge(
            f"{field}: {count:,} bytes, the limit is {MAX_TEXT_BYTES:,}; send it in parts",
            field=field,
            metadata={"actual": str(count), "limit": str(MAX_TEXT_BYTES)},
        )


def view_text(text: str) -> TextViews:
    """Return both views of a text of any length."""
    with_url_tokens = _URLS.sub(URL, _to_visible(text).casefold())
    return TextViews(_join(with_url_tokens), _join(_WORDS.sub(_fold_word, with_url_tokens)))


def _to_visible(text: str) -> str:
    """Remove invisible characters and marks; replace look-alike letters by Latin ones."""
    if text.isascii():
        return text
    composed = unicodedata.normalize("NFKC", text.translate(_invisible()))
    bare = _MARKS.sub("", unicodedata.normalize("NFD", composed))
    return unicodedata.normalize("NFKC", bare.translate(_look_alikes()))


def _fold_word(word: re.Match[str]) -> str:
    if not _LETTER.search(word[0]):
        return word[0]
    return _SIGNS_IN_WORDS.sub("i", word[0]).translate(_LEET)


def _join(text: str) -> str:
    return _BETWEEN_WORDS.sub("", _NUMBERS.sub(NUMBER, text))


class _Invisible(dict[int, int | None]):
    """A table for `str.translate`: maps a code point to itself, or to None where it is invisible.

    It fills on demand, because a table of all of Unicode would take a second at start.
    """

    def __missing__(self, point: int) -> int | None:
        c = chr(point)
        blank = unicodedata.category(c) in _DROPPED and not c.isspace()
        self[point] = None if blank or c in _BLANK_LETTERS else point
        return self[point]


@cache
def _invisible() -> _Invisible:
    return _Invisible()


@cache
def _look_alikes() -> dict[int, str]:
    table: dict[int, str] = {}
    lines = Path(__file__).with_name("confusables.txt").read_text(encoding="ascii").splitlines()
    for line in lines:
        if not line.startswith("#"):
            letter, *points = line.split()
            table |= {int(point, 16): letter for point in points}
    return table
