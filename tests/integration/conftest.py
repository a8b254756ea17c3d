from collections.abc import Iterator
from pathlib import Path

import pytest
from featsvc_client import Client

from tests.integration.running import Running, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all tests that do not break it; each uses banks and accounts of its own."""
    with running(tmp_path_factory.mktemp("serve")) as service:
        yield service
        assert service.process.poll() is None, "the service died"
        assert "incident" not in service.log


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"
