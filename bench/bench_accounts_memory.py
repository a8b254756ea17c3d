"""Memory of accounts in Redis: what the server uses for a population, per account.

    make bench ARGS="-k accounts_memory"

docs/features.md extrapolates from it to 10 M and 100 M accounts.
"""

import asyncio
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import pytest
import redis

from bench.compare import Compare
from bench.size import pick
from featsvc.accounts import Event, FeatureStore, load_definitions
from featsvc.accounts.embedded import find_server

NOW_MS = 1_767_268_803_123
TYPES = ("upload", "login", "message", "report", "match", "decision", "signup")
DAY_MS = 86_400_000


@contextmanager
def running_valkey() -> Iterator[str]:
    """The URL of a server without persistence."""
    with TemporaryDirectory(prefix="featsvc-bench-") as folder:
        path = Path(folder, "s")
        command = [find_server(), "--port", "0", "--unixsocket", path, "--save", ""]
        process = subprocess.Popen([*map(str, command)], stdout=subprocess.DEVNULL, cwd=folder)
        while not path.exists():
            time.sleep(0.01)
        yield f"unix://{path}"
        process.terminate()
        process.wait(10)


def history(account: int, size: int, days: int = 90) -> list[Event]:
    """Events of seven types, oldest first, of the account only.

    Most of those of 90 days are recent; those of one day are spread over it.
    """
    rng = np.random.default_rng(account)
    ages = np.sort(days * DAY_MS * rng.random(size) ** (4 if days > 1 else 1))[::-1]
    attributes: dict[str, float | str | bool] = {"bytes": 9.0, "success": False, "action": "strike"}
    return [
        Event(
            f"{account}-{n}",
            TYPES[n % len(TYPES)],
            int(NOW_MS - age),
            {"account": f"account-{account:09}"},
            {
                **attributes,
                "target": f"t{n % 90}",
                "ip": f"i{n % 9}",
                "device": f"d{n % 3}",
                "reporter": f"r{n}",
            },
        )
        for n, age in enumerate(ages)
    ]


# Accounts, events of each, and days over which they are spread.
POPULATIONS = pick(
    [
        *((20_000, 20, 90), (2_000, 200, 90), (20, 20_000, 90)),
        *((20_000, 20, 1), (2_000, 200, 1), (20, 20_000, 1)),
    ],
    smoke=[(5, 4, 90), (5, 4, 1)],
)


@pytest.mark.parametrize(("accounts", "events", "days"), POPULATIONS)
def bench_accounts_memory(compare: Compare, accounts: int, events: int, days: int) -> None:
    """Memory of one population; the time is that of writing it."""
    with running_valkey() as url:
        client: Any = redis.Redis.from_url(url)
        empty = used_bytes(client)

        async def fill() -> None:
            store = FeatureStore(url, load_definitions(), clock=lambda: NOW_MS, timeout_ms=5000)
            together = max(1, 10_000 // events)
            for first in range(0, accounts, together):
                batch = [
                    e
                    for a in range(first, min(first + together, accounts))
                    for e in history(a, events, days)
                ]
                for at in range(0, len(batch), 10_000):
                    await store.ingest(batch[at : at + 10_000])
            await store.close()

        case = compare(
            f"write one of {accounts:,} accounts x {events:,} events of {days} days",
            lambda: asyncio.run(fill()),
            operations=accounts,
            rounds=1,
        )
        of_keys = sum(client.memory_usage(key, samples=0) for key in client.scan_iter()) / accounts
        case.notes["bytes per account"] = round(of_keys)
        case.notes["with all of the server"] = round((used_bytes(client) - empty) / accounts)
        case.notes["keys per account"] = round(client.dbsize() / accounts, 1)
        client.close()


def used_bytes(client: Any) -> int:
    """Memory of all keys, including the tables of the server."""
    return int(client.info("memory")["used_memory"])
