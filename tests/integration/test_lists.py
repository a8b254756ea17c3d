"""Every list command prints all rows with --json, however many pages: the store is the oracle."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from featsvc.banks.records import BankMode
from featsvc.banks.results import MatchKey
from featsvc.banks.store import BankStore
from tests.banks.lists import hex_list, list_file, live
from tests.cli.test_help import COMMANDS
from tests.integration.running import Running, featsvc, running

ROWS = 1_234
"""More than a page, which has 1,000 rows at most."""
MANY_EQUAL = 10_050
"""More than a search by distance may find: equal signals have no such limit."""
ONE_MD5 = "0f" * 16


def of_bank(store: BankStore, bank: str) -> list[int]:
    """Return the ids of the live entries of a bank, in order."""
    return sorted(entry for bank_id, entry in live(store) if bank_id == bank)


def features_file(path: Path) -> Path:
    """Definitions of ROWS features."""
    head = 'namespace = "lists"\n[entities]\naccount = "account"\n[events.upload]\n'
    of_account = 'on = "upload"\nagg = "count"\nwindows = ["1h"]\n'
    features = "".join(f"[features.f{n}]\n{of_account}" for n in range(ROWS))
    path.write_text(f'{head}keys = ["account"]\n{features}')
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("lists")


@pytest.fixture(scope="module")
def served(folder: Path) -> Iterator[Running]:
    """A store with more than a page of everything."""
    options = ("--features", str(features_file(folder / "features.toml")))
    with running(folder, *options) as server:
        store = BankStore(f"sqlite:///{folder / 'banks.db'}")
        store.create_bank("b")
        store.create_bank("other")
        store.import_entries("b", list_file(hex_list(range(ROWS))))
        store.import_entries("other", list_file(hex_list(range(ROWS, -1, -1))))
        others = of_bank(store, "other")
        for some in (others[:1000], others[1000:]):
            store.quarantine_entries("other", some)
        # Ids by matches differ from ids by number; some matched entries are gone.
        matched = of_bank(store, "b")
        shown = {MatchKey("b", e, BankMode.SHADOW): e * 7919 % 1000 + 1 for e in matched}
        store.add_match_counts(shown)
        for number in range(ROWS):
            store.create_bank(f"empty-{number:04}")
        store.create_bank("equal")
        rows = "".join(f"md5,{ONE_MD5},e{n}\n" for n in range(MANY_EQUAL))
        store.import_entries("equal", list_file(f"algorithm,signal,external_id\n{rows}"))
        store.close()
        yield server


@pytest.fixture(scope="module")
def store(folder: Path, served: Running) -> Iterator[BankStore]:
    opened = BankStore(f"sqlite:///{folder / 'banks.db'}")
    yield opened
    opened.close()


def lines(server: Running, *command: str) -> list[dict[str, Any]]:
    result = featsvc(*command, "--json", server=server.address)
    assert result.returncode == 0, result.stderr
    return [json.loads(line) for line in result.stdout.splitlines()]


LISTS = {
    "bank entries b": ROWS,
    "bank find --bank equal --signal md5:" + ONE_MD5: MANY_EQUAL,
    "bank find --bank b --bank other --signal pdq:" + "0" * 64 + " --distance 256": 2 * ROWS + 1,
    "bank decisions other": ROWS + 1,
    "bank diff b 0": ROWS,
    "bank list": ROWS + 3,
    "bank log": ROWS + 8,
    "bank noisy b": ROWS,
    "features list": ROWS,
}
"""Each list command, and the number of its rows."""


def test_every_list_command_is_here() -> None:
    limited = {n for n, c in COMMANDS.items() if any(p.name == "limit" for p in c.params)}
    in_one_object = {"featsvc bank overlap", "featsvc bank evaluate"}
    assert {f"featsvc {' '.join(line.split()[:2])}" for line in LISTS} == limited - in_one_object


@pytest.mark.parametrize("command", LISTS)
def test_all_rows_are_printed(served: Running, store: BankStore, command: str) -> None:
    shown = lines(served, *command.split())
    assert len(shown) == LISTS[command]
    assert not any("truncated" in row for row in shown)
    key = {"log": "revision", "list": "bank"}.get(command.split()[1], "entry_id")
    key = "name" if command == "features list" else key
    assert len({row[key] for row in shown}) == len(shown), "a row is printed twice"
    if " b" in command and key == "entry_id":
        known = {str(entry) for bank in ("b", "other") for entry in of_bank(store, bank)}
        assert {row[key] for row in shown} <= known


@pytest.mark.parametrize(
    ("command", "limit"), [*((command, 5) for command in LISTS), ("bank entries b", 1000)]
)
def test_fewer_rows_are_the_first_and_say_so(served: Running, command: str, limit: int) -> None:
    whole = lines(served, *command.split())
    *shown, last = lines(served, *command.split(), "--limit", str(limit))
    assert shown == whole[:limit]
    assert last == {
        "truncated": True,
        "shown": limit,
        "total": last["total"],
        "next": "--limit 0",
    }
    assert last["total"] in (None, len(whole))
    text = featsvc(*command.split(), "--limit", "5", server=served.address).stdout
    assert text.splitlines()[-1].endswith("more; use --limit N, or --limit 0 for all")


def test_entries_with_most_matches_come_first(served: Running, store: BankStore) -> None:
    shown = lines(served, "bank", "noisy", "b")
    totals = {int(row["entry_id"]): row["total"] for row in shown}
    assert totals == {entry: entry * 7919 % 1000 + 1 for entry in of_bank(store, "b")}
    assert [row["total"] for row in shown] == sorted(totals.values(), reverse=True)


def test_all_pairs_of_two_banks_are_printed(served: Running, store: BankStore) -> None:
    pages = lines(served, "bank", "overlap", "b", "other")
    assert [len(page["pairs"]) for page in pages] == [1000, ROWS - 1000]
    assert [page["shared_entries"] for page in pages] == [ROWS, ROWS]
    pairs = [pair for page in pages for pair in page["pairs"]]
    assert [int(pair["entry"]["entry_id"]) for pair in pairs] == sorted(of_bank(store, "b"))
    values = [[pair[side]["signals"][0]["signal"] for side in ("entry", "other")] for pair in pairs]
    assert all(mine == others for mine, others in values)
    page, last = lines(served, "bank", "overlap", "b", "other", "--limit", "7")
    assert page["pairs"] == pairs[:7]
    assert last == {"truncated": True, "shown": 7, "total": ROWS, "next": "--limit 0"}
