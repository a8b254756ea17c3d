"""Requests: one verb a file, each over the one `Runtime` of a worker; no wire."""

from featsvc.requests.compare import Comparison, compare
from featsvc.requests.embed import EmbedResult, embed
from featsvc.requests.hash import compute_hashes, describe, describe_entry
from featsvc.requests.look import ContentReport, look
from featsvc.requests.match import match, match_batch
from featsvc.requests.pool import WorkPool
from featsvc.requests.runtime import Runtime
from featsvc.requests.screen import AccountQuery, ScreenResult, Timings, screen

__all__ = [
    "AccountQuery",
    "Comparison",
    "ContentReport",
    "EmbedResult",
    "Runtime",
    "ScreenResult",
    "Timings",
    "WorkPool",
    "compare",
    "compute_hashes",
    "describe",
    "describe_entry",
    "embed",
    "look",
    "match",
    "match_batch",
    "screen",
]
