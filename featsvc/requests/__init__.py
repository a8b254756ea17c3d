"""The operations of the service, one a file, on the `Runtime` of a worker; independent of gRPC."""

from featsvc.requests.compare import Comparison, compare
from featsvc.requests.embed import EmbedResult, embed
from featsvc.requests.hash import compute_hashes, describe, describe_entry
from featsvc.requests.match import BatchReport, match, match_batch
from featsvc.requests.pool import WorkPool
from featsvc.requests.report import ContentReport, report_on
from featsvc.requests.runtime import Runtime
from featsvc.requests.screen import AccountQuery, ScreenResult, Timings, screen

__all__ = [
    "AccountQuery",
    "BatchReport",
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
    "match",
    "match_batch",
    "report_on",
    "screen",
]
