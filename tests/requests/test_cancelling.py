"""What a request has set going is taken back where the request fails."""

import asyncio
from importlib import import_module
from typing import Any, cast

import numpy as np
import pytest

from featsvc.matching.matches import MatchOptions
from featsvc.media import DecodeOptions, Image, Limits
from featsvc.requests import Runtime, WorkPool
from featsvc.requests.plan import ContentPlan

# Modules, which the package's functions of these names hide.
report = import_module("featsvc.requests.report")
signals = import_module("featsvc.requests.signals")


class Broken(Exception):
    """What goes wrong on the way."""


class Learned:
    """A model, as plans hold it."""

    name = "learned"


class Queued:
    """Vectors that wait for their turn, and the parts of a service that start and search them."""

    waiting = False
    signals = ()

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1

    def start(self, *_: object) -> "Queued":
        return self

    @property
    def snapshot(self) -> "Queued":
        return self

    def match(self, *_: object) -> None:
        raise Broken


def runtime_of(pool: WorkPool, parts: Any) -> Runtime:
    return Runtime(pool=pool, follower=parts, features=parts, embedder=parts, limits=Limits())


def test_a_search_that_fails_takes_back_what_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    queued, pool = Queued(), WorkPool(1, 1)
    monkeypatch.setattr(report, "plan_for_banks", lambda *_: ContentPlan(()))
    monkeypatch.setattr(report, "make_signals", lambda *_: queued)
    with pytest.raises(Broken):
        asyncio.run(
            report.report_on(runtime_of(pool, queued), b"x", (), DecodeOptions(), MatchOptions())
        )
    pool.close()
    assert queued.cancelled == 1


def test_hashing_that_fails_takes_back_what_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    def see_and_break(*_: object, see: Any, **__: object) -> None:
        see(Image("image/png", 1, 1, np.zeros((1, 1), np.uint8)))
        see(Image("image/png", 1, 1, np.zeros((1, 1), np.uint8)))
        raise Broken

    queued = Queued()
    monkeypatch.setattr(signals, "hash_content", see_and_break)
    plan = ContentPlan((), vectors=(cast(Any, Learned()),))
    with pytest.raises(Broken):
        signals.make_signals(b"x", plan, DecodeOptions(), Limits(), cast(Any, queued))
    assert queued.cancelled == 2
