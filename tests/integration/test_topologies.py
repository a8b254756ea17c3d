"""The feature store on every supported topology, each with real servers on loopback."""

import asyncio
import contextlib
import itertools
import re
import shutil
import socket
import ssl
import struct
import subprocess
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from featsvc.accounts import (
    EntityRef,
    Event,
    EventStatus,
    FeatureStore,
    Selection,
    load_definitions,
)
from featsvc.accounts.embedded import find_server
from featsvc.accounts.events import clock_ms
from featsvc.accounts.legacy import LegacyCount, count_legacy
from featsvc.errors import Unavailable
from tests.accounts.stores import open_store
from tests.accounts.test_docs import PAGE
from tests.patience import PATIENCE_MS, PATIENCE_S, until

CLUSTER_OPTIONS = (
    *("--cluster-enabled", "yes", "--cluster-node-timeout", "5000"),
    *("--appendonly", "yes", "--repl-diskless-sync-delay", "0"),
)
COUNT = Selection(names=("uploads_24h",))


@dataclass
class Servers:
    """The servers of one test, by port."""

    folder: Path
    running: dict[int, subprocess.Popen[bytes]]

    def start(self, *options: str, port: int | None = None) -> int:
        """Start a server, by default on a free port; return the port once it answers."""
        port = port or free_port()
        folder = self.folder / str(port)
        folder.mkdir(exist_ok=True)
        self.launch(*options, "--save", "", "--bind", "127.0.0.1", port=port, folder=folder)
        until(lambda: client_answers(port))
        return port

    def launch(self, *options: str, port: int, folder: Path) -> None:
        """Start a server without waiting."""
        command = [str(find_server()), *options, "--port", str(port), "--dir", str(folder)]
        self.running[port] = subprocess.Popen(command, stdout=subprocess.DEVNULL)

    def kill(self, port: int) -> None:
        process = self.running.pop(port)
        process.kill()
        process.wait(PATIENCE_S)


@pytest.fixture
def servers(tmp_path: Path) -> Iterator[Servers]:
    servers = Servers(tmp_path, {})
    yield servers
    for port in list(servers.running):
        servers.kill(port)


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def client(port: int) -> Any:
    """Return redis-py's client, untyped because its reply types are unions."""
    return redis.Redis(port=port, socket_timeout=PATIENCE_S, retry=Retry(NoBackoff(), 0))


def client_answers(port: int) -> bool:
    try:
        with client(port) as connection:
            connection.ping()
    except redis.AuthenticationError:
        return True
    except redis.RedisError:
        return False
    return True


def upload(number: int, account: str) -> Event:
    return Event(f"e{number}", "upload", clock_ms(), {"account": account})


def run(
    body: Callable[[FeatureStore], Awaitable[None]],
    url: str,
    *,
    timeout_ms: int = PATIENCE_MS,
    replicas: int = 0,
) -> None:
    async def main() -> None:
        definitions, options = load_definitions(), {"timeout_ms": timeout_ms, "replicas": replicas}
        async with open_store(url, definitions, **options) as store, asyncio.timeout(PATIENCE_S):
            await body(store)

    asyncio.run(main())


async def round_trip(store: FeatureStore) -> None:
    """Ingest events of many accounts, read them, erase one account."""
    accounts = [f"a{n}" for n in range(50)]
    results = await store.ingest([upload(n, accounts[n % 50]) for n in range(200)])
    assert {r.status for r in results} == {EventStatus.APPLIED}
    refs = [EntityRef("account", account) for account in accounts]
    table = await store.get(refs, COUNT)
    assert table.values.tolist() == [[4.0] * 50]
    result, table = await store.record_and_get(upload(200, "a0"), refs[:1], COUNT)
    assert result is not None
    assert table.values[0, 0] == 5
    assert await store.delete(refs[0])


def test_tcp_with_password_and_database(servers: Servers) -> None:
    port = servers.start("--requirepass", "s3cret:@")
    run(round_trip, f"redis://:{quote('s3cret:@')}@127.0.0.1:{port}/3")


