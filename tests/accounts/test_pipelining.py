"""Calls share round trips, and fail in time if the server does not answer."""

import asyncio
import math
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import redis
from redis.asyncio import RedisCluster

from featsvc.accounts import Definitions, EntityRef, Event, FeatureStore, Selection
from featsvc.accounts import pipelining as pipelining_module
from featsvc.accounts.connections import Command
from featsvc.accounts.pipelining import Pipeliner
from featsvc.accounts.topology import open_client
from featsvc.errors import Unavailable
from tests.accounts.relays import relaying
from tests.accounts.stores import NOW_MS, run
from tests.patience import PATIENCE_MS, PATIENCE_S

ACCOUNT = EntityRef("account", "a1")


def test_concurrent_reads_share_round_trips(
    url: str, shipped: Definitions, server: redis.Redis
) -> None:
    few = Selection(names=("uploads_24h",))

    async def body(store: FeatureStore) -> None:
        await store.get([ACCOUNT], few)
        before = server.info("stats")["total_reads_processed"]
        await asyncio.gather(*(store.get([EntityRef("account", f"a{n}")], few) for n in range(64)))
        after = server.info("stats")["total_reads_processed"]
        assert after - before < 64 / 4  # including our INFO

    run(url, shipped, body)


def test_calls_fail_fast_without_a_server(tmp_path: Path, shipped: Definitions) -> None:
    async def body(store: FeatureStore) -> None:
        with pytest.raises(Unavailable):
            await store.get([ACCOUNT])
        with pytest.raises(Unavailable):
            await store.ingest([Event("e1", "upload", NOW_MS, {"account": "a1"})])

    run(f"unix://{tmp_path / 'nowhere'}", shipped, body)


async def everything(number: int, sent: bytes, data: bytes) -> AsyncIterator[bytes]:
    yield data


@asynccontextmanager
async def pipelining(socket: Path) -> AsyncIterator[Pipeliner]:
    """A pipeliner with a timeout that only ticks of the test reach."""
    client = open_client(f"unix://{socket}")
    assert not isinstance(client, RedisCluster)
    pipeliner = Pipeliner(
        "test", client.connection_pool.get_available_connection, timeout_ms=4 * PATIENCE_MS
    )
    try:
        async with asyncio.timeout(PATIENCE_S):
            yield pipeliner
    finally:
        await pipeliner.close()


def pass_time(pipeliner: Pipeliner, timeouts: float) -> None:
    """Let time pass for a pipeliner, in timeouts."""
    for _ in range(math.ceil(timeouts * pipelining_module._TICKS)):
        if pipeliner._timer:
            pipeliner._timer.cancel()
        pipeliner._count_tick()


async def happens(condition: Callable[[], object]) -> None:
    """Wait in the event loop; `pipelining` limits the time."""
    while not condition():
        await asyncio.sleep(0.001)


GET: Command = ("GET", b"large")


@pytest.fixture
def large(server: redis.Redis) -> int:
    """The size of a large value, under the key `large`."""
    server.set("large", bytes(100_000))
    return 100_000


def test_a_round_trip_that_gets_nothing_opens_the_circuit(
    valkey_socket: Path, large: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelining_module, "_LONGEST_PAUSE_S", 4 * PATIENCE_S)

    async def until_asked(number: int, sent: bytes, data: bytes) -> AsyncIterator[bytes]:
        if b"GET" not in sent:
            yield data

    async def main() -> None:
        path = tmp_path / "s"
        async with relaying(valkey_socket, path, until_asked) as relay, pipelining(path) as one:
            call = asyncio.create_task(one.execute([GET]))
            await happens(lambda: relay.sent and b"GET" in relay.sent[0])
            pass_time(one, 1)
            await asyncio.sleep(0)
            assert not call.done()
            pass_time(one, 0.1)
            with pytest.raises(Unavailable, match=f"no answer within {4 * PATIENCE_MS} ms"):
                await call
            with pytest.raises(Unavailable, match="no answer within"):
                await one.execute([("PING",)])
            assert len(relay.sent) == 1  # the circuit is open: no second attempt

    asyncio.run(main())


