"""Definitions, events and answers of cases: short, so that a test shows what matters."""

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

import pytest

from featsvc.accounts import EntityRef, Event, FeatureStatus, FeatureStore, Selection
from tests.accounts.stores import NOW_MS

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
HORIZON = '[dedup]\nhorizon = "24h"\n'
BASE = """namespace = "{namespace}"
{dedup}
[entities]
account = "account"
ip = "ip"
[events.up]
keys = ["account"]
[events.login]
keys = ["account", "ip"]
"""
Answer = tuple[float, str]


def feature(name: str, on: str, agg: str, windows: Sequence[str], **keys: object) -> str:
    """One feature; a key whose text begins with a brace is a table."""
    lines = [f'[features.{name}]\non = "{on}"\nagg = "{agg}"\nwindows = {json.dumps(windows)}']
    for key, value in keys.items():
        is_table = isinstance(value, str) and value.startswith("{")
        lines.append(f"{key} = {value if is_table else json.dumps(value)}")
    return "\n".join(lines) + "\n"


def toml(*features: str, dedup: str = "", namespace: str = "case") -> str:
    return BASE.format(namespace=namespace, dedup=dedup) + "".join(features)


def event(
    id_: str, type_: str, time_ms: int, account: str = "a", ip: str = "", **attributes: Any
) -> Event:
    entities = {"account": account, **({"ip": ip} if ip else {})}
    return Event(id_, type_, time_ms, entities, attributes)


class Clock:
    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


async def show(
    store: FeatureStore, *names: str, account: str = "a", as_of_ms: int | None = None
) -> dict[str, Answer]:
    """The values and statuses of an account."""
    table = await store.get([EntityRef("account", account)], Selection(names=names), as_of_ms)
    rows = zip(table.names, table.values[:, 0].tolist(), table.statuses[:, 0], strict=True)
    return {name: (value, FeatureStatus(status).name) for name, value, status in rows}


async def statuses(store: FeatureStore, events: Sequence[Event]) -> list[str]:
    return [result.status.name for result in await store.ingest(events)]


def check(found: Mapping[str, Answer], **wanted: float | str) -> None:
    """Compare answers: a number is PRESENT, a text is a status without a value."""
    for name, right in wanted.items():
        value, status = found[name]
        if isinstance(right, str):
            assert (status, math.isnan(value)) == (right, True), (name, value, status)
        else:
            assert status == "PRESENT", (name, found)
            assert value == pytest.approx(right, rel=1e-12), name
    assert found.keys() == wanted.keys()


def outside(server: Any) -> list[bytes]:
    """All keys but registers of definitions."""
    return [key for key in server.scan_iter() if not key.endswith(b":definitions}")]


def distinct(windows: Sequence[str] = ("24h",), cap: int = 4, name: str = "d") -> str:
    return feature(name, "login", "distinct", windows, value="ip", cap=cap)
