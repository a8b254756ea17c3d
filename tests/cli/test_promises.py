"""What `--json` prints is a promise: `promises.json` holds it, for every command.

A line may gain keys. A key that it has keeps its name and its value. `python -m
tests.cli.test_promises` records the cases that the file does not have yet.
"""

import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from featsvc.banks.store import BankStore
from featsvc.cli.main import cli
from tests.cli.canned import bare, canned_server, filled
from tests.cli.test_help import COMMANDS

RECORDED = Path(__file__).with_name("promises.json")
SIGNAL = "pdq:" + "0f" * 32
EVENT = '{"event_id": "e1", "type": "upload", "time": 1700000000000, "entities": {"account": "a"}}'
DEFINITIONS = """namespace = "t"
[entities]
account = "account"
[events.upload]
keys = ["account"]
[features.uploads]
on = "upload"
agg = "count"
where = { x = [1, 2] }
windows = ["1h", "24h"]
"""
MORE = """[features.total]
on = "upload"
agg = "count"
windows = ["lifetime"]
"""
FILES = {
    "text.txt": "A text that is long enough to have every hash of texts. " * 8,
    "list.csv": f"algorithm,signal\n{SIGNAL.replace(':', ',')}\n",
    "samples.txt": f"{SIGNAL}\n",
    "events.jsonl": f"{EVENT}\n{EVENT}\n",
    "wrong.toml": "namespace = 3\n",
    "old.toml": DEFINITIONS,
    "new.toml": DEFINITIONS.replace("1h", "2h").replace("x = [1, 2]", "x = [2.0, 1]") + MORE,
    "broken.gif": "GIF89a",
}
LOCAL = {
    "hash": "hash --as-text text.txt",
    "hash --for-bank": "hash --for-bank --as-text text.txt",
    "hash, broken": "hash broken.gif text.txt",
    "hash --for-bank, broken": "hash --for-bank broken.gif text.txt",
    "compare": "compare --as-text text.txt text.txt",
    "compare, broken": "compare -a pdq -a md5 broken.gif broken.gif",
    "bank copy-store": "bank copy-store --from sqlite:///{folder}/banks.db --to "
    "sqlite:///{folder}/copy.db",
    "bank recount": "bank recount --store sqlite:///{folder}/banks.db --dry-run",
    "features validate": "features validate wrong.toml",
    "features diff": "features diff old.toml new.toml",
}
REMOTE = {
    "match": f"match --signal {SIGNAL}",
    "match FILE": "match text.txt",
    "screen": "screen --text abc --account a1",
    "features get": "features get --entity account=a1 --entity ip=192.0.2.1",
    "features ingest": "features ingest events.jsonl",
    "features list": "features list",
    "bank create": "bank create b1",
    "bank list": "bank list",
    "bank show": "bank show b1",
    "bank set": "bank set b1 --mode off",
    "bank delete": "bank delete b1 --yes",
    "bank import": "bank import list.csv --bank b1",
    "bank import --skip-bad": "bank import list.csv --bank b1 --skip-bad",
    "bank entries": "bank entries b1",
    "bank entries --limit": "bank entries b1 --limit 1",
    "bank log --limit": "bank log --limit 1",
    "bank find": "bank find --label x",
    "bank find --signal": f"bank find --signal {SIGNAL} --bank b1",
    "bank add": f"bank add b1 {SIGNAL}",
    "bank withdraw": "bank withdraw b1 --entry 7 --yes",
    "bank quarantine": "bank quarantine b1 7",
    "bank quarantine --release": "bank quarantine b1 7 --release",
    "bank edit": "bank edit b1 7 --note x",
    "bank restore": "bank restore b1 7",
    "bank decisions": "bank decisions b1",
    "bank log": "bank log",
    "bank diff": "bank diff b1 1 2",
    "bank diff --settings": "bank diff b1 1 2 --settings",
    "bank rollback": "bank rollback b1 1 --yes",
    "bank evaluate": "bank evaluate b1 --sample samples.txt",
    "bank noisy": "bank noisy b1",
    "bank overlap": "bank overlap b1 b2",
}
CASES = {
    **{name: (line, "none") for name, line in LOCAL.items()},
    **{name: (line, "filled") for name, line in REMOTE.items()},
    **{
        f"{name}, bare": (line, "bare")
        for name, line in REMOTE.items()
        if "ingest" not in name and "--limit" not in name
    },
}


