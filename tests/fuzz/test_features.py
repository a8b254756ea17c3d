import asyncio
from pathlib import Path

import pytest

from tests.accounts.clusters import running_cluster
from tests.accounts.stores import running_valkey
from tests.fuzz.features import KINDS, Found, Place, moving_slots, one_round


def play(place: Place, rounds: int) -> Found:
    found = Found()
    for number in range(rounds):
        asyncio.run(one_round(place, 7, number, found))
    return found


@pytest.mark.slow
def test_a_few_histories_of_each_kind(tmp_path: Path) -> None:
    """`python -m tests.fuzz.features` plays as many as there is time for."""
    with running_valkey(tmp_path) as url:
        found = play(Place(url, tmp_path), len(KINDS))
    assert (found.wrong, found.lost, found.doubled) == ([], 0, 0)
    for kind in KINDS:
        assert found.counts[f"rounds: {kind}"] == 1
    for name in ("APPLIED", "DUPLICATE", "BEYOND_HORIZON", "kills", "value NOT_RETAINED"):
        assert found.counts[name] > 0, name


@pytest.mark.slow
def test_a_few_histories_while_slots_move(tmp_path: Path) -> None:
    with running_cluster(tmp_path) as cluster:
        place = Place(cluster.url, tmp_path, cluster)
        moved = Found()
        with moving_slots(place, cluster, moved.counts):
            found = play(place, len(KINDS))
    assert (found.wrong, found.lost, found.doubled) == ([], 0, 0)
    assert moved.counts["slots moved"] > 0
