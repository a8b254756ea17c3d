"""The blocks of docs/backup.md by name, and how many kills their tests run.

By default a few are killed; for ten kills in each test run

    TEST_KILLS=10 pytest tests/integration -k backup
"""

import os

from tests.integration.pages import blocks

KILLS = int(os.environ.get("TEST_KILLS", "4"))
ROUNDS = KILLS * 3 // 2  # in every third round nothing is killed
PAGE = "backup.md"
# A text of each block of the page, by which a test names it.
MARKS = {
    "folder": "mkdir -p -m 700 backup",
    "save sqlite": ".backup(",
    "save valkey": "--rdb",
    "save postgresql": "pg_dump",
    "restore sqlite": "mv data/banks.db*",
    "restore valkey": "appendonlydir",
    "restore postgresql": "pg_restore",
    "empty postgresql": "DROP SCHEMA",
    "count again": "bank recount",
    "look": "featsvc doctor",
    "copy store": "copy-store",
    "no segments": "rm -rf data/segments",
    "uninstall": "rm -rf ~/.cache/featsvc",
    "uninstall postgresql": "DROP TABLE",
    "uninstall redis": "--scan",
}


def block(name: str) -> str:
    (found,) = [text for text in blocks(PAGE) if MARKS[name] in text]
    return found
