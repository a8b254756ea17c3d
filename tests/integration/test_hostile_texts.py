"""A list whose texts colour, ring, forge lines and turn text around: no command prints them raw."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from featsvc.banks.records import BankMode, BankSettings, ChangeContext
from featsvc.banks.results import MatchKey
from featsvc.banks.store import BankStore
from tests.banks.lists import hex_list, list_file, live
from tests.cli.test_words import HOSTILE, shapeless
from tests.integration.running import Running, featsvc, running
from tests.integration.test_lists import LISTS

LABEL = "l\u202e\u2066\u200b\x9b\x85"
"""Labels hold no C0 control character."""
COMMANDS = [
    *LISTS,
    "bank show b",
    "bank entries b --withdrawn",
    "bank overlap b other",
    "bank log b --wide",
    "bank rollback b 4 --dry-run",
    "bank add b md5:" + "1" * 32 + " --reason x",
    "match --signal pdq:" + "0" * 64,
    "screen --text abc --account a1",
    "bank import hostile.jsonl --bank b --dry-run",
    "bank import hostile.jsonl --bank b --skip-bad",
    "bank set b --mode shadow",
    "bank withdraw b --external-id none",
]


def entries(count: int) -> str:
    return "".join(
        json.dumps(
            {
                "signals": [{"algorithm": "pdq", "signal": f"{n:064x}"}],
                "external_id": f"e{n}{HOSTILE}",
                "source": f"s{HOSTILE}",
                "note": f"n{HOSTILE}",
                "labels": [LABEL],
            }
        )
        + "\n"
        for n in range(count)
    )


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    folder = tmp_path_factory.mktemp("hostile")
    bad = {"signals": [{"algorithm": f"x{HOSTILE}", "signal": HOSTILE}], "labels": [HOSTILE]}
    (folder / "hostile.jsonl").write_text(entries(2) + json.dumps(bad) + "\n")
    with running(folder) as server:
        store = BankStore(f"sqlite:///{folder / 'banks.db'}")
        context = ChangeContext(actor=f"w{HOSTILE}", reason=f"r{HOSTILE}")
        for bank in ("b", "other", "equal"):
            store.create_bank(bank, BankSettings(description=f"d{HOSTILE}"), context)
            content = list_file(entries(5), name=f"f{HOSTILE}.jsonl")
            store.import_entries(bank, content, context=context)
        store.import_entries("other", list_file(hex_list(range(100, 105))))
        matched = [entry for bank, entry in live(store) if bank == "b"]
        store.add_match_counts({MatchKey("b", entry, BankMode.ENFORCE): 20 for entry in matched})
        store.close()
        yield server


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS)
def test_no_command_prints_them_raw(
    served: Running, command: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(served.data_dir)
    shown = featsvc(*command.split(), server=served.address)
    assert shown.stdout + shown.stderr
    assert not shapeless(shown.stdout + shown.stderr)
    if command not in LISTS:
        return
    lines = featsvc(*command.split(), "--json", server=served.address)
    assert not shapeless(lines.stdout + lines.stderr)
    for line in lines.stdout.splitlines():
        json.loads(line)


@pytest.mark.slow
def test_a_file_of_such_a_name(served: Running, tmp_path: Path) -> None:
    file = tmp_path / f"a{HOSTILE.replace('/', '')}.csv"
    file.write_text("algorithm,signal\nmd5,zz\n")
    shown = featsvc("bank", "import", str(file), "--bank", "b", server=served.address)
    assert (shown.returncode, shown.stdout) == (1, "csv: 1 row: no signal; source: none\n")
    assert not shapeless(shown.stderr)
    assert "\\x1b[31m" in shown.stderr
    assert len(shown.stderr.splitlines()) == 3
