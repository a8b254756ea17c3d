"""The stores of the bank tests, and every way of handling hits."""

from collections.abc import Iterator
from unittest import mock

import pytest

from featsvc.matching import match_builder
from tests.banks.conftest import bank, postgres, store, store_url

__all__ = ["bank", "postgres", "store", "store_url"]


@pytest.fixture(
    scope="module",
    params=[(16, 512), (0, 512), (0, 0)],
    ids=["one by one", "in columns", "chosen in columns"],
)
def hit_handling(request: pytest.FixtureRequest) -> Iterator[None]:
    """Hits are handled one by one or in columns, with the same results."""
    few, many = request.param
    with mock.patch.multiple(match_builder, FEW=few, MANY=many):
        yield
