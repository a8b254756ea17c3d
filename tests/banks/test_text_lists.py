"""Lists of texts: fingerprints, digests, TLSH, and raw texts, which are hashed and not kept."""

import json
import random

import pytest

from featsvc.banks.lists.formats.csv_rows import MAX_OPEN_BYTES
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.results import BadRow, ImportOptions
from featsvc.banks.store import BankStore
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.text import STORED_ALGORITHMS, hash_text
from tests.banks.lists import exported, list_file, live
from tests.banks.test_formats import rows_of
from tests.texts import ENTRIES, negatives

TEXT = get_algorithm("text")

DIGEST = "T1" + "5FD0A9" + "0123456789ABCDEF" * 4


def stored(text: str) -> list[tuple[str, bytes]]:
    return [
        (s.algorithm.name, s.value) for s in hash_text(text, STORED_ALGORITHMS, parts=True).signals
    ]


def signals(row: ImportRow) -> list[tuple[str, bytes]]:
    return [(s.algorithm, s.value) for s in row.signals]


def random_words(words: int, between: str) -> str:
    rng = random.Random(5)
    return between.join("".join(rng.choices("abcdefgh", k=4)) for _ in range(words))


def quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


@pytest.mark.parametrize(
    "content",
    [
        f"algorithm,signal\nraw_text,{quoted(ENTRIES[0])}\n",
        f"signal_type,signal_str,collab,category,tags\nraw_text,{quoted(ENTRIES[0])},c,,\n",
        json.dumps({"signals": [{"algorithm": "raw_text", "signal": ENTRIES[0]}]}),
        f"raw_text {ENTRIES[0]}\n",
        json.dumps(
            {"data": [{"id": 1, "type": "TEXT_STRING", "indicator": ENTRIES[0]}], "paging": {}}
        ),
    ],
    ids=["csv", "tx dataset", "json lines", "tx", "threat updates"],
)
def test_a_raw_text_becomes_its_signals(content: str) -> None:
    (row,) = rows_of(content)
    assert signals(row) == stored(ENTRIES[0])


@pytest.mark.parametrize("name", ["text_tlsh", "TEXT_TLSH", "tlsh"])
@pytest.mark.parametrize("digest", [DIGEST, DIGEST[2:], DIGEST.lower()])
def test_tlsh_has_several_names(name: str, digest: str) -> None:
    (row,) = rows_of(f"algorithm,signal\n{name},{digest}\n")
    assert [(s.algorithm, s.text) for s in row.signals] == [("tlsh", DIGEST)]


def test_a_text_that_spans_lines_is_one_row() -> None:
    text = f"{ENTRIES[0]}\n\n{ENTRIES[1]}"
    first, second = rows_of(
        f"algorithm,signal,external_id\nraw_text,{quoted(text)},a\nmd5,{'0' * 32},b\n"
    )
    assert signals(first) == stored(text)
    assert (first.line, second.line, second.external_id) == (2, 5, "b")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("!?", "nothing in the text reads"),
        ("", "text: empty"),
        ("x" * 40_000 + "yz" * 20_000 + "a", None),
    ],
)
def test_texts_without_anything_to_hash_are_bad_rows(text: str, reason: str | None) -> None:
    (row,) = list_file(f"algorithm,signal\nraw_text,{quoted(text)}\n")
    if reason is None:
        assert isinstance(row, ImportRow)
        return
    assert isinstance(row, BadRow)
    assert reason in row.reason


@pytest.mark.slow
def test_a_text_longer_than_an_entry_is_a_bad_row() -> None:
    text = " ".join(negatives())[:120_000].replace("\n", " ")
    (row,) = list_file(f"algorithm,signal\nraw_text,{quoted(text)}\n")
    assert isinstance(row, BadRow)
    assert "send it in pieces" in row.reason


def test_a_long_line_is_not_taken_for_an_open_quote() -> None:
    text = random_words(12_000, "  ")
    assert len(text) > MAX_OPEN_BYTES
    (row,) = rows_of(f"algorithm,signal\nraw_text,{quoted(text)}\n")
    assert len(row.signals) > 2


def test_parts_and_digests_survive_an_export_of_json_lines(store: BankStore) -> None:
    book = random_words(7000, " ")
    texts = [*ENTRIES[:3], book, "Buy now!"]
    lines = [
        json.dumps({"external_id": str(i), "signals": [{"algorithm": "raw_text", "signal": text}]})
        for i, text in enumerate(texts)
    ]
    store.create_bank("a")
    store.create_bank("b")
    store.import_entries("a", list_file("\n".join(lines)), ImportOptions())
    content = exported(store, "a", "jsonl")
    assert max(map(len, content.splitlines())) > 64 * 1024
    store.import_entries("b", list_file(content), ImportOptions())
    assert exported(store, "b", "jsonl") == content
    again = store.import_entries("b", list_file("\n".join(lines)), ImportOptions())
    assert (again.revision, again.summary.unchanged_entries) == (0, len(texts))
    entries = {e.external_id: e for e in live(store).values() if e.bank_id == "a"}
    assert [(s.algorithm, s.value) for s in entries["3"].signals] == stored(book)
    assert [s.algorithm for s in entries["4"].signals] == ["text_sha256"]
    assert isinstance(entries["3"].signals[1].text, str)
    assert Signal(TEXT, entries["3"].signals[1].value).text == entries["3"].signals[1].text
