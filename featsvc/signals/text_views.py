"""Text as it reads, without what is done to it to slip past a filter.

Two views of a text are compared, each a run of letters, digits and two tokens:

- **plain**: NFKC, no invisible characters, no marks above or below letters, look-alike letters as
  the Latin letter they pass for, case folded, each URL and each number as one token (links and
  phone numbers change from copy to copy), and nothing between the words, so that blanks and
  punctuation put in or left out make no difference.
- **folded**: besides, digits and signs that stand for letters in a word are that letter (`fr33`,
  `c@$h`), and l is i, since 1 and ! stand for both.

The views are for comparison, not for reading: Cyrillic and Greek lose letters to Latin ones, alike
on both sides.
"""

import hashlib
import re
import unicodedata
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from featsvc.errors import InvalidInput, MediaTooLarge

MAX_TEXT_BYTES = 2**20
"""UTF-8, as the contract says."""

URL, NUMBER = "\ue000", "\ue001"
"""Tokens, of the private use area: a text cannot bring them along."""

_URLS = re.compile(
    r"(?:\b[a-z][a-z0-9+.-]{1,15}://|\bwww\.)\S+|\b(?:[a-z0-9-]{1,63}\.){1,8}[a-z]{2,24}/\S*"
)
_NUMBERS = re.compile(r"(?<![^\W_])\d+(?:[\s.,:/()+-]{1,8}\d+)*(?![^\W_])")
_BETWEEN_WORDS = re.compile(rf"[^\w{URL}{NUMBER}]+|_+")
_WORDS = re.compile(r"\S+")
_LETTER = re.compile(r"[^\W\d_]")
# Signs that also end a sentence or open a clause count as letters only before one.
_SIGNS_IN_WORDS = re.compile(r"[!|](?=[\w@$])")
_LEET = str.maketrans("4@83690152$7l", "aabeggoiszsti")
_DROPPED = frozenset({"Cf", "Cs", "Co", "Cn", "Cc"})
_MARKS = re.compile(
    "[\u0300-\u036f\u1ab0-\u1aff\u1dc0-\u1dff\u20d0-\u20ff\ufe00-\ufe0f\ufe20-\ufe2f]+"
)
# Letters by category that show nothing, and the marks that choose a glyph.
_BLANK_LETTERS = "\u115f\u1160\u3164\uffa0\u17b4\u17b5\u034f"


@dataclass(frozen=True, slots=True)
class TextViews:
    """`plain` and `folded` as the module's head says; both may be empty."""

    plain: str
    folded: str

    @property
    def digest(self) -> bytes:
        """SHA-256 of the plain view in UTF-8: equal for texts that read the same."""
        return hashlib.sha256(self.plain.encode()).digest()


def check_text(text: str, *, field: str = "text") -> None:
    """Raises InvalidInput for an empty text, MediaTooLarge for one over 1 MiB in UTF-8."""
    if not text:
        raise InvalidInput(f"{field}: empty; send some", reason="CONTENT_EMPTY", field=field)
    # Four bytes a character at most are counted only where that can matter.
    if len(text) * 4 > MAX_TEXT_BYTES:
        _check_bytes(len(text.encode("utf-8", "surrogatepass")), field)


def decode_text(content: bytes, *, field: str = "text") -> str:
    """Bytes of a text file to text; a byte order mark is dropped.

    Raises InvalidInput (empty; reason TEXT_NOT_UTF8), MediaTooLarge.
    """
    _check_bytes(len(content), field)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise InvalidInput(
            f"{field}: byte {content[exc.start]:#04x} at offset {exc.start} is not UTF-8; "
            "convert it, or send it as a file",
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
    """Both views of a text of any length."""
    shown = _as_it_reads(text).casefold()
    with_urls = _URLS.sub(URL, shown)
    return TextViews(_join(with_urls), _join(_WORDS.sub(_fold_word, with_urls)))


def _as_it_reads(text: str) -> str:
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
    """What `str.translate` asks: the code point itself, or None for what shows nothing.

    Learned as it is asked, since a table of all of Unicode would cost a second at start.
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
