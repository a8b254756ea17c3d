import pytest

from tests.fuzz.served_media import fuzz


@pytest.mark.slow
def test_a_few_hostile_pictures_leave_a_service_as_it_was() -> None:
    """`python -m tests.fuzz.served_media` sends 20,000."""
    report = fuzz(200, seed=3, parts=1, side=2_500)
    assert report.findings == []
    assert sum(report.outcomes.values()) == 200
    assert report.outcomes["OUTCOME_CORRUPT_MEDIA"] > 100
    assert report.outcomes["OUTCOME_OK"] > 5
