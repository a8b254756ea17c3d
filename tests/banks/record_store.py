"""Records a store that an older featsvc wrote, and what it answered. Run it with the older code.

    PYTHONPATH=OLD python tests/banks/record_store.py OUT

writes OUT.sql.gz, the SQLite store as statements, and OUT.json, what was read from it. All data
is made up.
"""

import gzip
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from operator import attrgetter
from pathlib import Path
from typing import Any

from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import BankMode, BankSettings, ChangeContext
from featsvc.banks.results import ImportOptions
from featsvc.banks.sql.schema import entries
from featsvc.banks.store import BankStore
from featsvc.matching.layers import Layers
from featsvc.matching.matches import MatchOptions
from featsvc.matching.snapshot import Snapshot
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal

QUERIES = (
    f"pdq:{1:064x}",
    f"pdq:{2:064x}",
    f"pdq:{3:064x}",
    f"pdq:{'f' * 64}",
    f"md5:{7:032x}",
    f"phash-16:{5:064x}",
    "sscd@3:" + "0000803f" + "00000000" * 7,
)
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
    """Write banks with entries that were added, changed, withdrawn and restored."""

    def import_list(bank: str, content: bytes, options: ImportOptions | None = None) -> None:
        file = ListFile([content], name="list.csv")
        context = ChangeContext("ann", "weekly")
        store.import_entries(bank, file, options or ImportOptions(), context)

    store.create_bank("a", BankSettings(mode=BankMode.SHADOW, thresholds={"pdq": 20}))
    store.create_bank("b")
    import_list("a", LIST)
    import_list(
        "b", _HEADER + f"pdq,{1:064x},2819,,,,flip_x,\n".encode(), ImportOptions(source="feed")
    )
    import_list("b", (_VECTOR % ("0000803f" + "00000000" * 7)).encode())
    import_list("a", _HEADER + f"pdq,{'f' * 64},2819,x,partner,moved,,\n".encode())
    store.withdraw_entries("a", (), ["two", "us\x1ffeed"])
    store.rollback_bank("a", 3)
    store.withdraw_entries("a", (), ["rs\x1e0"])


_ENTRY = attrgetter(
    *("id", "bank_id", "external_id", "labels", "source", "note", "added_revision", "create_time")
)
_SIGNAL = attrgetter("algorithm", "text", "variant", "quality")
_MATCH = attrgetter(
    *("bank", "entry_id", "external_id", "algorithm.name", "distance", "threshold"),
    *("entry_variant", "mode.value", "labels", "source", "entry_signal"),
)
_LOG_LINE = attrgetter(
    *("revision", "commit_time", "bank_id", "action", "actor", "reason", "file_name"),
    *("added_entries", "withdrawn_entries", "changed_entries"),
)


def read(store: BankStore) -> dict[str, Any]:
    """Return live entries, matches of QUERIES, and the log, as JSON holds them."""
    with store.view() as view:
        layers = Layers.on_rows(view.live_signals())
        snapshot = Snapshot(view.head, view.banks(), layers.views(view.banks()))
        live = list(view.entries_where(entries.c.removed_change.is_(None)))
    options = MatchOptions(max_results=100)
    answers = {
        "entries": [(*_ENTRY(e), [_SIGNAL(s) for s in e.signals]) for e in live],
        "matches": {
            query: [_MATCH(m) for m in snapshot.match([_signal(query)], options).matches]
            for query in QUERIES
        },
        "log": [_LOG_LINE(line) for line in store.list_revisions().revisions],
    }
    result: dict[str, Any] = json.loads(json.dumps(answers, default=_plain))
    return result


def _plain(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else str(value)


def _signal(text: str) -> Signal:
    algorithm, _, value = text.partition(":")
    kind = get_algorithm(algorithm)
    return Signal(kind, kind.distance.parse(kind, value))


def main(out: Path) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "banks.db"
        store = BankStore(f"sqlite:///{path}")
        write(store)
        answers = read(store)
        store.close()
        with closing(sqlite3.connect(path)) as connection:
            statements = "\n".join(connection.iterdump())
    out.with_suffix(".sql.gz").write_bytes(gzip.compress(statements.encode(), mtime=0))
    out.with_suffix(".json").write_text(json.dumps(answers, indent=1) + "\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