def test_acl_user_with_the_documented_rights(servers: Servers) -> None:
    (rights,) = re.findall(r"^    (~fs:\* .*\n    .*)$", PAGE.read_text(), re.M)
    user = f"featsvc on >pw resetchannels {rights}"
    port = servers.start("--user", *user.split())
    run(round_trip, f"redis://featsvc:pw@127.0.0.1:{port}")

    async def refused(store: FeatureStore) -> None:
        with pytest.raises(Unavailable, match="check user and password"):
            await store.ping()

    run(refused, f"redis://featsvc:wrong@127.0.0.1:{port}")


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl to make certificates")
def test_tls(servers: Servers, tmp_path: Path) -> None:
    """The embedded binary has no TLS, so a proxy terminates it, as stunnel does."""
    port, secure_port = servers.start(), free_port()
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    options = "-x509 -newkey rsa:2048 -nodes -days 1 -addext subjectAltName=DNS:localhost"
    command = ["openssl", "req", "-subj", "/CN=localhost", *options.split()]
    command += ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run(command, check=True, capture_output=True)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)

    async def relay(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", port)

        async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
            try:
                while data := await source.read(65536):
                    sink.write(data)
            except ConnectionError:
                pass
            sink.close()

        await asyncio.gather(pump(reader, inner_writer), pump(inner_reader, writer))

    async def main() -> None:
        proxy = await asyncio.start_server(relay, "127.0.0.1", secure_port, ssl=context)
        url = f"rediss://localhost:{secure_port}"
        definitions = load_definitions()
        async with open_store(f"{url}?ssl_ca_certs={certificate}", definitions) as store:
            await round_trip(store)
        async with open_store(url, definitions) as store:
            with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
                await store.ping()
        proxy.close()

    asyncio.run(main())


def test_sentinel_follows_a_fail_over(servers: Servers, tmp_path: Path) -> None:
    primary = servers.start()
    replica = servers.start("--replicaof", "127.0.0.1", str(primary))
    until(partial(is_synced, replica))
    sentinels = []
    for _ in range(3):
        port = free_port()
        config = tmp_path / f"sentinel-{port}.conf"
        config.write_text(
            f"sentinel monitor ts 127.0.0.1 {primary} 2\n"
            "sentinel down-after-milliseconds ts 2000\nsentinel failover-timeout ts 3000\n"
        )
        folder = tmp_path / str(port)
        folder.mkdir()
        servers.launch(str(config), "--sentinel", port=port, folder=folder)
        sentinels.append(port)
    for port in sentinels:
        until(partial(client_answers, port))
        until(partial(sees_all, port))

    async def body(store: FeatureStore) -> None:
        await round_trip(store)
        ref = EntityRef("account", "kept")
        await store.ingest([upload(1000 + n, "kept") for n in range(20)])
        servers.kill(primary)
        while True:  # until `run` ends it
            try:
                table = await store.get([ref], COUNT)
                break
            except Unavailable:
                await asyncio.sleep(0.05)
        assert table.values[0, 0] == 20
        results = await store.ingest([upload(2000, "kept")])
        assert results[0].status is EventStatus.APPLIED

    hosts = ",".join(f"127.0.0.1:{port}" for port in sentinels)
    run(body, f"redis+sentinel://{hosts}?service=ts")
    url = f"redis+sentinel://{hosts}?service=ts"
    assert asyncio.run(count_legacy(url, "ts")).total > 0


def sees_all(sentinel: int) -> bool:
    """Return whether a sentinel knows the two others and the replica."""
    with client(sentinel) as connection:
        state = connection.sentinel_master("ts")
    return bool(state["num-other-sentinels"] == 2 and state["num-slaves"] == 1)


def is_synced(replica: int) -> bool:
    with client(replica) as connection:
        return bool(connection.info("replication")["master_link_status"] == "up")


@pytest.fixture
def cluster(servers: Servers) -> list[int]:
    """Start a cluster; return the ports of three primaries, then of their replicas."""
    ports: list[int] = []
    while len(ports) < 6:
        port = free_port()
        if port < 55_000:  # the cluster bus uses port + 10,000
            ports.append(servers.start(*CLUSTER_OPTIONS, port=port))
    clients = [client(port) for port in ports]
    bounds = [0, 5461, 10923, 16384]
    for n in range(3):
        clients[n].execute_command("CLUSTER ADDSLOTSRANGE", bounds[n], bounds[n + 1] - 1)
        clients[n].execute_command("CLUSTER SET-CONFIG-EPOCH", n + 1)
    for port in ports[1:]:
        clients[0].execute_command("CLUSTER MEET", "127.0.0.1", port)
    until(lambda: all(c.cluster("info")["cluster_known_nodes"] == "6" for c in clients))
    for n in range(3):
        node = clients[n].execute_command("CLUSTER MYID").decode()
        until(partial(knows, clients[n + 3], node))
        clients[n + 3].execute_command("CLUSTER REPLICATE", node)
    until(lambda: all(c.cluster("info")["cluster_state"] == "ok" for c in clients))
    for replica in ports[3:]:
        until(partial(is_synced, replica))
    for connection in clients:
        connection.close()
    return ports


def knows(connection: Any, node: str) -> bool:
    return any(entry["node_id"] == node for entry in connection.cluster("nodes").values())


class Traffic:
    """Writes and reads of `refs` until stopped. Records which of them succeeded."""

    def __init__(self, store: FeatureStore, refs: list[EntityRef]) -> None:
        self.store = store
        self.refs = refs
        self.numbers = itertools.count(10_000)
        self.acknowledged: Counter[str] = Counter()
        self.read: set[str] = set()
        self.failed_reads = 0
        self.stopped = False

    async def keep_writing(self) -> None:
        for ref in itertools.cycle(self.refs):
            if self.stopped:
                return
            with contextlib.suppress(Unavailable):
                (result,) = await self.store.ingest([upload(next(self.numbers), ref.id)])
                if result.status is EventStatus.APPLIED:
                    self.acknowledged[ref.id] += 1
            await asyncio.sleep(0.002)

    async def keep_reading(self) -> None:
        for ref in itertools.cycle(self.refs):
            if self.stopped:
                return
            try:
                await self.store.get([ref], COUNT)
                self.read.add(ref.id)
            except Unavailable:
                self.failed_reads += 1
            await asyncio.sleep(0.002)


async def wait_until(condition: Callable[[], bool]) -> None:
    """Poll in the event loop; `run` limits the time."""
    while not condition():
        await asyncio.sleep(0.02)


def test_cluster_serves_while_a_primary_fails_over(servers: Servers, cluster: list[int]) -> None:
    """With `replicas=1` an applied event is on the replica, so losing a primary loses none."""

    async def body(store: FeatureStore) -> None:
        refs = [EntityRef("account", f"b{n}") for n in range(60)]
        everything = {ref.id for ref in refs}
        traffic = Traffic(store, refs)
        calls = [call() for call in 4 * [traffic.keep_writing, traffic.keep_reading]]
        tasks = [asyncio.create_task(call) for call in calls]
        await wait_until(lambda: traffic.acknowledged.keys() == everything == traffic.read)
        servers.kill(cluster[0])
        await wait_until(lambda: traffic.failed_reads > 0)
        traffic.read.clear()
        await wait_until(lambda: traffic.read == everything)
        traffic.stopped = True
        await asyncio.gather(*tasks)
        table = await store.get(refs, COUNT)
        for column, ref in enumerate(refs):
            # Unacknowledged events may have been applied too.
            assert table.values[0, column] >= traffic.acknowledged[ref.id] > 0

    hosts = ",".join(f"127.0.0.1:{port}" for port in cluster)
    run(body, f"redis+cluster://{hosts}", timeout_ms=500, replicas=1)


def test_cluster_follows_slots_that_move(servers: Servers, cluster: list[int]) -> None:
    async def body(store: FeatureStore) -> None:
        await round_trip(store)
        ref = EntityRef("account", "moved")
        await store.ingest([upload(1, "moved")])
        key = b"fs:{ts:account:moved}:v1"
        clients = [client(port) for port in cluster[:3]]
        slot = clients[0].cluster("keyslot", key.decode())
        source = next(n for n in range(3) if clients[n].cluster("countkeysinslot", slot))
        target = (source + 1) % 3
        ids = [node.execute_command("CLUSTER MYID").decode() for node in clients]
        clients[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
        clients[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
        await store.ingest([upload(2, "moved")])  # still at the source
        clients[source].migrate("127.0.0.1", cluster[target], [key], 0, PATIENCE_MS)
        await store.ingest([upload(3, "moved")])  # ASK
        assert (await store.get([ref], COUNT)).values[0, 0] == 3
        for node in clients:
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])
        await store.ingest([upload(4, "moved")])  # MOVED
        assert (await store.get([ref], COUNT)).values[0, 0] == 4

    run(body, f"redis+cluster://127.0.0.1:{cluster[1]}")


def move_slot(ports: list[int], slot: int, source: int, target: int) -> None:
    """Move a slot between the nodes of these indices, as `redis-cli --cluster reshard` does."""
    with contextlib.ExitStack() as stack:
        nodes = [stack.enter_context(client(port)) for port in ports]
        ids = [node.execute_command("CLUSTER MYID").decode() for node in nodes]
        nodes[target].execute_command("CLUSTER SETSLOT", slot, "IMPORTING", ids[source])
        nodes[source].execute_command("CLUSTER SETSLOT", slot, "MIGRATING", ids[target])
        while keys := nodes[source].execute_command("CLUSTER GETKEYSINSLOT", slot, 10):
            nodes[source].migrate("127.0.0.1", ports[target], keys, 0, PATIENCE_MS)
        others = [node for n, node in enumerate(nodes) if n not in (source, target)]
        for node in (nodes[target], nodes[source], *others):
            node.execute_command("CLUSTER SETSLOT", slot, "NODE", ids[target])


class CountedTraffic:
    """Sends every event until it counts, some twice; no read may show more or less than that."""

    def __init__(self, store: FeatureStore, refs: list[EntityRef]) -> None:
        self.store, self.refs = store, refs
        self.numbers = itertools.count()
        self.sent, self.counted = Counter[str](), Counter[str]()

    async def write(self, refs: list[EntityRef]) -> None:
        ids = [ref.id for ref in refs]
        events = [upload(next(self.numbers), account) for account in ids]
        self.sent.update(ids)
        for uncounted in ([*events], events[::2]):
            while uncounted:
                results = zip([*uncounted], await self.store.ingest(uncounted), strict=True)
                uncounted[:] = [e for e, r in results if r.status is EventStatus.INCOMPLETE]
        self.counted.update(ids)

    async def check(self) -> None:
        for ref in self.refs:
            counted = self.counted[ref.id]
            table = await self.store.get([ref], COUNT)
            assert counted <= table.values[0, 0] <= self.sent[ref.id]


def test_a_reshard_under_traffic_loses_and_doubles_nothing(
    servers: Servers, cluster: list[int]
) -> None:
    """Every slot with accounts moves twice, at last to a node without slots and scripts."""
    added = servers.start(*CLUSTER_OPTIONS, port=next(p for p in iter(free_port, 0) if p < 55_000))
    ports = [*cluster[:3], added]
    with client(added) as node:
        node.execute_command("CLUSTER MEET", "127.0.0.1", ports[0])
        until(lambda: node.cluster("info")["cluster_state"] == "ok")
        own_id = node.execute_command("CLUSTER MYID").decode()
        for port in cluster:
            with client(port) as other:
                until(partial(knows, other, own_id))
        refs = [EntityRef("account", f"r{n}") for n in range(40)]
        slots = [node.cluster("keyslot", f"fs:{{ts:account:{ref.id}}}:v1") for ref in refs]
    owners = {slot: (slot >= 5461) + (slot >= 10923) for slot in slots}

    def reshard() -> None:
        for slot, owner in owners.items():
            move_slot(ports, slot, owner, (owner + 1) % 3)
        for slot, owner in owners.items():
            move_slot(ports, slot, (owner + 1) % 3, 3)

    async def body(store: FeatureStore) -> None:
        traffic = CountedTraffic(store, refs)
        await traffic.write(refs)
        resharding = asyncio.create_task(asyncio.to_thread(reshard))

        async def repeat(call: Callable[[], Awaitable[None]]) -> None:
            while not resharding.done():
                await call()

        writes = [partial(traffic.write, some) for some in (refs, refs[:1], refs[1:5])]
        calls: list[Callable[[], Awaitable[None]]] = [*writes, traffic.check, traffic.check]
        await asyncio.gather(*map(repeat, calls))
        await resharding
        await traffic.check()
        assert traffic.counted == traffic.sent

    run(body, f"redis+cluster://127.0.0.1:{cluster[0]},127.0.0.1:{cluster[1]}")


def test_every_primary_is_asked_for_the_earlier_layout(cluster: list[int]) -> None:
    meta = struct.pack("<dd", 1.0, 2.0)
    with redis.RedisCluster("127.0.0.1", cluster[0]) as connection:
        for number in range(30):
            connection.hset(f"fs:{{ts:account:{number}}}:v1", "m", meta)
            connection.pfadd(f"fs:{{ts:account:{number}}}:v1:AAAAAAAAh1", b"x")
    with client(cluster[1]) as connection:
        assert 0 < connection.dbsize() < 60
    counted = asyncio.run(count_legacy(f"redis+cluster://127.0.0.1:{cluster[0]}", "ts"))
    assert counted == LegacyCount(scanned=60, total=60, hashes=30, keys=30)
