"""Imported before any test: NumPy must find the settings that the service runs with."""

import featsvc  # noqa: F401
