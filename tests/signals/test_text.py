"""Text to signals, and their values in lists."""

import hashlib
import random

import numpy as np
import pytest
from featsvc_kernels import reference_minhash, reference_tlsh
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.errors import InvalidInput, InvalidSignal, MediaTooLarge, UnknownAlgorithm
from featsvc.signals.algorithms import DEFAULT_TEXT_ALGORITHMS
from featsvc.signals.distance import distance
from featsvc.signals.hashes import ContentOutcome
from featsvc.signals.signal import Signal, format_value
from featsvc.signals.text import STORED_ALGORITHMS, hash_text
from featsvc.signals.text_grams import (
    MAX_PARTS,
    MAX_STORED_GRAMS,
    PART_GRAMS,
    grams_of,
    query_value,
    stored_values,
)
from featsvc.signals.text_views import view_text
from tests.signals.values import parse_signal, parse_value
from tests.texts import EDITS, ENTRIES

ALL = ("text_sha256", "text", "tlsh", "md5", "sha1", "sha256")


def letters(count: int, seed: int = 0) -> str:
    return "".join(random.Random(seed).choices("abcdefghijkmnopqrstuvwxyz", k=count))


def signals_of(text: str, *algorithms: str) -> dict[str, Signal]:
    return {s.algorithm.name: s for s in hash_text(text, algorithms or ALL).signals}


def test_every_hash_of_a_text() -> None:
    text = ENTRIES[0]
    found = hash_text(text, ALL)
    assert (found.outcome, found.reason) == (ContentOutcome.OK, "")
    assert [s.algorithm.name for s in found.signals] == list(ALL)
    by_name = {s.algorithm.name: s for s in found.signals}
    assert by_name["sha256"].value == hashlib.sha256(text.encode()).digest()
    assert by_name["text_sha256"].value == hashlib.sha256(view_text(text).plain.encode()).digest()
    assert by_name["tlsh"].value == reference_tlsh.digest(text.encode())
    folded = reference_minhash.gram_hashes(view_text(text).folded)
    grams = grams_of(np.frombuffer(by_name["text"].value, np.uint8))
    for first in range(0, len(folded), 32):
        block = slice(first, first + 32)
        assert grams[block].tolist() == sorted(folded[block].tolist())
    assert len(by_name["text"].value) == 1 + 4 * len(folded)


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("Buy now!", {"text_sha256", "md5", "sha1", "sha256"}),
        ("!?", {"md5", "sha1", "sha256"}),
        ("a" * 500, {"text_sha256", "md5", "sha1", "sha256"}),
        ("the quick brown fox jumps", {"text_sha256", "text", "md5", "sha1", "sha256"}),
    ],
)
def test_the_reason_names_what_a_text_is_too_short_for(text: str, made: set[str]) -> None:
    found = hash_text(text, ALL)
    assert {s.algorithm.name for s in found.signals} == made
    assert found.outcome is ContentOutcome.LOW_QUALITY
    for name in set(ALL) - made:
        assert hash_text(text, [name]).reason in found.reason
    assert hash_text(text, ["md5"]).outcome is ContentOutcome.OK


def test_bad_requests() -> None:
    with pytest.raises(InvalidInput, match="pdq is not computed of text"):
        hash_text("words", ["pdq"])
    with pytest.raises(UnknownAlgorithm, match="no_such"):
        hash_text("words", ["no_such"])
    with pytest.raises(InvalidInput, match="name at least one"):
        hash_text("words", [])
    with pytest.raises(InvalidInput, match="empty"):
        hash_text("", ["md5"])
    with pytest.raises(MediaTooLarge, match="1,200,000 bytes"):
        hash_text("\u00e9" * 600_000, ["md5"])


def test_a_lone_surrogate_is_hashed_not_refused() -> None:
    """Only Python callers can send one: protobuf refuses it."""
    assert hash_text("\ud800 lone surrogate", ["md5", "text_sha256"]).signals


def test_edited_copies_read_the_same() -> None:
    for edit in ("case", "homoglyphs", "zero width", "fullwidth", "marks"):
        edited = EDITS[edit](ENTRIES[1], random.Random(0))
        assert signals_of(edited)["text_sha256"] == signals_of(ENTRIES[1])["text_sha256"]


