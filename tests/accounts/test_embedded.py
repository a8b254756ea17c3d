"""The embedded server."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
from itertools import count
from pathlib import Path

import pytest
import redis

from featsvc.accounts import (
    Definitions,
    EmbeddedValkey,
    EntityRef,
    Event,
    FeatureStatus,
    Selection,
)
from featsvc.accounts.events import clock_ms
from featsvc.errors import Conflict, Unavailable
from tests.accounts.stores import open_store
from tests.patience import PATIENCE_S, until

ACCOUNT = EntityRef("account", "a1")
ONE = Selection(names=("uploads_1h",))


def upload(number: int) -> Event:
    return Event(f"e{number}", "upload", clock_ms(), {"account": "a1"})


def server_pid(url: str) -> int:
    with redis.Redis.from_url(url) as client:
        return int(client.info("server")["process_id"])


def test_events_survive_a_restart(tmp_path: Path, shipped: Definitions) -> None:
    async def main() -> None:
        for round_ in (1, 2):
            server = EmbeddedValkey(tmp_path)
            await server.start()
            async with open_store(server.url, shipped) as store:
                await store.ingest([upload(round_)])
                table = await store.get([ACCOUNT], ONE)
            assert table.values[0, 0] == round_
            await server.stop()
            with pytest.raises(redis.ConnectionError):
                server_pid(server.url)

    asyncio.run(main())


def test_a_killed_server_restarts(tmp_path: Path, shipped: Definitions) -> None:
    async def main() -> None:
        server = EmbeddedValkey(tmp_path)
        await server.start()
        killed = server_pid(server.url)
        failures = 0
        async with open_store(server.url, shipped) as store, asyncio.timeout(PATIENCE_S):
            assert len(await store.ingest([upload(n) for n in range(10)])) == 10
            for turn in count():
                if turn == 5:
                    os.kill(killed, signal.SIGKILL)
                try:
                    table = await store.get([ACCOUNT], ONE)
                except Unavailable:
                    failures += 1
                else:
                    assert table.statuses[0, 0] == FeatureStatus.PRESENT
                    assert table.values[0, 0] == 10
                    if failures:
                        break
                await asyncio.sleep(0.005)
        assert server_pid(server.url) != killed
        await server.stop()

    asyncio.run(main())


def test_a_second_service_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featsvc.accounts.embedded._LOCK_TIMEOUT_S", 0.1)

    async def main() -> None:
        first, second = EmbeddedValkey(tmp_path), EmbeddedValkey(tmp_path)
        await first.start()
        with pytest.raises(Conflict, match=f"in use by another featsvc .process {os.getpid()}"):
            await second.start()
        await first.stop()
        await second.start()  # the first has released the lock
        await second.stop()

    asyncio.run(main())


def test_a_long_folder_gets_a_private_socket_elsewhere(tmp_path: Path) -> None:
    async def main() -> None:
        server = EmbeddedValkey(tmp_path / ("x" * 100))
        await server.start()
        path = Path(server.url.removeprefix("unix://"))
        assert len(os.fsencode(path)) < 108
        assert stat.S_IMODE(path.stat().st_mode) & 0o077 == 0
        assert stat.S_IMODE(path.parent.stat().st_mode) & 0o077 == 0
        await server.stop()
        assert not path.exists()

    asyncio.run(main())


@pytest.mark.slow
def test_the_server_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from featsvc.accounts import EmbeddedValkey\n"
        "async def main():\n"
        "    server = EmbeddedValkey(pathlib.Path(sys.argv[1]))\n"
        "    await server.start()\n"
        "    print(server.url, flush=True)\n"
        "    await asyncio.sleep(3600)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = server_pid(parent.stdout.readline().strip())
    parent.kill()
    parent.wait(PATIENCE_S)
    parent.stdout.close()
    until(lambda: _has_ended(child), "the server did not end with its parent")


def _has_ended(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return True
    return state == "Z"
