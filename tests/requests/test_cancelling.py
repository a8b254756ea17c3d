"""A request that fails cancels the learned models it has queued."""

import asyncio
from importlib import import_module
from typing import Any, cast

import numpy as np
import pytest

from featsvc.matching.matches import MatchOptions
from featsvc.media import DecodeOptions, Image, Limits
from featsvc.requests import Runtime, WorkPool
from featsvc.requests.plan import ContentPlan

# The package exports functions of these names.
report = import_module("featsvc.requests.report")
signals = import_module("featsvc.requests.signals")


class BrokenError(Exception):
    """The failure of a step."""


class Learned:
    """A model of a plan."""

    name = "learned"


class QueuedModels:
    """Queued vectors, and the parts of a service that start and search them."""

    waiting = False
    signals = ()

    def __init__(self) -> None:
        self.cancelled = 0

    def cancel(self) -> None:
        self.cancelled += 1

    def start(self, *_: object) -> "QueuedModels":
        return self

    @property
    def snapshot(self) -> "QueuedModels":
        return self

    def match(self, *_: object) -> None:
        raise BrokenError


def runtime_of(pool: WorkPool, parts: Any) -> Runtime:
    return Runtime(pool=pool, follower=parts, features=parts, embedder=parts, limits=Limits())


def test_a_failed_search_cancels_queued_models(monkeypatch: pytest.MonkeyPatch) -> None:
    queued, pool = QueuedModels(), WorkPool(1, 1)
    monkeypatch.setattr(report, "plan_for_banks", lambda *_: ContentPlan(()))
    monkeypatch.setattr(report, "start_signals", lambda *_: queued)
    with pytest.raises(BrokenError):
        asyncio.run(
            report.report_on(runtime_of(pool, queued), b"x", (), DecodeOptions(), MatchOptions())
        )
    pool.close()
    assert queued.cancelled == 1


def test_failed_hashing_cancels_queued_models(monkeypatch: pytest.MonkeyPatch) -> None:
    def decode_and_fail(*_: object, on_image: Any, **__: object) -> None:
        on_image(Image("image/png", 1, 1, np.zeros((1, 1), np.uint8)))
        on_image(Image("image/png", 1, 1, np.zeros((1, 1), np.uint8)))
        raise BrokenError

    queued = QueuedModels()
    monkeypatch.setattr(signals, "hash_content", decode_and_fail)
    plan = ContentPlan((), vectors=(cast(Any, Learned()),))
    with pytest.raises(BrokenError):
        signals.start_signals(b"x", plan, DecodeOptions(), Limits(), cast(Any, queued))
    assert queued.cancelled == 2
