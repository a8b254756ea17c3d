"""What a user names: signals, names, files, texts; each error is one line with the reason."""

from pathlib import Path

import click
import pytest

from featsvc.cli.inputs import parse_signal, read_file, read_text, split_names


def test_a_signal_is_an_algorithm_and_its_value() -> None:
    signal = parse_signal(" PDQ: 0F ", "--signal")
    # The server knows the case of a value: stored kinds are not hex.
    assert (signal.algorithm, signal.value) == ("PDQ", "0F")


@pytest.mark.parametrize("text", ["", "pdq", "pdq:", ":0f", " "])
def test_a_signal_without_both_parts_is_refused(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not ALGORITHM:HEX") as caught:
        parse_signal(text, "--signal")
    assert caught.value.param_hint == "--signal"


def test_names_are_split_at_commas() -> None:
    assert split_names(" a,b ,,c") == ["a", "b", "c"]
    assert split_names("") == []


def test_a_file_is_read_within_its_limit(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"12345")
    assert read_file(file, 5) == b"12345"
    with pytest.raises(click.ClickException, match=r"a\.bin: larger than 4 bytes"):
        read_file(file, 4)
    with pytest.raises(click.ClickException, match="cannot be read: Is a directory"):
        read_file(tmp_path)
    with pytest.raises(click.ClickException, match=r"b\.bin: cannot be read: No such file"):
        read_file(tmp_path / "b.bin")


def test_a_text_is_utf_8(tmp_path: Path) -> None:
    file = tmp_path / "a.txt"
    file.write_bytes("\ufeffgrün".encode())
    assert read_text(str(file)) == "grün"
    file.write_bytes(b"gr\xfcn")
    with pytest.raises(click.ClickException, match=r"a\.txt: text: byte 0xfc at offset 2"):
        read_text(str(file))
