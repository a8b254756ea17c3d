"""Consume a stream with the shipped definitions until killed: python -m ... URL STREAM"""

import asyncio
import sys

from featsvc.accounts import FeatureStore, StreamConsumer, load_definitions
from tests.patience import PATIENCE_MS

RETRY_AFTER_MS = 300
"""Short, so that a test does not wait for what a killed consumer has read."""


async def main(url: str, stream: str) -> None:
    store = FeatureStore(url, load_definitions(), timeout_ms=PATIENCE_MS)
    consumer = StreamConsumer(
        url, store, stream=stream, retry_after_ms=RETRY_AFTER_MS, max_tries=1000
    )
    sys.stdout.write("consuming\n")
    sys.stdout.flush()
    await consumer.run()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
