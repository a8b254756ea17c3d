"""Normal forms of text: edits that evade a filter make no difference."""

import random
import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.errors import InvalidInput, MediaTooLarge
from featsvc.signals.text_views import MAX_TEXT_BYTES, NUMBER, URL, decode_text, view_text
from tests.texts import EDITS, ENTRIES

SAME = ("case", "homoglyphs", "zero width", "fullwidth", "marks", "other link and numbers")


@pytest.mark.parametrize("edit", SAME)
@pytest.mark.parametrize("entry", range(len(ENTRIES)))
def test_these_edits_change_nothing_at_all(edit: str, entry: int) -> None:
    text = ENTRIES[entry]
    assert view_text(EDITS[edit](text, random.Random(entry))) == view_text(text)


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("", ""),
        ("Free  MONEY!!", "freemoney"),
        ("f r e e", "free"),
        ("caf\u00e9 CAFE\u0301 Stra\u00dfe \ufb01ne", "cafecafestrassefine"),
        ("\u0420\u0430\u0443\u0420\u0430l", "paypal"),  # Cyrillic
        ("\U0001d5d9\U0001d5e5\U0001d5d8\U0001d5d8", "free"),  # mathematical bold
        ("\U0001f171\U0001f1fa\U0001f18e", "bu"),  # boxed letters; boxed AB is no letter
        ("fr\u200bee\u202e", "free"),
        ("call 5 5 5 - 01 99 now", f"call{NUMBER}now"),
        ("fr33 m0n3y", "fr33m0n3y"),
        ("see https://a.example/x?y=1 and www.b.example", f"see{URL}and{URL}"),
        ("go to bit.example/abc now", f"goto{URL}now"),
        ("snake_case", "snakecase"),
        ("\ue000\ue001 tokens cannot be brought along", "tokenscannotbebroughtalong"),
        ("\ud800 lone surrogate", "lonesurrogate"),
        ("\u4f60 \u597d", "\u4f60\u597d"),
    ],
)
def test_plain_view(text: str, plain: str) -> None:
    assert view_text(text).plain == plain


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("fr33 m0n3y", "freemoney"),
        ("c@$h n0w!", "cashnow"),
        ("p1ll$ p!lls pi11s", "piiispiiispiiis"),
        ("pay 1000 today", f"pay{NUMBER}today"),
        ("7r4d1n6", "trading"),
    ],
)
def test_folded_view(text: str, folded: str) -> None:
    assert view_text(text).folded == folded


@settings(max_examples=200)
@given(st.text(max_size=80))
def test_views_hold_neither_blanks_nor_punctuation(text: str) -> None:
    views = view_text(text)
    for view in (views.plain, views.folded):
        assert not any(c.isspace() or c in string.punctuation for c in view)


@settings(max_examples=200)
@given(st.text(max_size=60))
def test_case_makes_no_difference_to_ascii(text: str) -> None:
    ascii_text = text.encode("ascii", "ignore").decode()
    assert view_text(ascii_text.upper()) == view_text(ascii_text.lower())


@pytest.mark.slow
@pytest.mark.parametrize(
    "text",
    [
        pytest.param("1" * 10**6 + "a", id="digits"),
        pytest.param("1 " * 500_000 + "a", id="numbers"),
        pytest.param("a." * 500_000, id="dots"),
        pytest.param("-" * 10**6, id="dashes"),
        pytest.param("!" * 10**6 + "a", id="signs"),
        pytest.param("a-" * 500_000 + "/", id="hyphens"),
        pytest.param("www." * 250_000, id="www"),
        pytest.param("1,-" * 300_000 + "x", id="separators"),
        pytest.param("\ufdfa" * 200_000, id="nfkc"),
    ],
)
def test_hostile_text_takes_linear_time(text: str) -> None:
    """A pattern that backtracks would take hours."""
    assert len(view_text(text).plain) <= 18 * len(text)


def test_bytes_become_text() -> None:
    assert decode_text("\ufeffgr\u00fc\u00df".encode()) == "gr\u00fc\u00df"


def test_the_offset_of_invalid_utf8_is_named() -> None:
    with pytest.raises(InvalidInput, match="byte 0xff at offset 3") as caught:
        decode_text(b"abc\xffdef")
    assert caught.value.reason == "TEXT_NOT_UTF8"


def test_10_mb_are_refused_and_1_mib_is_not() -> None:
    assert len(decode_text(b"a" * MAX_TEXT_BYTES)) == MAX_TEXT_BYTES
    with pytest.raises(MediaTooLarge, match="10,000,000 bytes, the limit is 1,048,576"):
        decode_text(b"a" * 10_000_000)


def test_no_text_is_refused() -> None:
    with pytest.raises(InvalidInput, match="empty"):
        decode_text(b"")
