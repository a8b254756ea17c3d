import pytest

from tests.fuzz.in_process import fuzz
from tests.fuzz.served import one_service
from tests.fuzz.tally import Tally


@pytest.mark.slow
def test_a_few_answers_are_those_of_the_brute_force() -> None:
    """`make fuzz-matching` compares 100,000."""
    tally = Tally()
    fuzz(7, float("inf"), tally, rounds=iter(range(5)))
    assert tally.wrong == []
    for kind in ("match", "match_if_quick", "match_batch", "  truncated", "  suppressed"):
        assert tally.answers[kind] > 10, tally.answers


@pytest.mark.slow
def test_a_few_answers_of_a_service_are_those_of_the_brute_force() -> None:
    tally = Tally()
    one_service(7, 0, tally, steps=12)
    assert tally.wrong == []
    for kind in ("Match", "MatchBatch"):
        assert tally.answers[kind] > 10, tally.answers
