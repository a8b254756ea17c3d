"""What was asked of a store, and whether each of its revisions is just that.

A change that was acknowledged is a revision, one that was refused is none. One without an answer,
because something was killed or cut, is either, but whole, and once. Each revision changes its own
bank, as the change says, and no other one.
"""

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, auto
from typing import NamedTuple

from featsvc.banks.records import ChangeContext
from tests.fuzz.expected import State
from tests.fuzz.tally import Tally


class Content(NamedTuple):
    """What searches heed of an entry."""

    external_id: str
    source: str
    labels: str
    opinion: str
    quarantined: bool
    expire_time: int | None
    signals: frozenset[tuple[str, bytes, str, int]]


Contents = Mapping[int, Content]
"""Entries of a bank, by id."""


class Step(NamedTuple):
    """A revision: its bank before and after, None where there is none, and the states so far."""

    bank: str
    before: Contents
    after: Contents
    old: State
    new: State
    past: Sequence[State]


Check = Callable[[Step], bool]
"""Returns whether a step is just what a change says."""


class Outcome(Enum):
    UNKNOWN = auto()
    REFUSED = auto()
    ACKNOWLEDGED = auto()


@dataclass(slots=True)
class Change:
    """A change that was asked for. `revision` is the one that was acknowledged, 0 for none."""

    reason: str
    bank: str
    check: Check
    outcome: Outcome = Outcome.UNKNOWN
    revision: int = 0
    made: int = 0
    """The revision that it became."""
    kept: bool = True
    """Whether the present history has it: a backup from before it may have been restored."""
    asked_s: float = field(default_factory=time.monotonic)
    answered_s: float = 0.0

    @property
    def context(self) -> ChangeContext:
        return ChangeContext(reason=self.reason, request_id=self.reason)

    def acknowledge(self, revision: int) -> None:
        """Note the revision of an answer, 0 where the answer says that nothing has changed."""
        self.outcome, self.revision = Outcome.ACKNOWLEDGED, revision
        self.answered_s = time.monotonic()


class Journal:
    """All changes of a round, by reason. Thread-safe while nothing is checked."""

    def __init__(self, place: str, tally: Tally) -> None:
        self._place = place
        self._tally = tally
        self._changes: dict[str, Change] = {}
        self._lock = threading.Lock()
        self._number = 0
        self._last: tuple[State, dict[str, Contents]] | None = None

    def ask(self, kind: str, bank: str, check: Check = lambda _: True) -> Change:
        """Note a change before it is asked for."""
        with self._lock:
            self._number += 1
            change = Change(f"{kind} {self._number}", bank, check)
            self._changes[change.reason] = change
        return change

    def check(self, past: Sequence[State], new: State, reason: str) -> None:
        """Compare a revision with what was asked for, and with the newest of the `past`."""
        where = f"revision {new.head.revision} ({reason})"
        change = self._changes.get(reason)
        if change is None:
            self._fail(f"{where}: nobody asked for it")
            return
        if change.outcome is Outcome.REFUSED:
            self._fail(f"{where}: it was refused")
        if change.made:
            self._fail(f"{where}: it is revision {change.made} already")
        change.made = new.head.revision
        old = past[-1]
        before, after = self._contents(old), self._contents(new)
        self._last = new, after
        others = (before.keys() | after.keys() | old.banks.keys() | new.banks.keys()) - {
            change.bank
        }
        for other in others:
            same = before.get(other) == after.get(other)
            if not same or old.banks.get(other) != new.banks.get(other):
                self._fail(f"{where}: it changed the bank {other}, too")
        step = Step(
            change.bank, before.get(change.bank, {}), after.get(change.bank, {}), old, new, past
        )
        if not change.check(step):
            self._fail(f"{where}: it is not what was asked for, or not all of it")

    def check_kept(self, reasons: Sequence[str]) -> None:
        """Look for every acknowledged change in the log, whose place is the revision."""
        for change in self._changes.values():
            if change.outcome is not Outcome.ACKNOWLEDGED or not change.revision:
                continue
            if change.kept and reasons[change.revision : change.revision + 1] != [change.reason]:
                self._fail(f"LOST: {change.reason}, acknowledged as revision {change.revision}")

    def check_refused(self, start_s: float, end_s: float) -> None:
        """Note every change that was made between two times, when none could be."""
        for change in self._changes.values():
            inside = start_s < change.asked_s and change.answered_s < end_s
            if change.revision and inside:
                self._fail(f"{change.reason} was made on a newer schema")

    def restored(self, reasons: Sequence[str]) -> None:
        """Note which changes a restored backup has; `reasons` as in `check_kept`."""
        for change in self._changes.values():
            found = reasons[change.made : change.made + 1]
            change.kept = not change.made or found == [change.reason]

    def require(self, what: str, found: object, right: object) -> None:
        """Note a finding if two things differ."""
        if found != right:
            self._fail(f"{what}: {str(found)[:300]} is not {str(right)[:300]}")

    def _fail(self, text: str) -> None:
        self._tally.wrong.append(f"{self._place}: {text}")

    def _contents(self, state: State) -> dict[str, Contents]:
        if self._last is not None and self._last[0] is state:
            return self._last[1]
        return contents(state)


def contents(state: State) -> dict[str, Contents]:
    """Return the entries of each bank that has any."""
    signals: dict[tuple[str, int], set[tuple[str, bytes, str, int]]] = {}
    fields = {}
    for rows in state.rows.values():
        for row in rows:
            key = row.bank_id, row.id
            signal = row.algorithm, row.value, row.variant, row.algorithm_version
            signals.setdefault(key, set()).add(signal)
            fields[key] = row
    made: dict[str, dict[int, Content]] = {}
    for (bank, entry), row in fields.items():
        made.setdefault(bank, {})[entry] = Content(
            row.external_id,
            row.source,
            row.labels,
            row.opinion,
            bool(row.quarantined),
            row.expire_time,
            frozenset(signals[bank, entry]),
        )
    return made  # type: ignore[return-value]
