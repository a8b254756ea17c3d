"""Definitions as a store uses them: registered, and compiled for writing and reading."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from featsvc.accounts.coalescing import ReadCoalescer
from featsvc.accounts.definitions import Definitions
from featsvc.accounts.events import EntityRef
from featsvc.accounts.ingest_plan import IngestPlan, by_state
from featsvc.accounts.layout import StateKind
from featsvc.accounts.read import ReadPlans
from featsvc.accounts.register import Execute, Register
from featsvc.accounts.table import FeatureTable, Selection

Read = Callable[
    ["CompiledDefinitions", Sequence[EntityRef], Selection, int | None], Awaitable[FeatureTable]
]
"""Performs one valid read with the given plans."""


class CompiledDefinitions:
    """Definitions, their registration, and the plans for the digests that the register returned.

    `definitions` are those of the file. The plans are replaced if the register names a state
    differently or others need further rings of it; a call keeps those that it began with.
    """

    def __init__(self, definitions: Definitions, execute: Execute, read: Read) -> None:
        self.definitions = definitions
        self.register = Register(definitions, execute)
        self.coalescer = ReadCoalescer(partial(read, self))
        self._names = self.register.names
        self._others = self.register.others
        self._complete_since = self.register.complete_since
        self._compile()

    async def ready(self, now_ms: int, *, applies: bool = False) -> None:
        """Register where it is due, see Register.ready(). Raises Unavailable."""
        await self.register.ready(now_ms, applies=applies)
        register = self.register
        if self._names is not register.names or self._others is not register.others:
            self._names, self._others = register.names, register.others
            self._compile()
        if self._complete_since is not register.complete_since:
            self._complete_since = register.complete_since
            self.read_plans.set_complete_since(self._complete_since)

    def _compile(self) -> None:
        used = self.definitions.with_digests(self._names)
        self.ingest_plans = {e: IngestPlan(used, e, self._others.get(e, {})) for e in used.entities}
        self.distinct_digests = sorted(
            {s.digest for s in by_state(used) if s.kind is StateKind.DISTINCT}
        )
        self.read_plans = ReadPlans(used)
        self.read_plans.set_complete_since(self._complete_since)
