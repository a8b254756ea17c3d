"""Reading of list files: detection, counts, rejected rows and sizes."""

import hashlib
import threading
from collections import deque

import pytest

from featsvc.banks.lists import list_file as list_file_module
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput
from tests.banks.lists import HASH, hex_list, list_file, rows_of


@pytest.mark.parametrize("content", ["", "hello\nworld\n", "<xml/>", "a,b\n1,2\n"])
def test_unknown_content_is_refused(content: str) -> None:
    with pytest.raises(InvalidInput, match="csv"):
        rows_of(content)


def test_unknown_format_name_is_refused() -> None:
    with pytest.raises(InvalidInput, match="pdq-text"):
        ListFile([], format="yaml")


def test_detects_a_list_whose_first_row_is_broken() -> None:
    rows = rows_of(f"{HASH[:-1]}\n{HASH},\n")
    assert [type(row) for row in rows] == [BadRow, ImportRow]


def test_a_file_counts_and_hashes_its_bytes() -> None:
    content = hex_list(range(500))
    file = list_file(content, name="C:\\lists\\a.txt")
    assert sum(1 for _ in file) == 500
    assert (file.bytes_read, file.rows_read) == (len(content), 500)
    assert file.sha256 == hashlib.sha256(content).hexdigest()
    assert (file.name, file.format) == ("a.txt", "pdq-text")


def test_no_bad_row_is_lost_to_a_slow_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_file_module, "MAX_REJECTED_WAITING", 10)
    rows = [BadRow(line, "", "bad", "") for line in range(100)]
    file = ListFile([], keep_rejected=True)
    rejecting = threading.Thread(target=lambda: deque(map(file.reject, rows)))
    rejecting.start()
    taken: list[BadRow] = []
    while len(taken) < len(rows):
        taken += file.take_rejected(7)
    rejecting.join()
    assert taken == rows


def test_a_file_does_not_wait_for_a_sender_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(list_file_module, "MAX_REJECTED_WAITING", 1)
    file = ListFile([], keep_rejected=True, sender_gone=lambda: True)
    file.reject(BadRow(1, "", "bad", ""))
    with pytest.raises(InvalidInput, match="ends after 0 bytes"):
        file.reject(BadRow(2, "", "bad", ""))
    assert ListFile([]).take_rejected(1) == []


@pytest.mark.parametrize("size_bytes", [64, 66])
def test_a_file_of_another_size_than_announced_is_refused(size_bytes: int) -> None:
    with pytest.raises(InvalidInput, match=f"after 65 of {size_bytes} bytes"):
        list(ListFile([HASH.encode() + b"\n"], size_bytes=size_bytes))
