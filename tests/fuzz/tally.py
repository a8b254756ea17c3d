"""Counts of answers and changes, and what was wrong."""

import threading
from collections import Counter
from dataclasses import dataclass, field

from featsvc.matching.matches import MatchResult


@dataclass(slots=True)
class Tally:
    """Answers by kind, changes by name, and what was wrong."""

    answers: Counter[str] = field(default_factory=Counter)
    changes: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def compare(self, place: str, kind: str, answer: object, right: object) -> None:
        """Count one answer of a kind; note it where it is not right."""
        self.answers[kind] += 1
        if answer != right:
            self.wrong.append(f"{place}: {kind}: {_difference(answer, right)}")

    def count(self, right: MatchResult) -> None:
        """Count what makes an answer interesting."""
        facts = {
            "  with matches": right.matches,
            "  without matches": not right.matches,
            "  truncated": right.truncated,
            "  low quality": right.low_quality,
            "  suppressed": any(match.suppressed for match in right.matches),
            "  with evidence": any(match.evidence for match in right.matches),
            "  of several algorithms": len({match.algorithm.name for match in right.matches}) > 1,
        }
        self.answers.update(name for name, holds in facts.items() if holds)


def _difference(answer: object, right: object) -> str:
    """Say briefly how an answer differs."""
    if isinstance(answer, MatchResult) and isinstance(right, MatchResult):
        pairs = zip(answer.matches, right.matches, strict=False)
        first = next((i for i, (a, b) in enumerate(pairs) if a != b), "the end")
        sizes = f"{len(answer.matches)} matches, not {len(right.matches)}"
        flags = f"truncated {answer.truncated}, not {right.truncated}"
        return f"{sizes}; {flags}; first difference at {first}"
    return f"{str(answer)[:300]} is not {str(right)[:300]}"
