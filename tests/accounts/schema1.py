"""A service of commit da0f726: writes and reads the old layout, for tests of migration.

`schema1.lua` is its ingest.lua, unchanged. What drove it is written anew here from a definition
file, so that a change of featsvc cannot change what an old service did. All keys of an entity:

    fs:{ns:entity:id}:v1                  hash: `m` of 16 bytes, `e` (the last ids), rings, lists
    fs:{ns:entity:id}:v1:e                sorted set of ids, with `[dedup] horizon`
    fs:{ns:entity:id}:v1:<state><ring><b> HyperLogLog of bucket b of a distinct state beyond its cap
"""

import base64
import hashlib
import json
import math
import struct
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from featsvc.accounts import Event

SCRIPT = Path(__file__).with_name("schema1.lua")
EVENTS_PER_ROUND_TRIP = 500
KINDS = {
    "count": "COUNT",
    "sum": "SUM",
    "mean": "MOMENTS",
    "stddev": "MOMENTS",
    "min": "MIN",
    "max": "MAX",
    "first": "FIRST",
    "last": "LAST",
    "age_of_first": "MIN",
    "age_of_last": "MAX",
    "distinct": "DISTINCT",
}
NUMBERS = {kind: number for number, kind in enumerate(dict.fromkeys(KINDS.values()))}
RECORDS = {
    "COUNT": "<II",
    "SUM": "<Id",
    "MOMENTS": "<IIdd",
    "MIN": "<Id",
    "MAX": "<Id",
    "FIRST": "<Idd",
    "LAST": "<Idd",
}
# Letter, width in milliseconds, buckets.
RINGS = (
    ("s", 10_000, 37),
    ("m", 300_000, 73),
    ("h", 3_600_000, 169),
    ("d", 86_400_000, 91),
)
LIFETIME_RING = ("l", 0, 1)
UNITS_MS = {"s": 1000, "m": 60_000, "h": 3_600_000, "d": 86_400_000}
STATUSES = ("APPLIED", "DUPLICATE", "TOO_LATE")

Ring = tuple[str, int, int]


@dataclass(frozen=True, slots=True)
class State:
    """What features that differ only in their windows share."""

    entity: str
    event: str
    kind: str
    value: str
    of_time: bool
    where: tuple[tuple[str, tuple[Any, ...]], ...]
    version: int
    cap: int
    digest: str


@dataclass(frozen=True, slots=True)
class Feature:
    """A windowed feature; `window_ms` 0 is `lifetime`, `max_age_ms` 0 no maximum age."""

    name: str
    aggregation: str
    window_ms: int
    max_age_ms: int
    default: float
    state: State

    @property
    def ring(self) -> Ring:
        if not self.window_ms:
            return LIFETIME_RING
        return next(ring for ring in RINGS if self.window_ms <= ring[1] * (ring[2] - 1))


def milliseconds(window: str) -> int:
    """The length of a window; 0 for `lifetime`."""
    return 0 if window == "lifetime" else int(window[:-1]) * UNITS_MS[window[-1]]


def read_features(tree: Mapping[str, Any]) -> list[Feature]:
    """The windowed features of a definition file, which must be valid."""
    features = []
    for name, table in tree["features"].items():
        aggregation = table["agg"]
        filters = sorted(table.get("where", {}).items())
        where = tuple((k, tuple(v) if isinstance(v, list) else (v,)) for k, v in filters)
        kind, value = KINDS[aggregation], table.get("value", "")
        of_time = aggregation.startswith("age_of_")
        version = table.get("version", 0)
        meaning = json.dumps([table["on"], kind, value, of_time, where, version])
        digest = hashlib.blake2b(meaning.encode(), digest_size=6).digest()
        state = State(
            entity=table.get("entity", "account"),
            event=table["on"],
            kind=kind,
            value=value,
            of_time=of_time,
            where=where,
            version=version,
            cap=table.get("cap", 128),
            digest=base64.urlsafe_b64encode(digest).decode(),
        )
        for window in table["windows"]:
            features.append(
                Feature(
                    name=f"{name}_{window}",
                    aggregation=aggregation,
                    window_ms=milliseconds(window),
                    max_age_ms=milliseconds(table.get("max_age", "lifetime")),
                    default=table.get("default", math.nan),
                    state=state,
                )
            )
    return features


