"""The server that is started for those who bring none."""

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from featsvc.accounts import (
    Definitions,
    EmbeddedValkey,
    EntityRef,
    Event,
    FeatureStatus,
    FeatureStore,
    Selection,
)
from featsvc.accounts.events import clock_ms
from featsvc.errors import Conflict, Unavailable

ACCOUNT = EntityRef("account", "a1")
ONE = Selection(names=("uploads_1h",))


def upload(number: int) -> Event:
    return Event(f"e{number}", "upload", clock_ms(), {"account": "a1"})


def test_events_survive_a_restart(tmp_path: Path, shipped: Definitions) -> None:
    async def main() -> None:
        for round_ in (1, 2):
            server = EmbeddedValkey(tmp_path)
            await server.start()
            store = FeatureStore(server.url, shipped, timeout_ms=10_000)
            await store.ingest([upload(round_)])
            table = await store.get([ACCOUNT], ONE)
            assert table.values[0, 0] == round_
            await store.close()
            await server.stop()
            assert server.pid is None

    asyncio.run(main())


def test_kill_9_under_load_comes_back_by_itself(tmp_path: Path, shipped: Definitions) -> None:
    async def main() -> None:
        server = EmbeddedValkey(tmp_path)
        await server.start()
        store = FeatureStore(server.url, shipped, timeout_ms=10_000)
        applied = (await store.ingest([upload(n) for n in range(10)])).copy()
        assert len(applied) == 10
        failures = 0
        victim = server.pid
        assert victim is not None
        deadline = time.monotonic() + 10
        back = False
        for turn in range(10_000):
            if turn == 5:
                os.kill(victim, signal.SIGKILL)
            asked = time.monotonic()
            try:
                table = await store.get([ACCOUNT], ONE)
            except Unavailable:
                failures += 1
            else:
                back = failures > 0
                assert table.statuses[0, 0] == FeatureStatus.PRESENT
                assert table.values[0, 0] == 10
            assert time.monotonic() - asked < 2  # nothing hangs
            if back or time.monotonic() > deadline:
                break
            await asyncio.sleep(0.005)
        assert back
        assert server.pid not in (None, victim)
        await store.close()
        await server.stop()

    asyncio.run(main())


def test_a_second_service_is_turned_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("featsvc.accounts.embedded._LOCK_PATIENCE_S", 0.1)

    async def main() -> None:
        first, second = EmbeddedValkey(tmp_path), EmbeddedValkey(tmp_path)
        await first.start()
        with pytest.raises(Conflict, match=f"in use by another featsvc .process {os.getpid()}"):
            await second.start()
        await first.stop()
        await second.start()  # the first has let go
        await second.stop()

    asyncio.run(main())


def test_long_folders_still_get_a_socket_and_nobody_else_may_open_it(tmp_path: Path) -> None:
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


def test_the_server_dies_with_its_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys\n"
        "from featsvc.accounts import EmbeddedValkey\n"
        "async def main():\n"
        "    server = EmbeddedValkey(pathlib.Path(sys.argv[1]))\n"
        "    await server.start()\n"
        "    print(server.pid, flush=True)\n"
        "    await asyncio.sleep(60)\n"
        "asyncio.run(main())\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", program, tmp_path], stdout=subprocess.PIPE, text=True
    )
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    parent.kill()
    parent.wait(10)
    parent.stdout.close()
    for _ in range(500):
        try:
            state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
        except FileNotFoundError:
            return
        if state == "Z":
            return
        time.sleep(0.01)
    pytest.fail("the server outlived its parent")
