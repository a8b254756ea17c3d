"""Recall of edited copies, at no false match among benign texts of the same subjects."""

import random

import pytest

from featsvc.embedding.text_index import MIN_GRAMS, TextIndex
from tests.embedding.texts import EDITS, ENTRIES, leetspeak, negatives

ROUNDS = 10
LEAST_RECALL = dict.fromkeys(EDITS, 1.0) | {"leetspeak": 0.9, "paraphrase": 0.7}


@pytest.fixture(scope="module")
def index() -> TextIndex:
    return TextIndex(ENTRIES)


@pytest.mark.parametrize("edit", EDITS)
def test_recall(index: TextIndex, edit: str) -> None:
    rng = random.Random(edit)
    found = 0
    for _ in range(ROUNDS):
        for entry, text in enumerate(ENTRIES):
            matches = index.search(EDITS[edit](text, rng))
            assert {match.entry for match in matches} <= {entry}
            found += bool(matches)
    assert found / (ROUNDS * len(ENTRIES)) >= LEAST_RECALL[edit]


@pytest.mark.parametrize("share", [0.3, 1.0])
def test_recall_of_leetspeak_however_much(index: TextIndex, share: float) -> None:
    rng = random.Random(1)
    found = [bool(index.search(leetspeak(text, rng, share))) for text in ENTRIES * ROUNDS]
    assert sum(found) / len(found) >= 0.9


def test_no_false_match_among_the_negatives(index: TextIndex) -> None:
    texts = negatives()
    assert len(texts) > 1000
    assert [text for text in texts if index.search(text)] == []


def test_all_negatives_together_are_no_copy_either(index: TextIndex) -> None:
    """A long text holds many 4-grams; it is judged window by window."""
    assert index.search(" ".join(negatives())) == ()


def test_an_exact_copy_has_containment_1_and_comes_first() -> None:
    whole, half = ENTRIES[0], ENTRIES[0][: len(ENTRIES[0]) // 2]
    matches = TextIndex([half + " something else than before, twice as long", whole]).search(whole)
    assert (matches[0].entry, matches[0].containment, matches[0].view) == (1, 1.0, "plain")


def test_leetspeak_shows_in_the_folded_view(index: TextIndex) -> None:
    (match,) = index.search(leetspeak(ENTRIES[4], random.Random(3), 1.0))
    assert match.view == "folded"


def test_a_passage_of_a_long_entry_is_a_copy(index: TextIndex) -> None:
    long = " ".join(negatives()[40:80])
    assert len(long) > 5000
    books = TextIndex(["nothing to do with it, but long enough to be an entry", long])
    for start in (0, 1000, 2345, len(long) - 900):
        matches = books.search(f"look at this: {long[start : start + 900]} is it not nice")
        assert [match.entry for match in matches] == [1], start


def test_short_texts_match_only_as_a_whole() -> None:
    index = TextIndex(["Buy now!", "aaaa" * 40])
    assert [m.entry for m in index.search("BUY N0W".replace("0", "o"))] == [0]
    assert index.search("you can buy now or later") == ()
    assert index.search("a" * 500) == ()


@pytest.mark.parametrize("text", ["", "!?", "\u200b", "a" * (MIN_GRAMS - 1)])
def test_nothing_to_look_for_finds_nothing(index: TextIndex, text: str) -> None:
    assert index.search(text) == ()


def test_an_index_of_nothing_finds_nothing() -> None:
    assert TextIndex([]).search(ENTRIES[0]) == ()
    assert TextIndex([""]).search("") == ()


def test_two_entries_of_the_same_text_are_both_found() -> None:
    assert [m.entry for m in TextIndex([ENTRIES[0], ENTRIES[0].upper()]).search(ENTRIES[0])] == [
        0,
        1,
    ]
