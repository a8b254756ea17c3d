"""Account features: events update windowed state in Redis, and reads compute features from it.

`FeatureStore` is the entry point. `load_definitions` reads `features.toml`. `EmbeddedValkey` runs a
server for deployments without one. `featsvc.accounts.layout` documents the stored bytes.
"""

from featsvc.accounts.consumer import StreamConsumer
from featsvc.accounts.definitions import Definitions, Derived, Feature, load_definitions
from featsvc.accounts.embedded import EmbeddedValkey
from featsvc.accounts.events import (
    MAX_EVENTS,
    Attribute,
    Backfill,
    EntityRef,
    Event,
    EventResult,
    EventStatus,
    check_backfill,
    parse_event_line,
    parse_time,
    too_many,
)
from featsvc.accounts.read import MAX_ENTITIES_READ, warm
from featsvc.accounts.store import FeatureStore
from featsvc.accounts.table import ALL, FeatureStatus, FeatureTable, Selection

__all__ = [
    "ALL",
    "MAX_ENTITIES_READ",
    "MAX_EVENTS",
    "Attribute",
    "Backfill",
    "Definitions",
    "Derived",
    "EmbeddedValkey",
    "EntityRef",
    "Event",
    "EventResult",
    "EventStatus",
    "Feature",
    "FeatureStatus",
    "FeatureStore",
    "FeatureTable",
    "Selection",
    "StreamConsumer",
    "check_backfill",
    "load_definitions",
    "parse_event_line",
    "parse_time",
    "too_many",
    "warm",
]
