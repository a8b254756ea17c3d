"""One call that does all of it: content and account in; signals, matches and features out."""

from featsvc.requests.pool import WorkPool
from featsvc.requests.screen import Account, Looked, Screened, Screener, Timings

__all__ = ["Account", "Looked", "Screened", "Screener", "Timings", "WorkPool"]
