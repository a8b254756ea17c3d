from collections.abc import Iterator
from pathlib import Path

import pytest
from featsvc_client import Client

from tests.embedding.onnx_files import models_file
from tests.integration.running import Running, running


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all tests that do not break it; each uses its own banks and accounts."""
    with running(tmp_path_factory.mktemp("serve")) as service:
        yield service
        service.check_healthy()


@pytest.fixture(scope="session")
def model_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service with the learned models of `models_file`; its banks are deleted after a test."""
    folder = tmp_path_factory.mktemp("models")
    environ = {"FEATSVC_EMBED_MODELS_FILE": str(models_file(folder))}
    with running(folder / "data", environ=environ) as service:
        yield service
        service.check_healthy()


@pytest.fixture
def client(server: Running) -> Iterator[Client]:
    with server.client() as client:
        yield client


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    return tmp_path / "data"
