"""Pixels and bytes to signals."""
