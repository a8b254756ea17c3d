"""What `bank add` takes for a file and what for a signal."""

from pathlib import Path

import click
import pytest

from featsvc.cli.bank_entries import _content


def test_a_signal_is_no_file_however_long(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"content")
    assert _content(str(file)) == b"content"
    assert _content("pdqf@1:" + "00" * 4 * 256) == b""
    with pytest.raises(click.ClickException, match="neither a file nor ALGORITHM:HEX"):
        _content(str(tmp_path / "b.bin"))
