"""A cluster of three primaries whose slots move, as `redis-cli --cluster reshard` moves them."""

import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from featsvc.accounts.embedded import find_server
from tests.patience import PATIENCE_MS, PATIENCE_S, until

SLOTS = 16_384
KEYS_PER_MOVE = 10
BUS_PORT_OFFSET = 10_000


@dataclass(frozen=True, slots=True)
class Move:
    """A slot that moves from one node to another, both numbered from 0."""

    slot: int
    source: int
    target: int


class Cluster:
    """Clients of the nodes, and what moves slots between them."""

    def __init__(self, ports: Sequence[int]) -> None:
        self.ports = list(ports)
        # Untyped, because redis-py's reply types are unions.
        self.nodes: list[Any] = [
            redis.Redis(port=port, socket_timeout=PATIENCE_S, retry=Retry(NoBackoff(), 0))
            for port in ports
        ]
        self.ids = [node.execute_command("CLUSTER MYID").decode() for node in self.nodes]

    @property
    def url(self) -> str:
        return "redis+cluster://" + ",".join(f"127.0.0.1:{port}" for port in self.ports)

    def join(self) -> None:
        """Share the slots out, and make one cluster of the nodes."""
        bounds = [SLOTS * n // len(self.nodes) for n in range(len(self.nodes) + 1)]
        for n, node in enumerate(self.nodes):
            node.execute_command("CLUSTER ADDSLOTSRANGE", bounds[n], bounds[n + 1] - 1)
            node.execute_command("CLUSTER SET-CONFIG-EPOCH", n + 1)
        for port in self.ports[1:]:
            self.nodes[0].execute_command("CLUSTER MEET", "127.0.0.1", port)
        until(lambda: all(self._is_whole(node) for node in self.nodes))

    def _is_whole(self, node: Any) -> bool:
        info = node.cluster("info")
        known, state = info["cluster_known_nodes"], info["cluster_state"]
        return (known, state) == (str(len(self.nodes)), "ok")

    def slot(self, key: bytes) -> int:
        return int(self.nodes[0].cluster("keyslot", key.decode()))

    def owner(self, slot: int) -> int:
        """The number of the node that serves a slot."""
        for first, last, (_, port, *_), *_ in self.nodes[0].execute_command("CLUSTER SLOTS"):
            if first <= slot <= last:
                return self.ports.index(port)
        raise LookupError(slot)

    def all_keys(self) -> list[bytes]:
        return [key for node in self.nodes for key in node.scan_iter()]

    def flush(self) -> None:
        for node in self.nodes:
            node.flushall()

    def begin(self, slot: int, target: int | None = None) -> Move:
        """Open a slot at its source and its target; without one, that is the next node."""
        source = self.owner(slot)
        if target is None:
            target = (source + 1) % len(self.nodes)
        for node, how, other in ((target, "IMPORTING", source), (source, "MIGRATING", target)):
            self.nodes[node].execute_command("CLUSTER SETSLOT", slot, how, self.ids[other])
        return Move(slot, source, target)

    def move_keys(self, move: Move) -> int:
        """Move a few keys; return how many."""
        source, port = self.nodes[move.source], self.ports[move.target]
        keys = source.execute_command("CLUSTER GETKEYSINSLOT", move.slot, KEYS_PER_MOVE)
        if keys:
            source.execute_command("MIGRATE", "127.0.0.1", port, "", 0, PATIENCE_MS, "KEYS", *keys)
        return len(keys)

    def end(self, move: Move) -> None:
        """Give the slot to its target, first at the target."""
        others = set(range(len(self.nodes))) - {move.target, move.source}
        for node in (move.target, move.source, *others):
            self.nodes[node].execute_command(
                "CLUSTER SETSLOT", move.slot, "NODE", self.ids[move.target]
            )

    def reshard(self, slot: int, target: int | None = None) -> None:
        """Move a slot."""
        move = self.begin(slot, target)
        while self.move_keys(move):
            pass
        self.end(move)


def free_port() -> int:
    """A free port whose cluster bus has a port too."""
    while True:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            port = int(listener.getsockname()[1])
        if port < 65_536 - BUS_PORT_OFFSET:
            return port


@contextmanager
def running_cluster(folder: Path, nodes: int = 3) -> Iterator[Cluster]:
    """Run a cluster without replicas."""
    processes: list[subprocess.Popen[bytes]] = []
    ports: list[int] = []
    try:
        for _ in range(nodes):
            port = free_port()
            own = folder / str(port)
            own.mkdir()
            options = ["--cluster-enabled", "yes", "--save", "", "--bind", "127.0.0.1"]
            options += ["--port", str(port), "--dir", str(own)]
            command = [str(find_server()), *options]
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL))
            ports.append(port)
        for port in ports:
            until(partial(_answers, port), "a node did not start")
        cluster = Cluster(ports)
        cluster.join()
        yield cluster
        for node in cluster.nodes:
            node.close()
    finally:
        for process in processes:
            process.kill()
            process.wait(PATIENCE_S)


def _answers(port: int) -> bool:
    with suppress(redis.ConnectionError), redis.Redis(port=port) as client:
        return bool(client.ping())
    return False
