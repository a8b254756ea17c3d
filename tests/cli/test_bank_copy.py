"""`featsvc bank copy-store`: an interrupted copy is kept, said to be, and finished."""

import sys
from contextlib import closing
from pathlib import Path

import pytest

from featsvc.banks.moving.store_copy import CopyProgress
from featsvc.banks.store import BankStore
from featsvc.cli import bank_copy
from featsvc.cli.main import main
from tests.banks.lists import hex_list, list_file


def test_an_interrupted_copy_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    urls = [f"sqlite:///{tmp_path / name}.db" for name in ("old", "new")]
    with closing(BankStore(urls[0])) as store:
        store.create_bank("b")
        store.import_entries("b", list_file(hex_list(range(50))))
    monkeypatch.setattr("featsvc.banks.moving.rows.CHUNK_ROWS", 10)
    arguments = ["featsvc", "bank", "copy-store", "--from", urls[0], "--to", urls[1]]
    monkeypatch.setattr(sys, "argv", arguments)
    update = bank_copy._Shown.update

    def interrupted(shown: bank_copy._Shown, now: CopyProgress) -> None:
        update(shown, now)
        if now.done > 20:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(bank_copy._Shown, "update", interrupted)
        with pytest.raises(SystemExit) as ended:
            main()
    assert ended.value.code == 130
    printed = capsys.readouterr()
    assert "run the same command again" in printed.err
    assert not printed.out
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code
    assert "all equal, an earlier copy resumed" in capsys.readouterr().out
    with closing(BankStore(urls[1])) as store:
        assert store.get_bank("b").entry_count == 50
