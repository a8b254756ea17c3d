"""Definitions and stores for tests."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar

from featsvc.accounts import Definitions, FeatureStore, load_definitions
from tests.patience import PATIENCE_MS

NOW_MS = 1_767_268_800_000
"""2026-01-01 12:00 UTC, the end of a bucket of every ring but that of days."""

T = TypeVar("T")


def define(folder: Path, text: str) -> Definitions:
    """Write definitions to a file and load them."""
    path = folder / "features.toml"
    path.write_text(text)
    return load_definitions(path)


@asynccontextmanager
async def open_store(
    url: str, definitions: Definitions, *, timeout_ms: int = PATIENCE_MS, **options: Any
) -> AsyncIterator[FeatureStore]:
    """Open a store with a timeout for a busy machine."""
    store = FeatureStore(url, definitions, timeout_ms=timeout_ms, **options)
    try:
        yield store
    finally:
        await store.close()


def run(
    url: str,
    definitions: Definitions,
    body: Callable[[FeatureStore], Awaitable[T]],
    *,
    now_ms: int = NOW_MS,
) -> T:
    """Run the body of a test with a store whose clock always shows `now_ms`."""

    async def main() -> T:
        async with open_store(url, definitions, clock=lambda: now_ms) as store:
            return await body(store)

    return asyncio.run(main())
