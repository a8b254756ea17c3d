"""Bare hashes: which algorithm they are of, and when nobody can tell."""

import hashlib
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featsvc.banks.lists.formats import detect
from featsvc.banks.lists.formats.bare_hashes import is_pdq
from featsvc.banks.lists.formats.reading import Reading
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.errors import InvalidInput
from tests.banks.lists import HASH, case, list_file, rows_of


def _sha256(count: int, seed: int = 0) -> list[str]:
    return [hashlib.sha256(b"%d %d" % (seed, n)).hexdigest() for n in range(count)]


def _balanced(count: int, seed: int = 0) -> list[str]:
    """Return hashes with half of their bits set, as PDQ of photographs have."""
    rng = random.Random(seed)
    return [f"{sum(1 << bit for bit in rng.sample(range(256), 128)):064x}" for _ in range(count)]


def _text(hashes: list[str]) -> bytes:
    return "".join(f"{digits}\n" for digits in hashes).encode()


def test_64_digits_are_a_question() -> None:
    for hashes in (_sha256(2), _sha256(900), _balanced(10), [HASH] * 900):
        with pytest.raises(InvalidInput, match="--algorithm pdq or --algorithm sha256") as caught:
            detect(_text(hashes))
        assert caught.value.field == "algorithm"


def test_the_list_of_sha256_that_was_taken_for_pdq() -> None:
    content = case("18_sha256_plain.txt")
    with pytest.raises(InvalidInput, match="may be PDQ or SHA-256") as caught:
        rows_of(content)
    assert caught.value.field == "algorithm"
    file = list_file(content)
    file.reading = Reading(algorithm="sha256")
    rows = [row for row in file if isinstance(row, ImportRow)]
    assert [row.signals[0].text for row in rows] == content.decode().split()
    assert {row.signals[0].algorithm for row in rows} == {"sha256"}


@given(st.integers(30, 300), st.integers(0, 9), st.integers(0, 10**6))
def test_many_hashes_of_photographs_are_surely_pdq(count: int, flat: int, seed: int) -> None:
    rng = random.Random(seed)
    odd = [
        f"{rng.getrandbits(256) & rng.getrandbits(256):064x}" for _ in range(flat * count // 100)
    ]
    hashes = [*_balanced(count - len(odd), seed), *odd]
    rng.shuffle(hashes)
    # With so few, flat ones may leave a doubt: then it is a question, never a wrong answer.
    assert is_pdq(hashes) or count < 60
    assert not is_pdq(_sha256(count, seed))


def test_what_a_sha256_list_is_taken_for_by_chance() -> None:
    """With the share that chance gives, 24.7 %, no number of hashes is near the limit."""
    assert not any(is_pdq(_sha256(count, seed)) for count in (23, 30, 100) for seed in range(300))
    # The start of a sorted list: the first bits are equal.
    for bits in (8, 16, 24):
        head = [f"{int(h, 16) >> bits:064x}" for h in _sha256(500)]
        assert not is_pdq(head)
    mixed = [*_balanced(100), *_sha256(100)]
    assert not is_pdq(mixed)
    assert not is_pdq([])


def test_the_algorithm_answers() -> None:
    for algorithm in ("pdq", "sha256"):
        file = list_file(_text(_sha256(3)))
        file.reading = Reading(algorithm=algorithm)
        rows = list(file)
        assert file.format == "hash-text"
        assert all(
            isinstance(row, ImportRow) and row.signals[0].algorithm == algorithm for row in rows
        )
    assert detect(_text(_balanced(100))) == "pdq-text"
    assert detect(f"{HASH},a.jpg\n".encode()) == "pdq-text"


def test_shorter_digits_tell() -> None:
    rows = rows_of(f"{'ab' * 16}\n{'CD' * 20}\n")
    assert [r.signals[0].algorithm for r in rows if isinstance(r, ImportRow)] == ["md5", "sha1"]


def test_64_digits_later_refuse_the_whole_list() -> None:
    with pytest.raises(InvalidInput, match="line 2001: 64 hex digits"):
        rows_of(f"{'ab' * 16}\n" * 2000 + f"{HASH}\n")
    with pytest.raises(InvalidInput, match="line 1: 64 hex digits"):
        rows_of(f"{HASH}\n", "hash-text")


def test_checksums() -> None:
    rows = rows_of(
        f"{'ab' * 32}  a  b\n\\{'ab' * 16} *a\\\\b\\nc\n{'ab' * 28}  c\n"
        f"SHA1 (a (b)) = {'cd' * 20}\n"
    )
    assert [(r.signals[0].algorithm, r.external_id) for r in rows if isinstance(r, ImportRow)] == [
        ("sha256", "a  b"),
        ("md5", "a\\b\nc"),
        ("sha1", "a (b)"),
    ]