def run(line: str, server: str) -> dict[str, Any]:
    """Exit code and JSON lines of a command, without durations, sums and the wording of errors."""
    result = CliRunner().invoke(
        cli,
        [*line.format(folder=Path.cwd()).split(), "--json"],
        env={"FEATSVC_SERVER": server or None},
    )
    assert result.exception is None or isinstance(result.exception, SystemExit), line
    shown = {"exit_code": result.exit_code, "lines": parsed(result.stdout)}
    rejected = Path("list.csv.rejected.jsonl")
    if rejected.exists():
        shown["rejected"] = parsed(rejected.read_text())
        rejected.unlink()
    return shown


def parsed(text: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in text.splitlines()]
    for line in lines:
        line.pop("seconds", None)
        for table in line.get("tables", {}).values():
            # Of times, and of columns, which a later schema adds.
            table["checksum"] = type(table["checksum"]).__name__
        for key in ("message", "outcome_reason"):
            if " " in line.get(key, ""):
                line[key] = type(line[key]).__name__
    return lines


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, str]]:
    with canned_server(filled) as full, canned_server(bare) as few:
        yield {"filled": full, "bare": few, "none": ""}


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files()


def write_files() -> None:
    for name, text in FILES.items():
        Path(name).write_text(text)
    for name in ("banks.db", "copy.db"):
        Path(name).unlink(missing_ok=True)
    store = BankStore(f"sqlite:///{Path.cwd()}/banks.db")
    store.create_bank("b1")
    store.close()


def lost(promised: Any, shown: Any, where: str = "") -> Iterator[str]:
    """Where what is shown lacks a key that was promised, or has another value."""
    if isinstance(promised, dict) and isinstance(shown, dict):
        for key, value in promised.items():
            if key in shown:
                yield from lost(value, shown[key], f"{where}.{key}")
            else:
                yield f"{where}.{key}: gone"
    elif isinstance(promised, list) and isinstance(shown, list) and len(promised) == len(shown):
        for index, (value, now) in enumerate(zip(promised, shown, strict=True)):
            yield from lost(value, now, f"{where}[{index}]")
    elif promised != shown or isinstance(promised, bool) != isinstance(shown, bool):
        yield f"{where}: {promised!r} is now {shown!r}"


@pytest.mark.parametrize("name", CASES)
def test_json_keeps_its_promise(name: str, servers: dict[str, str]) -> None:
    line, server = CASES[name]
    promised = json.loads(RECORDED.read_text())[name]
    assert list(lost(promised, run(line, servers[server]))) == []


def test_every_command_with_json_is_recorded() -> None:
    printing = {
        name.removeprefix("featsvc ")
        for name, command in COMMANDS.items()
        if any(parameter.name == "as_json" for parameter in command.params)
    }
    assert printing <= set(CASES)


def test_a_change_of_a_value_is_seen() -> None:
    promised = {"a": [{"b": 1, "c": True}]}
    assert not list(lost(promised, {"a": [{"b": 1.0, "c": True, "d": 2}], "e": 3}))
    assert list(lost(promised, {"a": [{"c": 1}]})) == [".a[0].b: gone", ".a[0].c: True is now 1"]
    assert list(lost(promised, {"a": []})) == [".a: [{'b': 1, 'c': True}] is now []"]


def record() -> None:
    recorded = json.loads(RECORDED.read_text()) if RECORDED.exists() else {}
    with (
        tempfile.TemporaryDirectory() as folder,
        canned_server(filled) as full,
        canned_server(bare) as few,
    ):
        os.chdir(folder)
        write_files()
        for name, (line, server) in CASES.items():
            address = {"filled": full, "bare": few, "none": ""}[server]
            recorded.setdefault(name, run(line, address))
    lines = (f"{json.dumps(name)}: {json.dumps(case)}" for name, case in recorded.items())
    RECORDED.write_text("{\n" + ",\n".join(lines) + "\n}\n")


if __name__ == "__main__":
    record()