def test_a_slow_reply_that_makes_progress_leaves_the_circuit_closed(
    valkey_socket: Path, large: int, tmp_path: Path
) -> None:
    halves: list[bytes] = []

    async def half(number: int, sent: bytes, data: bytes) -> AsyncIterator[bytes]:
        if number == 0 and b"GET" in sent:
            if not halves:
                yield data[: len(data) // 2]
            halves.append(data)
        else:
            yield data

    async def main() -> None:
        path = tmp_path / "s"
        async with relaying(valkey_socket, path, half), pipelining(path) as one:
            await one.execute([("PING",)])
            before = one._received.times
            call = asyncio.create_task(one.execute([GET]))
            await happens(lambda: one._received.times > before)
            pass_time(one, 1.1)
            with pytest.raises(Unavailable, match="no answer within"):
                await call
            assert await one.execute([("STRLEN", b"large")]) == [large]

    asyncio.run(main())


def test_a_call_that_times_out_beside_answers_fails_alone(
    valkey_socket: Path, large: int, tmp_path: Path
) -> None:
    async def without_first(number: int, sent: bytes, data: bytes) -> AsyncIterator[bytes]:
        if number or b"GET" not in sent:
            yield data

    async def main() -> None:
        path = tmp_path / "s"
        async with relaying(valkey_socket, path, without_first) as relay, pipelining(path) as one:
            call = asyncio.create_task(one.execute([GET]))
            await happens(lambda: relay.sent and b"GET" in relay.sent[0])
            assert await one.execute([("PING",)]) == [b"PONG"]
            pass_time(one, 1.1)
            with pytest.raises(Unavailable, match="no answer within"):
                await call
            assert await one.execute([("PING",)]) == [b"PONG"]

    asyncio.run(main())


def test_replies_that_came_in_time_count(valkey_socket: Path, large: int, tmp_path: Path) -> None:
    async def first_reply(number: int, sent: bytes, data: bytes) -> AsyncIterator[bytes]:
        if b"GET" not in sent:
            yield data
        elif b"+PONG\r\n" in data:
            yield b"+PONG\r\n"

    async def main() -> None:
        path = tmp_path / "s"
        async with relaying(valkey_socket, path, first_reply), pipelining(path) as one:
            await one.execute([("PING",)])
            before = one._received.times
            calls = [asyncio.create_task(one.execute([c])) for c in (("PING",), GET)]
            await happens(lambda: one._received.times > before)
            pass_time(one, 1.1)
            assert await calls[0] == [b"PONG"]
            with pytest.raises(Unavailable, match="no answer within"):
                await calls[1]

    asyncio.run(main())


def test_a_handshake_has_its_own_time(
    valkey_socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelining_module, "CONNECT_TIMEOUT_S", 16 * PATIENCE_S)

    async def main() -> None:
        held = asyncio.Event()

        async def when_released(number: int, sent: bytes, data: bytes) -> AsyncIterator[bytes]:
            await held.wait()
            yield data

        path = tmp_path / "s"
        async with relaying(valkey_socket, path, when_released) as relay, pipelining(path) as one:
            call = asyncio.create_task(one.execute([("PING",)]))
            await happens(lambda: relay.sent and relay.sent[0])
            pass_time(one, 3.9)
            held.set()
            assert await call == [b"PONG"]

        held.clear()
        async with relaying(valkey_socket, path, when_released) as relay, pipelining(path) as one:
            call = asyncio.create_task(one.execute([("PING",)]))
            await happens(lambda: relay.sent and relay.sent[0])
            pass_time(one, 4.1)
            with pytest.raises(Unavailable, match=f"no connection within {16 * PATIENCE_MS} ms"):
                await call

    asyncio.run(main())


def test_large_calls_leave_connections_for_small_ones(
    valkey_socket: Path, large: int, tmp_path: Path
) -> None:
    """A large call is sent in pieces; while all of them wait, a small call is answered."""

    async def main() -> None:
        held = asyncio.Event()

        async def small(number: int, sent: bytes, data: bytes) -> AsyncIterator[bytes]:
            if b"STRLEN" in sent:
                await held.wait()
            yield data

        path = tmp_path / "s"
        async with relaying(valkey_socket, path, small) as relay, pipelining(path) as one:
            lengths: list[Command] = [("STRLEN", b"large")] * 3000
            calls = [asyncio.create_task(one.execute(lengths)) for _ in range(3)]
            await happens(lambda: sum(b"STRLEN" in commands for commands in relay.sent) == 3)
            assert await one.execute([("PING",)]) == [b"PONG"]
            held.set()
            assert await asyncio.gather(*calls) == [[large] * 3000] * 3
            assert len(relay.sent) <= 8

    asyncio.run(main())


def test_a_call_does_not_wait_for_ever_in_the_queue(
    valkey_socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pipelining_module, "_MAX_PIPELINES", 1)

    async def main() -> None:
        held = asyncio.Event()

        async def when_released(number: int, sent: bytes, data: bytes) -> AsyncIterator[bytes]:
            await held.wait()
            yield data

        path = tmp_path / "s"
        async with relaying(valkey_socket, path, when_released), pipelining(path) as one:
            first = asyncio.create_task(one.execute([("PING",)]))
            await happens(lambda: one._in_flight)
            (trip,) = one._in_flight
            await happens(lambda: math.isfinite(trip.last_tick))
            trip.last_tick = math.inf
            second = asyncio.create_task(one.execute([("PING",)]))
            await asyncio.sleep(0)
            pass_time(one, 5)
            await asyncio.sleep(0)
            assert not second.done()
            pass_time(one, 0.1)
            with pytest.raises(Unavailable, match="too many calls wait"):
                await second
            held.set()
            assert await first == [b"PONG"]
            assert await one.execute([("PING",)]) == [b"PONG"]

    asyncio.run(main())


def test_time_stands_still_while_the_event_loop_is_blocked(
    valkey_socket: Path, server: redis.Redis
) -> None:
    """The loop is blocked for ten timeouts, but not before the reply is in the socket."""

    async def main() -> None:
        client = open_client(f"unix://{valkey_socket}")
        assert not isinstance(client, RedisCluster)
        acquire = client.connection_pool.get_available_connection
        one = Pipeliner("test", acquire, timeout_ms=50)
        one._connect_ticks = 10_000_000
        call = asyncio.create_task(one.execute([("INCR", b"n")]))
        while not server.get("n"):  # blocks, too
            await asyncio.sleep(0)
        time.sleep(0.5)
        assert await call == [1]
        await one.close()

    asyncio.run(main())


def test_the_timer_runs_only_while_something_is_in_flight(valkey_socket: Path) -> None:
    async def main() -> None:
        async with pipelining(valkey_socket) as one:
            assert one._timer is None
            await one.execute([("PING",)])
            pass_time(one, 0.1)
            assert one._timer is None
            assert one.is_idle

    asyncio.run(main())


def test_callers_that_leave_the_queue_leave_the_circuit_to_others(
    valkey_socket: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A probe that is cancelled before it is sent does not keep the circuit open."""
    monkeypatch.setattr(pipelining_module, "_LONGEST_PAUSE_S", 0.0)

    async def main() -> None:
        path = tmp_path / "s"
        async with pipelining(path) as one:
            with pytest.raises(Unavailable):
                await one.execute([("PING",)])
            probe = asyncio.create_task(one.execute([("PING",)]))
            await asyncio.sleep(0)
            probe.cancel()
            await asyncio.gather(probe, return_exceptions=True)
            async with relaying(valkey_socket, path, everything):
                assert await one.execute([("PING",)]) == [b"PONG"]

    asyncio.run(main())


def test_reads_outlast_a_stopped_server(
    url: str, shipped: Definitions, server: redis.Redis
) -> None:
    """SIGSTOP for 0.2 s at 50 reads a second; `python -m bench.slow_redis` has the figures."""
    process = server.info("server")["process_id"]

    async def body(store: FeatureStore) -> None:
        await store.ping()
        reads = [asyncio.create_task(store.get([ACCOUNT]))]
        os.kill(process, signal.SIGSTOP)
        try:
            for _ in range(10):
                reads.append(asyncio.create_task(store.get([ACCOUNT])))
                await asyncio.sleep(0.02)
        finally:
            os.kill(process, signal.SIGCONT)
        tables = await asyncio.gather(*reads)
        assert len(tables) == 11

    run(url, shipped, body)
