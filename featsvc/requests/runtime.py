"""The parts of a worker that answer requests; built by `featsvc.worker`."""

from dataclasses import dataclass

from featsvc.accounts import FeatureStore
from featsvc.banks.results import MatchKey
from featsvc.banks.tally import MatchTally
from featsvc.embedding import Embedder
from featsvc.matching.follower import Follower
from featsvc.matching.matches import MatchResult
from featsvc.media import Limits
from featsvc.requests.pool import WorkPool


@dataclass(frozen=True, slots=True, kw_only=True)
class Runtime:
    """The parts of one worker. Without a `tally` matches are not counted."""

    pool: WorkPool
    follower: Follower
    features: FeatureStore
    embedder: Embedder
    limits: Limits
    tally: MatchTally | None = None

    def count(self, result: MatchResult) -> MatchResult:
        """Count the matches for `ListMatchCounts`; return the result."""
        if self.tally is not None and result.matches:
            self.tally.add([MatchKey(m.bank, m.entry_id, m.mode) for m in result.matches])
        return result
