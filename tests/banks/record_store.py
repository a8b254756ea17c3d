"""Records what an older featsvc wrote, and what it answered: run it with that version's code.

    PYTHONPATH=OLD python tests/banks/record_store.py OUT

writes OUT.sql.gz, the SQLite store as statements, and OUT.json, what was read from it. Nothing in
it is real.
"""

import gzip
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path
from typing import Any

from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import BankMode, BankSettings, ChangeContext
from featsvc.banks.results import ImportOptions
from featsvc.banks.store import BankStore
from featsvc.matching.layers import Layers
from featsvc.matching.matches import MatchOptions
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal

QUERIES = (
    f"pdq:{1:064x}", f"pdq:{2:064x}", f"pdq:{3:064x}", f"pdq:{'f' * 64}", f"md5:{7:032x}",
    f"phash-16:{5:064x}", "sscd@3:" + "0000803f" + "00000000" * 7,
)  # fmt: skip
_HEADER = b"algorithm,signal,external_id,labels,source,note,variant,quality\n"
LIST = (
    _HEADER
    + (
        f"pdq,{1:064x},2819,x;y,feed,,,90\nmd5,{7:032x},2819,,feed,,,\npdq,{2:064x},two,,,n,,\n"
        f"pdq,{3:064x},,z,partner,,,\npdq,{6:064x},us,,feed,,,\n"
        f"phash-16,{5:064x},us\x1ffeed,,,,,\npdq,{4:064x},rs\x1e0,,feed,,,\n"
    ).encode()
)
_VECTOR = '{"external_id":"v","signals":[{"algorithm":"sscd@3","signal":"%s"}]}\n'


def write(store: BankStore) -> None:
    """Banks with entries added, changed, withdrawn and restored."""

    def give(bank: str, content: bytes, options: ImportOptions | None = None) -> None:
        file = ListFile([content], name="list.csv")
        context = ChangeContext("ann", "weekly")
        store.import_entries(bank, file, options or ImportOptions(), context)

    store.create_bank("a", BankSettings(mode=BankMode.SHADOW, thresholds={"pdq": 20}))
    store.create_bank("b")
    give("a", LIST)
    give("b", _HEADER + f"pdq,{1:064x},2819,,,,flip_x,\n".encode(), ImportOptions(source="feed"))
    give("b", (_VECTOR % ("0000803f" + "00000000" * 7)).encode())
    give("a", _HEADER + f"pdq,{'f' * 64},2819,x,partner,moved,,\n".encode())
    store.withdraw_entries("a", (), ["two", "us\x1ffeed"])
    store.rollback_bank("a", 3)
    store.withdraw_entries("a", (), ["rs\x1e0"])


def read(store: BankStore) -> dict[str, Any]:
    """Live entries, matches of QUERIES, and the log, as JSON."""
    with store.view() as view:
        layers = Layers.on_rows(view.live_signals())
        snapshot = Snapshot(view.head, view.banks(), layers.views(view.banks()))
        entries = [
            [entry.id, entry.bank_id, entry.external_id, list(entry.labels), entry.source,
             entry.note, entry.added_revision, str(entry.create_time),
             [[s.algorithm, s.text, s.variant, s.quality] for s in entry.signals]]
            for entry in view.live_entries()
        ]  # fmt: skip
    options = MatchOptions(max_results=100)
    matches = {
        query: [
            [m.bank, m.entry_id, m.external_id, m.algorithm.name, m.distance, m.threshold,
             m.entry_variant, m.mode.value, list(m.labels), m.source, m.entry_signal.hex()]
            for m in snapshot.match([_signal(query)], options).matches
        ]
        for query in QUERIES
    }  # fmt: skip
    log = [
        [line.revision, str(line.commit_time), line.bank_id, line.action, line.actor, line.reason,
         line.file_name, line.added_entries, line.withdrawn_entries, line.changed_entries]
        for line in store.list_revisions().revisions
    ]  # fmt: skip
    return {"entries": entries, "matches": matches, "log": log}


def _signal(text: str) -> Signal:
    algorithm, _, value = text.partition(":")
    kind = get_algorithm(algorithm)
    return Signal(kind, kind.distance.parse(kind, value))


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "banks.db"
        store = BankStore(f"sqlite:///{path}")
        write(store)
        found = read(store)
        store.close()
        with closing(sqlite3.connect(path)) as connection:
            statements = "\n".join(connection.iterdump())
    out.with_suffix(".sql.gz").write_bytes(gzip.compress(statements.encode(), mtime=0))
    out.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
