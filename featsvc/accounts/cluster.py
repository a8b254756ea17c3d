"""A Redis Cluster: 16,384 slots, each held by one primary.

Keys go to the primary that the slot table names. MOVED, ASK, TRYAGAIN and a lost node are
followed within one call, a bounded number of times; the table is read anew when a node errs.
What a node cannot answer becomes the error of its own commands, so that the other shards' answers
are not lost.
"""

import asyncio
import binascii
import logging
import random
from collections.abc import Sequence
from dataclasses import replace

import hiredis

from featsvc.accounts.connection import Connection, ConnectionLost, Endpoint, Reply, pack
from featsvc.accounts.link import Server
from featsvc.errors import Overloaded, Unavailable

_log = logging.getLogger(__name__)
SLOTS = 16_384
_ROUNDS = 4
_REFRESH_PAUSE_S = 0.1
_ROUND_PAUSE_S = 0.02

Address = tuple[str, int]


def key_slot(key: bytes) -> int:
    """The slot of a key: CRC16 of what stands between the first `{` and the next `}`."""
    begin = key.find(b"{")
    if begin >= 0:
        end = key.find(b"}", begin + 1)
        if end > begin + 1:
            key = key[begin + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS


class Cluster:
    """`seeds` are asked for the table at first, then every node that was in it."""

    def __init__(
        self,
        seeds: Sequence[Endpoint],
        server: Endpoint,
        *,
        timeout_ms: int,
        script: str,
        replicas: int,
    ) -> None:
        self._seeds = [(seed.host, seed.port) for seed in seeds]
        self._server = server
        self._timeout_ms = timeout_ms
        self._script = script
        self._replicas = replicas
        self._nodes: dict[Address, Server] = {}
        self._slots: list[Address | None] = [None] * SLOTS
        self._refreshing: asyncio.Task[None] | None = None
        self._refreshed_at = -1e9
        self._known = False

    async def execute(
        self, keys: Sequence[bytes], commands: Sequence[bytes], *, writes: int = 0
    ) -> list[Reply]:
        if not self._known:
            await self._first_table()
        give_up = asyncio.get_running_loop().time() + self._timeout_ms / 1000
        replies: list[Reply] = [None] * len(commands)
        asked: dict[int, Address] = {}
        pending = list(range(len(commands)))
        for round_ in range(_ROUNDS):
            pending, asked = await self._round(pending, keys, commands, replies, asked, writes)
            if not pending or asyncio.get_running_loop().time() > give_up:
                break
            self._refresh(urgent=False)
            if round_ + 1 < _ROUNDS and not asked:
                await asyncio.sleep(_ROUND_PAUSE_S * random.uniform(0.5, 1.5))  # noqa: S311
        return replies

    async def _first_table(self) -> None:
        try:
            # Shielded: others wait for the same table when this caller is cancelled.
            refreshing = asyncio.shield(self._refresh(urgent=True))
            await asyncio.wait_for(refreshing, self._timeout_ms / 1000)
        except TimeoutError:
            raise Unavailable("Redis Cluster: no slot table in time", retry_after_ms=500) from None

    async def close(self) -> None:
        if self._refreshing:
            self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)
        await asyncio.gather(*(node.close() for node in self._nodes.values()))

    async def _round(
        self,
        pending: Sequence[int],
        keys: Sequence[bytes],
        commands: Sequence[bytes],
        replies: list[Reply],
        asked: dict[int, Address],
        writes: int,
    ) -> tuple[list[int], dict[int, Address]]:
        """Send what is pending to where it belongs; what is worth another round comes back."""
        by_node: dict[Address, list[int]] = {}
        for i in pending:
            address = asked.get(i) or self._slots[key_slot(keys[i])]
            if address is None:
                replies[i] = hiredis.ReplyError("CLUSTERDOWN no node serves this slot")
            else:
                by_node.setdefault(address, []).append(i)
        await asyncio.gather(
            *(
                self._send(address, members, commands, replies, asked, writes)
                for address, members in by_node.items()
            )
        )
        again, redirected = [], {}
        for i in pending:
            reply = replies[i]
            if not isinstance(reply, hiredis.ReplyError):
                continue
            kind, _, rest = str(reply).partition(" ")
            if kind in ("MOVED", "ASK"):
                address = _address(rest)
                if kind == "MOVED":
                    self._slots[key_slot(keys[i])] = address
                else:
                    redirected[i] = address
                again.append(i)
            elif kind in ("TRYAGAIN", "CLUSTERDOWN", "READONLY", "LOADING"):
                again.append(i)
        return again, redirected

    async def _send(
        self,
        address: Address,
        members: Sequence[int],
        commands: Sequence[bytes],
        replies: list[Reply],
        asked: dict[int, Address],
        writes: int,
    ) -> None:
        """One node's share. What it does not answer becomes the members' error."""
        asking = pack("ASKING")
        share: list[bytes] = []
        own_writes = 0
        for i in members:
            share += (asking, commands[i]) if i in asked else (commands[i],)
            if i < writes:
                own_writes = len(share)
        try:
            answers = iter(await self._node(address).execute(share, writes=own_writes))
        except (Unavailable, Overloaded) as exc:
            # Only a lost connection is worth another round: the rest has used up its time.
            kind = "CLUSTERDOWN" if isinstance(exc, ConnectionLost) else "NODEDOWN"
            for i in members:
                replies[i] = hiredis.ReplyError(f"{kind} {exc}")
            self._refresh(urgent=False)
            return
        for i in members:
            if i in asked:
                next(answers)
            replies[i] = next(answers)

    def _node(self, address: Address) -> Server:
        node = self._nodes.get(address)
        if node is None:
            endpoint = replace(self._server, host=address[0], port=address[1])

            async def connect(timeout_s: float) -> Connection:
                return await Connection.open(endpoint, timeout_s=timeout_s, script=self._script)

            node = self._nodes[address] = Server(
                connect, timeout_ms=self._timeout_ms, replicas=self._replicas
            )
        return node

    def _refresh(self, *, urgent: bool) -> "asyncio.Task[None]":
        """Read the slot table anew, in the background, at most every `_REFRESH_PAUSE_S`."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._read_slots(urgent), name="cluster-slots")
            # Its failure is seen by whoever awaits it; others are served from the old table.
            self._refreshing.add_done_callback(lambda task: task.cancelled() or task.exception())
        return self._refreshing

    async def _read_slots(self, urgent: bool) -> None:
        loop = asyncio.get_running_loop()
        if not urgent:
            await asyncio.sleep(max(0.0, self._refreshed_at + _REFRESH_PAUSE_S - loop.time()))
        nodes = [*self._nodes, *(seed for seed in self._seeds if seed not in self._nodes)]
        random.shuffle(nodes)
        trouble: Unavailable | None = None
        for host, port in nodes:
            endpoint = replace(self._server, host=host, port=port)
            try:
                connection = await Connection.open(endpoint, timeout_s=self._timeout_ms / 1000)
                async with asyncio.timeout(self._timeout_ms / 1000):
                    (reply,) = await connection.execute([pack("CLUSTER", "SLOTS")])
            except TimeoutError:
                trouble = Unavailable(f"Redis at {endpoint}: no answer in time")
                continue
            except Unavailable as exc:
                trouble = exc
                continue
            connection.close()
            if isinstance(reply, hiredis.ReplyError):
                raise Unavailable(f"Redis at {endpoint}: {reply}; is it a cluster?")
            if isinstance(reply, list) and reply:
                await self._adopt(reply, host)
                self._refreshed_at = loop.time()
                self._known = True
                return
        raise trouble or Unavailable("Redis Cluster: no node knows who serves which slot")

    async def _adopt(self, ranges: Sequence[Reply], asked_host: str) -> None:
        slots: list[Address | None] = [None] * SLOTS
        for entry in ranges:
            match entry:
                case [int(first), int(last), [host, int(port), *_], *_] if last < SLOTS:
                    name = host.decode() if isinstance(host, bytes) and host else asked_host
                    slots[first : last + 1] = [(name, port)] * (last - first + 1)
        self._slots = slots
        gone = self._nodes.keys() - {address for address in slots if address}
        for address in gone:
            _log.info("Redis Cluster: %s:%d serves no slot any more", *address)
            await self._nodes.pop(address).close()


def _address(redirect: str) -> Address:
    """`SLOT HOST:PORT` of a redirection."""
    host, _, port = redirect.split(" ")[1].rpartition(":")
    return host, int(port)
