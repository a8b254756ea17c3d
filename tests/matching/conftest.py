"""The stores of the bank tests."""

from tests.banks.conftest import bank, postgres, store, store_url

__all__ = ["bank", "postgres", "store", "store_url"]
