"""Screen without features: whatever the feature store raises, the matches are served."""

import asyncio
from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pytest

from featsvc.accounts import (
    EntityRef,
    Event,
    EventResult,
    FeatureStatus,
    FeatureStore,
    FeatureTable,
    Selection,
    load_definitions,
)
from featsvc.errors import DataCorrupt, FeatsvcError, InvalidInput, Overloaded, Unavailable
from featsvc.requests.runtime import Runtime
from featsvc.requests.screen import AccountQuery, record_and_read

EVENT = Event("e", "upload", 1_767_268_800_000, {"account": "a"})
ACCOUNT = EntityRef("account", "a")
ALL_OF_ONE = Selection(names=("uploads_1h",))


class FailingStore(FeatureStore):
    """Fails every call with the same error."""

    error: FeatsvcError

    async def ingest(self, *_: object, **__: object) -> list[EventResult]:
        raise self.error

    async def record_and_get(
        self, event: Event | None, entities: Sequence[EntityRef], selection: Selection = ALL_OF_ONE
    ) -> tuple[EventResult | None, FeatureTable]:
        raise self.error


class OnlyFeatures:
    """The part of a runtime that reads features."""

    def __init__(self, features: FeatureStore) -> None:
        self.features = features


def read(folder: Path, error: FeatsvcError, query: AccountQuery) -> tuple[FeatureTable | None, str]:
    store = FailingStore(f"unix://{folder}/nobody", load_definitions())
    store.error = error
    runtime = cast(Runtime, OnlyFeatures(store))
    table, event_result, degraded, _ = asyncio.run(record_and_read(runtime, query))
    assert event_result is None
    return table, degraded


@pytest.mark.parametrize("error", [DataCorrupt("a"), Overloaded("b"), Unavailable("c")])
def test_a_failing_store_degrades_features(tmp_path: Path, error: FeatsvcError) -> None:
    table, degraded = read(tmp_path, error, AccountQuery([ACCOUNT], ALL_OF_ONE, EVENT))
    assert degraded == str(error)
    assert table is not None
    assert table.statuses.tolist() == [[FeatureStatus.DEGRADED]]
    assert read(tmp_path, error, AccountQuery([], ALL_OF_ONE, EVENT)) == (None, str(error))


def test_a_wrong_request_fails(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput):
        read(tmp_path, InvalidInput("x"), AccountQuery([ACCOUNT], ALL_OF_ONE))
