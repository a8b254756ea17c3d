"""Account features: events go into windowed state in Redis, exactly defined features come out.

`FeatureStore` is the way in; `load_definitions` reads `features.toml`; `EmbeddedValkey` is the
store for those who bring none. The layout of the state is told in `featsvc.accounts.layout`.
"""

from featsvc.accounts.consumer import StreamConsumer
from featsvc.accounts.definitions import Definitions, load_definitions
from featsvc.accounts.embedded import EmbeddedValkey
from featsvc.accounts.events import (
    EntityRef,
    Event,
    EventResult,
    EventStatus,
    parse_event_line,
    parse_time,
)
from featsvc.accounts.read import warm
from featsvc.accounts.store import FeatureInfo, FeatureStore
from featsvc.accounts.table import ALL, FeatureStatus, FeatureTable, Selection, degraded_table

__all__ = [
    "ALL",
    "Definitions",
    "EmbeddedValkey",
    "EntityRef",
    "Event",
    "EventResult",
    "EventStatus",
    "FeatureInfo",
    "FeatureStatus",
    "FeatureStore",
    "FeatureTable",
    "Selection",
    "StreamConsumer",
    "degraded_table",
    "load_definitions",
    "parse_event_line",
    "parse_time",
    "warm",
]
