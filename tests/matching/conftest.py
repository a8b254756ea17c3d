"""The stores of the bank tests."""

from tests.banks.conftest import postgres, store, store_url

__all__ = ["postgres", "store", "store_url"]