def short_hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode(), digest_size=8).digest()


class OldService:
    """Applies events and reads values as featsvc did at commit da0f726, for a fixed clock."""

    def __init__(self, server: Any, toml: str, *, now_ms: int) -> None:
        """`server` is redis-py's client, `toml` the text of a definition file."""
        tree = tomllib.loads(toml)
        dedup = tree.get("dedup", {})
        self.now_ms = now_ms
        self.features = {feature.name: feature for feature in read_features(tree)}
        self._server = server
        self._script = server.register_script(SCRIPT.read_text())
        self._namespace = tree["namespace"]
        self._entities: dict[str, str] = tree["entities"]
        self._keys = {event: tuple(table["keys"]) for event, table in tree["events"].items()}
        self._kept_ids = dedup.get("ring", 512)
        self._horizon_ms = milliseconds(dedup["horizon"]) if "horizon" in dedup else 0
        self._states: dict[State, list[Feature]] = {}
        for feature in self.features.values():
            self._states.setdefault(feature.state, []).append(feature)

    def key(self, entity: str, entity_id: str) -> bytes:
        """The key of an entity's hash; the id must not contain braces or "%"."""
        return f"fs:{{{self._namespace}:{entity}:{entity_id}}}:v1".encode()

    def ingest(self, events: Sequence[Event]) -> list[str]:
        """Apply events, and return the status of each: one of STATUSES."""
        together: dict[tuple[str, str], int] = {}
        for event in events:
            for target in self._targets(event):
                together[target] = together.get(target, 0) + 1
        statuses: list[str] = []
        for first in range(0, len(events), EVENTS_PER_ROUND_TRIP):
            chunk = events[first : first + EVENTS_PER_ROUND_TRIP]
            outcomes: list[list[int]] = [[] for _ in chunk]
            by_target: dict[tuple[str, str], list[int]] = {}
            for i, event in enumerate(chunk):
                for target in self._targets(event):
                    by_target.setdefault(target, []).append(i)
            for target, places in by_target.items():
                kept_ids = self._kept_ids + together[target]
                reply = self._apply(target, [chunk[i] for i in places], kept_ids)
                for i, outcome in zip(places, reply, strict=True):
                    outcomes[i].append(outcome)
            statuses += [STATUSES[min(numbers) - 1] for numbers in outcomes]
        return statuses

    def _targets(self, event: Event) -> list[tuple[str, str]]:
        read = {s.entity for s in self._states if s.event == event.type}
        keys = [entity for entity in self._keys[event.type] if entity in read]
        fields = ((entity, self._entities[entity]) for entity in keys)
        return [(e, event.entities[field]) for e, field in fields if field in event.entities]

    def _apply(self, target: tuple[str, str], events: Sequence[Event], kept_ids: int) -> list[int]:
        """Run the script for one entity."""
        read = {event.type for event in events}
        states = [s for s in self._states if s.entity == target[0] and s.event in read]
        plan = self._ttl_ms(target[0]), [self._plan(state) for state in states]
        ids, members, rows = [], [], []
        for event in events:
            ids.append(short_hash(event.event_id))
            row: list[float] = [event.time_ms]
            for number, state in enumerate(states, 1):
                value = update(state, event)
                if isinstance(value, bytes):
                    members.append(value)
                    row += (number, len(events) + len(members))
                elif value is not None:
                    row += (number, value)
            rows.append(row)
        call = self.now_ms, kept_ids, self._horizon_ms, rows
        encode, hashes = msgspec.msgpack.encode, b"".join(ids + members)
        outcomes: list[int] = self._script(
            [self.key(*target)], [encode(plan), encode(call), hashes]
        )
        return outcomes

    def _plan(self, state: State) -> tuple[str, int, list[Ring], int, int]:
        features = self._states[state]
        rings = list(dict.fromkeys(feature.ring for feature in features))
        windows = [feature.window_ms for feature in features]
        longest_ms = 0 if 0 in windows else max(windows)
        return state.digest, NUMBERS[state.kind], rings, state.cap, longest_ms

    def _ttl_ms(self, entity: str) -> int:
        """How long an entity is kept; 0 is without a limit."""
        rings = [f.ring for f in self.features.values() if f.state.entity == entity]
        spans = [width * (buckets + 1) for _, width, buckets in rings]
        return 0 if 0 in spans else max(spans)

    def read(self, entity_id: str, names: Sequence[str], *, entity: str = "account") -> list[float]:
        """The values of features at `now_ms`; NaN for NULL_VALUE.

        Raises struct.error, or AssertionError, for bytes that an old service would not accept.
        """
        key = self.key(entity, entity_id)
        meta = self._server.hget(key, "m")
        assert len(meta) % 4 == 0
        struct.unpack_from("<dd", meta)
        return [self._value(key, self.features[name]) for name in names]

    def _value(self, key: bytes, feature: Feature) -> float:
        letter, width_ms, _ = feature.ring
        after_ms = self.now_ms - feature.window_ms if width_ms else -1
        if feature.aggregation == "distinct":
            return self._distinct(key, feature, after_ms)
        low, high = 0, 0
        if width_ms:
            low, high = after_ms // width_ms, self.now_ms // width_ms
        text = self._server.hget(key, feature.state.digest + letter) or b""
        records = list(struct.iter_unpack(RECORDS[feature.state.kind], text))
        assert [record[0] for record in records] == sorted({record[0] for record in records})
        inside = [record[1:] for record in records if low <= record[0] <= high]
        return fold(feature.aggregation, inside, after_ms, self.now_ms)

    def _distinct(self, key: bytes, feature: Feature, after_ms: int) -> float:
        text = self._server.hget(key, feature.state.digest + "u") or struct.pack("<d", 0)
        (evicted_ms,) = struct.unpack_from("<d", text)
        seen_ms = [at for _, at in struct.iter_unpack("<8sd", text[8:])]
        assert seen_ms == sorted(seen_ms)
        count = float(sum(at > after_ms for at in seen_ms))
        if not evicted_ms > max(after_ms, 0):
            return count
        letter, width_ms, _ = feature.ring
        buckets = range(1)
        if width_ms:
            buckets = range(after_ms // width_ms, self.now_ms // width_ms + 1)
        stem = key + f":{feature.state.digest}{letter}".encode()
        estimate = self._server.pfcount(*(stem + b"%d" % bucket for bucket in buckets))
        return max(count, float(estimate))


def update(state: State, event: Event) -> float | bytes | None:
    """The value that an event gives a state; None if it does not affect it."""
    for name, allowed in state.where:
        value = event.attributes.get(name)
        if (isinstance(value, bool), value) not in [(isinstance(v, bool), v) for v in allowed]:
            return None
    if state.of_time:
        return event.time_ms
    if state.kind == "COUNT":
        return 0
    value = event.attributes.get(state.value, event.entities.get(state.value))
    if value is None or state.kind != "DISTINCT":
        return None if value is None else float(value)
    if isinstance(value, str):
        return short_hash(f"s{value}")
    return short_hash(f"b{value}" if isinstance(value, bool) else f"n{float(value)!r}")


def fold(
    aggregation: str, records: Sequence[tuple[float, ...]], after_ms: int, now_ms: int
) -> float:
    """A value from the records of a window's buckets, without their numbers, oldest first."""
    if aggregation in ("count", "sum"):
        return float(sum(value for (value,) in records))
    if aggregation in ("last", "age_of_last"):
        records = [record for record in records if record[0] > after_ms]
    if not records:
        return math.nan
    if aggregation in ("mean", "stddev"):
        n, mean, m2 = 0.0, 0.0, 0.0
        for k, other_mean, other_m2 in records:
            delta = other_mean - mean
            m2 += other_m2 + delta * delta * n * k / (n + k)
            n += k
            mean += delta * k / n
        return math.sqrt(m2 / n) if aggregation == "stddev" else mean
    if aggregation in ("first", "last"):
        return records[0 if aggregation == "first" else -1][1]
    values = [value for (value,) in records]
    if aggregation.startswith("age_of_"):
        edge = min(values) if aggregation == "age_of_first" else max(values)
        return max(now_ms - edge, 0) / 1000
    return min(values) if aggregation == "min" else max(values)
