"""The register of definitions: which states the services of a namespace keep, and since when.

During a deployment, services with different definitions share a namespace. A feature that only some
of them keep misses the events that the others apply. The register, one hash per namespace, lets a
read tell such a value from a complete one, and lets services that write one filter differently
share its state:

    fs:{<namespace>:definitions}
    leased_until                     ms; the latest end of any lease so far
    =<canonical>                     digests in use for a meaning, 8 characters each; oldest first
    <entity>:<digest><ring>          "<complete since ms> <held until ms>"

`<ring>` is the ring's letter; for a distinct state also the window in ms, because its list of
members is pruned to the longest window and not to the ring.

A service registers before its first event and its first read, and renews its lease of 2 minutes
every 30 s. It applies no event after its lease has ended. register.lua keeps two laws:

- A new ring is complete since the latest end of any lease or since now, whichever is later: nobody
  wrote it before. The first definitions of a namespace are complete since 0.
- A ring of a state that a registering service lacks is complete since the end of its lease. If it
  has the state, but not the ring, it writes the ring from then on (`others`).

So `complete_since` of a ring is max(the first time that a service had it, the last end of a lease
without it), and it is stored per ring: nothing that is dropped later makes an incomplete ring
complete. A ring that has had no lease for a day is dropped when a service without it renews, and is
a new ring if it returns. A name (=<canonical>) is never dropped, because lifetime values stay.

Clocks. All times are the services' own; Redis' clock is not used. A service refuses events more
than a minute (MAX_SKEW_MS) ahead of its own clock, and the end of its lease is written by the same
clock. That minute is added to every end: an event of a later time was applied by a service that has
the ring, whatever the clocks show. An entity counts as younger than a ring if it was born after
that; here clocks may disagree by the same minute.

A running service learns of a ring's loss at its next renewal: for up to 30 s after a service
*without* one of its rings joins, a read may still take that ring for complete.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from importlib.resources import files
from types import MappingProxyType
from typing import cast

import msgspec

from featsvc.accounts.definitions import Definitions, Feature
from featsvc.accounts.events import MAX_SKEW_MS
from featsvc.accounts.layout import DIGEST_CHARS, RING_OF, Rings, StateKind
from featsvc.accounts.pipelining import Command, Reply
from featsvc.errors import FeatsvcError, Unavailable

LEASE_MS = 120_000
RENEW_MS = 30_000
FORGET_MS = 86_400_000
_RETRY_MS = 1000

_log = logging.getLogger(__name__)

Execute = Callable[[bytes, Command], Awaitable[Reply]]
"""Sends one command that writes the given key. Raises Unavailable, also for an error reply."""


class Register:
    """The registration of one service's definitions.

    `names` maps each digest as written to the one in use, `complete_since` each windowed feature to
    Unix milliseconds, `others` each entity to the rings that other definitions have of the same
    states. All are replaced as a whole when they change, and empty before the first refresh.
    """

    def __init__(self, definitions: Definitions, execute: Execute) -> None:
        self._key = register_key(definitions.namespace)
        self._script = files("featsvc.accounts").joinpath("scripts/register.lua").read_text("utf-8")
        self._execute = execute
        states = {f.state.digest: f.state.canonical for f in definitions.features.values()}
        self._digests = list(states)
        self._states = states
        numbers = {digest: number for number, digest in enumerate(states, 1)}
        self._rings = {
            f.name: (f.state.entity, numbers[f.state.digest], ring_name(f))
            for f in definitions.features.values()
        }
        self._different_rings = list(dict.fromkeys(self._rings.values()))
        self._since = dict.fromkeys(self._different_rings, 0)
        self.names: Mapping[str, str] = MappingProxyType({})
        self.complete_since: Mapping[str, int] = MappingProxyType({})
        self.others: Mapping[str, Rings] = MappingProxyType({})
        self.leased_until_ms = 0
        self._registered_ms: int | None = None
        self._refreshing: asyncio.Task[FeatsvcError | None] | None = None
        self._failed_ms: int | None = None

    async def refresh(self, now_ms: int) -> None:
        """Register, or renew the lease. Raises Unavailable and leaves everything as it was.

        A register that has been lost is begun anew with what this service knows of it.
        """
        lease_end_ms = now_ms + LEASE_MS
        states = [(meaning, self.names.get(own, own)) for own, meaning in self._states.items()]
        rings = [(*ring, since) for ring, since in self._since.items()]
        call = msgspec.msgpack.encode((now_ms, lease_end_ms, MAX_SKEW_MS, FORGET_MS, states, rings))
        reply = await self._execute(self._key, ("EVAL", self._script, 1, self._key, call))
        digests, times, fields = cast(tuple[list[bytes], list[int], list[bytes]], reply)
        names = dict(zip(self._digests, map(bytes.decode, digests), strict=True))
        self._since = dict(zip(self._different_rings, times, strict=True))
        complete_since = {name: self._since[ring] for name, ring in self._rings.items()}
        others = _other_rings(fields)
        if names != self.names:
            self.names = MappingProxyType(names)
        if complete_since != self.complete_since:
            self.complete_since = MappingProxyType(complete_since)
        if others != self.others:
            self.others = MappingProxyType(others)
        self._registered_ms = now_ms
        self.leased_until_ms = lease_end_ms

    def due(self, now_ms: int) -> bool:
        """Return whether it is time to refresh; a clock that was set back counts too."""
        registered_ms = self._registered_ms
        return registered_ms is None or not 0 <= now_ms - registered_ms < RENEW_MS

    async def ready(self, now_ms: int, *, applies: bool) -> None:
        """Refresh where it is due; a caller that `applies` events needs a lease.

        Waits for the first registration and for a lease that has ended, and renews beside the
        caller otherwise. Raises Unavailable before the first registration and, to a caller that
        applies events, without a lease; reads go on with what was known last.
        """
        if not self.due(now_ms):
            return
        if self._registered_ms is not None and now_ms < self.leased_until_ms:
            if self._failed_ms is None or not 0 <= now_ms - self._failed_ms < _RETRY_MS:
                self._start(now_ms)
            return
        while self._registered_ms is None or now_ms >= self.leased_until_ms:
            # Shielded: other callers wait for the same registration if this one is cancelled.
            error = await asyncio.shield(self._start(now_ms))
            if error and (applies or self._registered_ms is None):
                raise Unavailable(f"the definitions are not registered: {error}") from error
            if error:
                break

    async def close(self, *, cancel: bool = True) -> None:
        """Cancel a refresh that is under way, or wait for its end."""
        if self._refreshing:
            if cancel:
                self._refreshing.cancel()
            await asyncio.gather(self._refreshing, return_exceptions=True)

    def _start(self, now_ms: int) -> "asyncio.Task[FeatsvcError | None]":
        """Return the refresh that is under way, or start one."""
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = asyncio.create_task(self._try(now_ms), name="register")
        return self._refreshing

    async def _try(self, now_ms: int) -> FeatsvcError | None:
        """Refresh; return the error. Only the first of a row of failures is logged."""
        try:
            await self.refresh(now_ms)
        except FeatsvcError as exc:
            if self._failed_ms is None and self._registered_ms is not None:
                _log.warning(
                    "the lease of the definitions was not renewed; events are refused from its "
                    "end on: %s",
                    exc,
                )
            self._failed_ms = now_ms
            return exc
        self._failed_ms = None
        return None


def ring_name(feature: Feature) -> str:
    """Return the name of the ring that a feature is complete with."""
    if feature.state.kind is StateKind.DISTINCT:
        return f"{feature.ring.letter}{feature.window_ms}"
    return feature.ring.letter


def _other_rings(fields: Sequence[bytes]) -> dict[str, Rings]:
    """Return the rings of fields `<entity>:<digest><ring>`, by entity and digest."""
    others: dict[str, dict[str, list[tuple[str, int]]]] = {}
    for field in sorted(fields):
        entity, _, ring = field.decode().partition(":")
        letter, window = ring[DIGEST_CHARS], ring[DIGEST_CHARS + 1 :]
        window_ms = int(window) if window else RING_OF[letter].longest_window_ms
        others.setdefault(entity, {}).setdefault(ring[:DIGEST_CHARS], []).append(
            (letter, window_ms)
        )
    return dict(others)


def register_key(namespace: str) -> bytes:
    """Return the key of a namespace's register. No entity's key equals it: those end with :v1."""
    return f"fs:{{{namespace}:definitions}}".encode()
