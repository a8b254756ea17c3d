"""Redis URLs, and one server; tests/integration tests the other topologies."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.asyncio import RedisCluster, SentinelConnectionPool, SSLConnection
from redis.exceptions import ResponseError

from featsvc.accounts.connections import Command
from featsvc.accounts.topology import connect, open_client
from featsvc.errors import ConfigInvalid
from tests.accounts.relays import relaying
from tests.patience import PATIENCE_MS, PATIENCE_S


def settings(url: str) -> dict[str, Any]:
    """Return the arguments of the client's connections."""
    client = open_client(url)
    return dict(
        client.connection_kwargs
        if isinstance(client, RedisCluster)
        else client.connection_pool.connection_kwargs
    )


def test_urls() -> None:
    server = settings("redis://us%40er:p%3Aw@h:1/3")
    assert (server["host"], server["port"], server["db"]) == ("h", 1, 3)
    assert (server["username"], server["password"]) == ("us@er", "p:w")
    assert settings("redis://[::1]")["host"] == "::1"
    socket = settings("unix:///run/a%20b?db=2")
    assert (socket["path"], socket["db"]) == ("/run/a b", 2)
    secure = open_client("rediss://h:1?ssl_ca_certs=/authority.pem")
    assert not isinstance(secure, RedisCluster)
    assert secure.connection_pool.connection_class is SSLConnection


def test_a_cluster() -> None:
    cluster = open_client("redis+cluster://u:p@a:1,b:2")
    assert isinstance(cluster, RedisCluster)
    assert [node.name for node in cluster.startup_nodes] == ["a:1", "b:2"]
    assert cluster.connection_kwargs["username"] == "u"
    secure = open_client("rediss+cluster://a:1")
    assert isinstance(secure, RedisCluster)
    assert secure.connection_kwargs["connection_class"] is SSLConnection


def test_sentinels() -> None:
    client = open_client("redis+sentinel://u:p@a,b:7/4?service=m&sentinel_password=s")
    assert not isinstance(client, RedisCluster)
    pool = client.connection_pool
    assert isinstance(pool, SentinelConnectionPool)
    assert pool.service_name == "m"
    assert (pool.connection_kwargs["password"], pool.connection_kwargs["db"]) == ("p", 4)
    logins = [s.connection_pool.connection_kwargs for s in pool.sentinel_manager.sentinels]
    assert [(login["host"], login["port"]) for login in logins] == [("a", 26379), ("b", 7)]
    assert [(login["password"], login["db"]) for login in logins] == [("s", 0)] * 2


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("http://h", "must begin with"),
        ("redis://h:99999", "cannot be parsed"),
        ("redis://h/x", "must be a database number"),
        ("redis://a,b", "several hosts"),
        ("redis+sentinel://a", "needs ?service=NAME"),
        ("redis+cluster://a/1", "only database 0"),
        ("redis://h?tls=1", "check the query parameters"),
        ("redis://h?socket_read_size=x", "check the query parameters"),
        ("redis://:hunter2@h:x", "percent-encode"),
        ("redis://:hunter2/x@h", "percent-encode special characters"),
    ],
)
def test_errors_do_not_show_the_password(url: str, message: str) -> None:
    with pytest.raises(ConfigInvalid) as caught:
        open_client(url)
    assert message in str(caught.value)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_reads_of_a_large_call_wait_for_its_writes(
    valkey_socket: Path, server: redis.Redis, tmp_path: Path
) -> None:
    """The pieces of a large call are sent in any order, so its reads are a call of their own."""
    writes: list[Command] = [("SET", b"k%d" % n, b"written") for n in range(100)]
    reads: list[Command] = [("STRLEN", b"k%d" % (n % 100)) for n in range(1000)]

    async def main() -> None:
        held = asyncio.Event()

        async def until_released(number: int, sent: bytes, data: bytes) -> AsyncIterator[bytes]:
            if b"written" in sent:
                await held.wait()
            yield data

        path = tmp_path / "s"
        async with asyncio.timeout(PATIENCE_S), relaying(valkey_socket, path, until_released) as r:
            topology = connect(f"unix://{path}", timeout_ms=PATIENCE_MS)
            commands = writes + reads
            call = asyncio.create_task(
                topology.execute([b""] * len(commands), commands, writes=len(writes))
            )
            while not any(b"written" in sent for sent in r.sent):
                await asyncio.sleep(0.001)
            assert await topology.execute([b""], [("PING",)]) == [b"PONG"]
            assert not any(b"STRLEN" in sent for sent in r.sent)
            held.set()
            assert await call == [b"OK"] * 100 + [7] * 1000
            await topology.close()

    asyncio.run(main())


def test_errors_of_commands_are_values(url: str) -> None:
    async def main() -> None:
        topology = connect(url, timeout_ms=PATIENCE_MS)
        await topology.execute([b"k"], [("SET", b"k", b"text")])
        commands: list[Command] = [("GET", b"k"), ("INCR", b"k"), ("GET", b"k")]
        first, error, last = await topology.execute([b"k"] * 3, commands)
        assert first == last == b"text"
        assert isinstance(error, ResponseError)
        await topology.close()

    asyncio.run(main())
