"""The commands of docs/backup.md for account features, under load and kills."""

import asyncio
import os
import random
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import redis

from featsvc.accounts import (
    EmbeddedValkey,
    EntityRef,
    Event,
    EventStatus,
    FeatureStore,
    Selection,
    load_definitions,
)
from featsvc.accounts.events import clock_ms
from featsvc.errors import Unavailable
from tests.accounts.stores import open_store, running_valkey
from tests.integration.backup_page import ROUNDS, block
from tests.integration.pages import kill, paste, shell
from tests.integration.running import free_ports

ACCOUNTS = 3


def event(number: int) -> Event:
    return Event(f"e{number}", "upload", clock_ms(), {"account": f"a{number % ACCOUNTS}"})


class Sender:
    """Sends one event after the other; repeats what was not acknowledged."""

    def __init__(self, store: FeatureStore) -> None:
        self.store = store
        self.acknowledged = 0
        self.stopping = False

    async def run(self) -> None:
        while not self.stopping:
            try:
                (result,) = await self.store.ingest([event(self.acknowledged)])
            except Unavailable:
                await asyncio.sleep(0.01)
                continue
            if result.status in (EventStatus.APPLIED, EventStatus.DUPLICATE):
                self.acknowledged += 1
            await asyncio.sleep(0.002)


async def counts(store: FeatureStore) -> list[int]:
    entities = [EntityRef("account", f"a{i}") for i in range(ACCOUNTS)]
    table = await store.get(entities, Selection(("uploads_24h",)))
    return [int(value) if value == value else 0 for value in table.values[0]]  # noqa: PLR0124


def of_prefix(length: int) -> list[int]:
    """The counts after the first `length` events."""
    return [len(range(i, length, ACCOUNTS)) for i in range(ACCOUNTS)]


async def restored_counts(folder: Path, sent: int) -> tuple[list[int], list[int]]:
    """Restore over another state; return the counts, and those when events come again.

    They come from a little before the backup: each account remembers its last 512.
    """
    definitions = load_definitions()
    for restore in (False, True):
        if restore:
            paste(block("restore valkey"), folder)
        server = EmbeddedValkey(folder / "data")
        await server.start()
        async with open_store(server.url, definitions) as store:
            if not restore:
                await store.ingest([Event("x", "upload", clock_ms(), {"account": "a1"})])
            else:
                first = await counts(store)
                await store.ingest(
                    [event(number) for number in range(max(0, sum(first) - 300), sent)]
                )
                again = await counts(store)
        await server.stop()
    return first, again


def test_a_backup_of_features_is_a_prefix_of_the_events(tmp_path: Path) -> None:
    """Whatever is killed meanwhile: the backup, or Valkey."""
    rng = random.Random(6)
    (tmp_path / "data").mkdir()
    paste(block("folder"), tmp_path)
    backup = tmp_path / "backup" / "features.rdb"
    complete = 0

    async def main() -> None:
        nonlocal complete
        server = EmbeddedValkey(tmp_path / "data")
        await server.start()
        async with open_store(server.url, load_definitions()) as store:
            sender = Sender(store)
            sending = asyncio.create_task(sender.run())
            for number in range(ROUNDS):
                backup.unlink(missing_ok=True)
                before = sender.acknowledged
                process = shell(block("save valkey"), tmp_path)
                await asyncio.sleep(rng.uniform(0, 0.6))
                if number % 3 == 0:
                    kill(process)
                elif number % 3 == 1:
                    with redis.Redis.from_url(server.url) as client, suppress(redis.RedisError):
                        os.kill(int(client.info("server")["process_id"]), signal.SIGKILL)
                printed, _ = await asyncio.to_thread(process.communicate)
                after = sender.acknowledged + 1
                assert backup.exists() is (process.returncode == 0), printed
                if number % 3 == 2:
                    assert process.returncode == 0, printed
                if not backup.exists():
                    continue
                complete += 1
                folder = tmp_path / f"restored-{number}"
                (folder / "backup").mkdir(parents=True)
                (folder / "data").mkdir()
                shutil.copy(backup, folder / "backup")
                first, again = await restored_counts(folder, after)
                assert first == of_prefix(sum(first))
                assert before <= sum(first) <= after
                assert again == of_prefix(after)
            sender.stopping = True
            await sending
            assert await counts(store) == of_prefix(sender.acknowledged)
        await server.stop()

    asyncio.run(main())
    assert complete >= ROUNDS // 3


def test_only_keys_of_the_namespace_are_removed_from_redis(tmp_path: Path) -> None:
    ids = ["a1", "with space", "quote'\"\\", "ü€", "{}%", "*?[x]", "-u", "$HOME `x`", "l\u2028s"]
    with (
        running_valkey(tmp_path, port=free_ports()) as redis_url,
        redis.Redis.from_url(redis_url) as client,
    ):
        others = {b"fs:{tss:account:a1}:v1", b"fs:{other:account:a1}:v1", b"ts", b"featsvc"}
        for key in others:
            client.set(key, 1)
        for stream in ("featsvc:events", "featsvc:events:dead"):
            client.xadd(stream, {"event": "x"})

        async def fill() -> None:
            async with open_store(redis_url, load_definitions()) as store:
                events = [Event(i, "upload", clock_ms(), {"account": i, "ip": i}) for i in ids]
                results = await store.ingest(events)
                assert {r.status for r in results} == {EventStatus.APPLIED}

        asyncio.run(fill())
        register = 1
        assert len(client.keys()) == 2 * len(ids) + register + len(others) + 2
        valkey_cli = block("save valkey").partition("\n")[0] + "\n"
        paste(valkey_cli + block("uninstall redis"), tmp_path, {"REDIS": redis_url})
        assert {*client.keys()} == others