@pytest.mark.parametrize(
    ("grams", "parts"),
    [
        (16, [16]),
        (PART_GRAMS, [4096]),
        (PART_GRAMS + 1, [4096, 257]),
        (MAX_STORED_GRAMS, [4096] * MAX_PARTS),
    ],
)
def test_long_texts_are_stored_in_parts(grams: int, parts: list[int]) -> None:
    text = letters(grams + 3)
    found = hash_text(text, ["text"], parts=True).signals
    assert [(len(s.value) - 1) // 4 for s in found] == parts
    assert [s.variant for s in found[:2]] == ["original", "part-2"][: len(parts)]
    whole = query_value(text)
    assert whole is not None
    # The blocks of the parts are those of the whole, each part half a passage into the last.
    for i, signal in enumerate(found):
        first = 1 + 4 * i * (PART_GRAMS - 256)
        assert whole[first : first + len(signal.value) - 1] == signal.value[1:]


def test_too_long_to_be_stored() -> None:
    text = letters(MAX_STORED_GRAMS + 4)
    assert len(list(stored_values(text))) == MAX_PARTS + 1
    with pytest.raises(InvalidInput, match="the signals of one entry hold 61,696"):
        hash_text(text, STORED_ALGORITHMS, parts=True)
    assert hash_text(text, DEFAULT_TEXT_ALGORITHMS).outcome is ContentOutcome.OK


@settings(max_examples=60)
@given(st.text(min_size=1, max_size=300))
def test_text_forms_round_trip(text: str) -> None:
    for signal in hash_text(text, ALL, parts=True).signals:
        again = parse_value(signal.algorithm.name, f" {signal.text.upper()} ")
        assert again == signal.value
        assert format_value(signal.algorithm.name, again) == signal.text
        assert distance(signal, Signal(signal.algorithm, again)) == 0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("", "begin with ''"),
        ("02" + "00000000" * 20, "begin with '02'"),
        ("01" + "0000000", "8 hex digits a gram"),
        ("01" + "0000000g", "'g' at position 10 is not a hex digit"),
        (
            "01" + "00000000" * 20,
            "at least 16 different grams and at most 4096; this one has 20 grams",
        ),
        ("01" + "".join(f"{i:08x}" for i in range(4097)), "this one has 4097 grams"),
        ("01" + "".join(f"{20 - i:02x}000000" for i in range(20)), "gram 1 of a text signal"),
    ],
)
def test_malformed_values_are_refused(value: str, message: str) -> None:
    with pytest.raises(InvalidSignal, match=message):
        parse_value("text", value)


DIGEST = "5FD0A9" + "0123456789abcdef" * 4


@pytest.mark.parametrize("text", [DIGEST, "T1" + DIGEST, "t1" + DIGEST.lower(), DIGEST.upper()])
def test_tlsh_is_read_with_and_without_its_prefix(text: str) -> None:
    assert parse_signal(f"tlsh:{text}").text == "T1" + DIGEST.upper()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("T1" + DIGEST[:-1], "70 hex digits, with or without T1"),
        (DIGEST + "00", "not 72"),
        ("T1" + DIGEST[:-1] + "g", "'g' at position 72 is not"),
        ("TNULL", "not 5"),
    ],
)
def test_bad_tlsh_is_refused(text: str, message: str) -> None:
    with pytest.raises(InvalidSignal, match=message):
        parse_value("tlsh", text)


def test_distance_of_texts() -> None:
    a, b = (signals_of(text)["text"] for text in (ENTRIES[0], "so: " + ENTRIES[0] + " well, yes"))
    assert distance(a, b) == distance(b, a) == 0
    other = signals_of(ENTRIES[1])["text"]
    assert distance(a, other) == 1
    near = signals_of(ENTRIES[0].replace("selected", "chosen"))["text"]
    assert 0 < distance(a, near) < 0.2
    one, two = (signals_of(text)["tlsh"] for text in (ENTRIES[0], ENTRIES[0] + "!"))
    assert distance(one, two) == reference_tlsh.distance(one.value, two.value)
