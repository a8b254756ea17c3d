"""Configuration: precedence, and errors that name the source of a value."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from featsvc.config import Config, load_config
from featsvc.errors import ConfigInvalid
from tests.photographs import ROOT


def test_defaults() -> None:
    config = load_config(environ={})
    assert config.server.listen == "127.0.0.1:50051"
    assert config.redis.url == "embedded"
    assert config.banks_url.endswith("/data/banks.db")


def test_file_then_environment_then_options(tmp_path: Path) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_text(
        '[server]\nlisten = "a:1"\nthreads = 3\nmax_queue = 7\n[media]\nmax_pixels = 5\n'
    )
    config = load_config(
        file,
        environ={"FEATSVC_SERVER_LISTEN": "b:2", "FEATSVC_SERVER_THREADS": "4"},
        overrides={"server.listen": "c:3", "redis.url": None},
    )
    assert (config.server.listen, config.server.threads, config.server.max_queue) == ("c:3", 4, 7)
    assert config.media.max_pixels == 5


def test_the_file_may_come_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_text('data_dir = "elsewhere"')
    assert load_config(environ={"FEATSVC_CONFIG": str(file)}).data_dir == "elsewhere"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nlisten_on = 'x'", "listen_on"),
        ("[sever]\nlisten = 'x'", "sever"),
        ("[server]\nthreads = 'many'", "server.threads"),
        ("[server]\nthreads = -1", "server.threads"),
        ("[redis]\ntimeout_ms = 0", "redis.timeout_ms"),
        ("[server", "cannot be read"),
        ("[server]\nlisten = 'localhost'", "listen must be HOST:PORT"),
        ("[metrics]\nlisten = 'localhost:65536'", "listen must be HOST:PORT"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_text(text)
    with pytest.raises(ConfigInvalid) as caught:
        load_config(file, environ={})
    assert str(file) in str(caught.value)
    assert message in str(caught.value)


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    with pytest.raises(ConfigInvalid, match="No such file"):
        load_config(tmp_path / "none.toml", environ={})


@pytest.mark.parametrize(
    ("variable", "text"), [("FEATSVC_SERVER_THREADS", "x"), ("FEATSVC_REDIS_ULR", "redis://h")]
)
def test_a_wrong_variable_is_named(variable: str, text: str) -> None:
    with pytest.raises(ConfigInvalid, match=variable):
        load_config(environ={variable: text})


def test_other_variables_are_ignored() -> None:
    """Kubernetes sets these for a service called featsvc."""
    others = {"FEATSVC_SERVICE_HOST": "10.0.0.1", "FEATSVC_PORT": "tcp://10.0.0.1:50051"}
    assert load_config(environ=others) == load_config(environ={})


def test_the_example_has_every_key_with_its_default() -> None:
    example = tomllib.loads((ROOT / "featsvc.example.toml").read_text())
    assert example == msgspec.to_builtins(Config())
