"""`bank add`: files, signals, and requests within their limits."""

from pathlib import Path

import click
import pytest

from featsvc.cli.bank_add import _additions


def test_a_signal_is_no_file_however_long(tmp_path: Path) -> None:
    file = tmp_path / "a.bin"
    file.write_bytes(b"content")
    vector = "00" * 4 * 256
    (of_file, content), (of_signal, nothing) = _additions([str(file), f"pdqf@1:{vector}"])
    assert (of_file.external_id, content.data) == ("a.bin", b"content")
    (signal,) = of_signal.signals
    assert (signal.algorithm, signal.value) == ("pdqf@1", vector)
    assert nothing.WhichOneof("kind") is None
    with pytest.raises(click.ClickException, match="neither a file nor ALGORITHM:HEX"):
        list(_additions([str(tmp_path / "b.bin")]))
