"""What a start says of the banks: by the truth about what a search of them can find."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import BankMode, BankSettings, EntrySignal, Opinion
from featsvc.banks.store import BankStore
from featsvc.cli import serve as serve_module
from featsvc.cli.start_report import read_holdings, start_report, warnings
from featsvc.config import (
    BanksConfig,
    Config,
    EmbedConfig,
    MetricsConfig,
    RedisConfig,
    ServerConfig,
)
from featsvc.matching.follower import Follower
from featsvc.matching.matches import MatchOptions
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from tests.patience import PATIENCE_S, until

PAST, FUTURE = (datetime.now(UTC) + timedelta(days=days) for days in (-1, 365))
ALL_ONES = b"\x55" * 32


@dataclass(frozen=True)
class Held:
    """A bank of one entry; `lost` says why the entry cannot match."""

    mode: BankMode = BankMode.ENFORCE
    safe: bool = False
    lost: str = ""
    empty: bool = False

    def enter(self, store: BankStore, bank_id: str) -> None:
        store.create_bank(bank_id, BankSettings(mode=self.mode, safe=self.safe))
        if self.empty:
            return
        row = ImportRow(
            0,
            (EntrySignal("pdq", ALL_ONES, quality=100),),
            expire_time=PAST if self.lost == "expired" else FUTURE,
            opinion=Opinion.NEGATIVE if self.lost == "negative" else Opinion.UNSPECIFIED,
        )
        (entry,) = store.add_entries(bank_id, [row]).entries
        if self.lost == "quarantined":
            store.quarantine_entries(bank_id, [entry.id])
        if self.lost == "withdrawn":
            store.withdraw_entries(bank_id, [entry.id])


HELD = st.builds(
    Held,
    mode=st.sampled_from(BankMode),
    safe=st.booleans(),
    lost=st.sampled_from(["", "", "expired", "negative", "quarantined", "withdrawn"]),
    empty=st.booleans(),
)


def warned(url: str) -> list[str]:
    config = Config(banks=BanksConfig(url=url))
    store = BankStore(url)
    lines = list(warnings(config, read_holdings(store), []))
    store.close()
    return lines


def matched_modes(url: str) -> set[BankMode]:
    """The modes of the matches of the very signal, without safe lists and their effect."""
    store = BankStore(url)
    follower = Follower(store)
    follower.start()
    query = Signal(get_algorithm("pdq"), ALL_ONES, quality=100)
    found = follower.snapshot.match([query], MatchOptions(ignore_safe_lists=True))
    with store.view() as view:
        safe = {bank.id for bank in view.banks() if bank.safe}
    follower.stop()
    store.close()
    return {match.mode for match in found.matches if match.bank not in safe}


@pytest.mark.slow
@settings(max_examples=30)
@given(st.lists(HELD, max_size=3))
def test_the_warning_says_what_a_search_finds(
    tmp_path_factory: pytest.TempPathFactory, banks: Sequence[Held]
) -> None:
    url = f"sqlite:///{tmp_path_factory.mktemp('banks') / 'banks.db'}"
    store = BankStore(url)
    for number, bank in enumerate(banks):
        bank.enter(store, f"b{number}")
    store.close()
    lines, modes = warned(url), matched_modes(url)
    assert any(line.startswith("nothing can match") for line in lines) == (not modes)
    assert any(line.startswith("nothing is enforced") for line in lines) == (
        modes == {BankMode.SHADOW}
    )
    assert len(lines) == (BankMode.ENFORCE not in modes)


@pytest.mark.parametrize(
    ("bank", "told"),
    [
        (Held(empty=True), "holds no entry"),
        (Held(lost="withdrawn"), "holds no entry"),
        (Held(lost="quarantined"), "quarantined, expired, negative or in a safe list (b)"),
        (Held(safe=True), "in a safe list (b)"),
        (Held(mode=BankMode.OFF), "is off (b)"),
        (Held(mode=BankMode.SHADOW), "nothing is enforced: matches are only counted (b)"),
    ],
)
def test_a_warning_names_cause_and_bank(bank: Held, told: str, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'banks.db'}"
    store = BankStore(url)
    bank.enter(store, "b")
    store.close()
    (line,) = warned(url)
    assert told in line


def test_vectors_of_a_model_that_is_not_served(tmp_path: Path) -> None:
    config = Config(data_dir=str(tmp_path))
    store = BankStore(config.banks_url)
    store.create_bank("b")
    vector = b"\0\0\x80\x3f" + bytes(12)
    for name in ("clip@2", "pdqf@1"):
        size = 4 if name == "clip@2" else get_algorithm(name).dimensions or 256
        value = vector[:4] + bytes(4 * (size - 1))
        store.add_entries("b", [ImportRow(0, (EntrySignal(name, value),))])
    holdings = read_holdings(store)
    store.close()
    (line,) = warnings(config, holdings, [])
    assert line.startswith("bank b: not searched for content: 1 vector of clip@2: ")
    assert list(warnings(config, holdings, ["clip@2"])) == []


def test_the_report_shows_no_credentials(tmp_path: Path) -> None:
    config = Config(
        data_dir=str(tmp_path),
        server=ServerConfig(workers=3),
        banks=BanksConfig(
            url="postgresql+psycopg://me:hunter2@127.0.0.1:1/featsvc?password=hunter2"
        ),
        redis=RedisConfig(url="redis://me:hunter2@h:1/3"),
        metrics=MetricsConfig(listen="[::1]:9090"),
        embed=EmbedConfig(),
    )
    block, warned = start_report(config)
    assert "hunter2" not in block
    assert "me@" not in block
    assert "postgresql+psycopg://127.0.0.1:1/featsvc" in block
    assert "cannot be read now" in block  # nothing listens there
    assert "redis://h:1/3" in block
    assert "[::1]:9090 to 9092" in block
    assert warned == []
    assert all(line.startswith("  ") for line in block.splitlines())


def test_a_slow_store_does_not_hold_up_the_address(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    answered = threading.Event()

    def slow_report(_config: Config) -> tuple[str, list[str]]:
        answered.wait(PATIENCE_S)
        return "  the block\n", []

    monkeypatch.setattr("featsvc.cli.start_report.start_report", slow_report)
    serve_module._announce(Config(), "h:1")
    assert capfd.readouterr().out == "serving on h:1\n"
    answered.set()
    until(lambda: capfd.readouterr().out == "  the block\n")


def test_the_report_of_an_empty_store(tmp_path: Path) -> None:
    block, (warning,) = start_report(Config(data_dir=str(tmp_path)))
    assert "0 banks (0 enforce, 0 shadow, 0 off), 0 entries" in block
    assert f"sqlite:///{tmp_path}/banks.db holds no entry" in warning
