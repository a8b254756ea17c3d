from tests.fuzz.media import fuzz


def test_a_few_mutated_pictures() -> None:
    """`make fuzz` tries 20,000."""
    tally, findings = fuzz(400, seed=7)
    assert findings == []
    assert sum(tally.outcomes.values()) == 400
    assert tally.outcomes["OK"] + tally.outcomes["LOW_QUALITY"] > 20
    assert tally.outcomes["CORRUPT_MEDIA"] > 100
