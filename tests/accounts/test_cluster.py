"""Slots; the whole cluster is in tests/integration/test_topologies.py."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot as peer_key_slot

from featsvc.accounts.cluster import key_slot


@given(st.one_of(st.binary(max_size=40), st.text("{}ab", max_size=8).map(str.encode)))
def test_slots_are_those_of_redis_py(key: bytes) -> None:
    assert key_slot(key) == peer_key_slot(key)


@pytest.mark.parametrize(("key", "slot"), [(b"123456789", 0x31C3), (b"{a}b", 15495), (b"", 0)])
def test_slots_of_the_specification(key: bytes, slot: int) -> None:
    assert key_slot(key) == slot
