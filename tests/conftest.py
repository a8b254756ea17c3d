"""Limits no test of Hypothesis in time, since a busy machine is not a fault; marks slow tests."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from featsvc.cli.kernels import prepare_kernels

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")

INTEGRATION = Path(__file__).with_name("integration")
LONG = (INTEGRATION, INTEGRATION.parent)
"""Folders of tests that start services, or compile."""


def pytest_sessionstart() -> None:
    """Compile kernels once, on all cores, and say so; tests would compile them one by one."""
    prepare_kernels("serve")


@pytest.hookimpl(tryfirst=True)  # before `-m "not slow"` chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what starts a service or PostgreSQL as slow; other tests are marked one by one.

    Files that take long come first: no worker of xdist is left with one at the end.
    """
    items.sort(key=lambda item: item.path.parent not in LONG)
    for item in items:
        names = {*getattr(item, "fixturenames", ())}
        if hasattr(item, "callspec"):
            names |= {name for name in item.callspec.params.values() if isinstance(name, str)}
        if item.path.is_relative_to(INTEGRATION) or names & {"postgres", "postgresql"}:
            item.add_marker(pytest.mark.slow)
