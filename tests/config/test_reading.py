"""The three sources: precedence, and errors that name the source of a value."""

import tomllib
from pathlib import Path

import msgspec
import pytest

from featsvc.config import DEFAULTS, Config, check_variables, load_config, read_config
from featsvc.errors import ConfigInvalid
from tests.photographs import ROOT


def refusal(file: Path | None = None, **sources: object) -> str:
    """The text of the error that the sources must raise."""
    with pytest.raises(ConfigInvalid) as caught:
        load_config(file, **{"environ": {}, **sources})  # type: ignore[arg-type]
    return str(caught.value)


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
    configured = read_config(
        file,
        environ={"FEATSVC_SERVER_LISTEN": "b:2", "FEATSVC_SERVER_THREADS": "4"},
        overrides={"server.listen": "c:3", "redis.url": None},
    )
    config = configured.config
    assert (config.server.listen, config.server.threads, config.server.max_queue) == ("c:3", 4, 7)
    assert config.media.max_pixels == 5
    assert configured.origins == {
        "server.listen": "--listen",
        "server.threads": "FEATSVC_SERVER_THREADS",
        "server.max_queue": str(file),
        "media.max_pixels": str(file),
    }


def test_the_file_may_come_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_text('data_dir = "elsewhere"')
    assert load_config(environ={"FEATSVC_CONFIG": str(file)}).data_dir == "elsewhere"
    assert "FEATSVC_CONFIG: is set, but empty" in refusal(environ={"FEATSVC_CONFIG": ""})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nlisten_on = 'x'", "server.listen_on: no such key; did you mean server.listen?"),
        ("[sever]\nlisten = 'x'", "[sever]: no such section; did you mean server?"),
        ("[banks]\nurls = 'x'", "did you mean banks.url?"),
        ("[server]\ntimeout_ms = 3", "did you mean redis.timeout_ms?"),
        ("listen = 'localhost:1'", "listen: no such key; did you mean server.listen?"),
        ("datadir = 'x'", "did you mean data_dir?"),
        ("[server.listen]\nport = 3", "server.listen must be a text"),
        ("server = 3", "server is a section; write [server]"),
        ("[[server]]\nthreads = 1", "server is a section; write [server]"),
        ("[server]\nthreads = 1\nthreads = 1", "cannot be read"),
        ("[server]\nthreads = 1\n[server]\n", "cannot be read"),
        ("[server]\nthreads = 'many'", "server.threads must be a whole number from 0 to 256"),
        ("[server]\nthreads = '4'", "server.threads must be a whole number"),
        ("[embed]\nmax_latency_ms = 0", "embed.max_latency_ms must be a number above 0"),
        ("[banks]\nindexer = 'true'", "banks.indexer must be true or false"),
        ("[server", "cannot be read"),
        ("[server]\nlisten = 'localhost'", "server.listen must be HOST:PORT"),
        ("[metrics]\nlisten = 'localhost:65536'", "metrics.listen must be HOST:PORT"),
    ],
)
def test_a_wrong_file_is_named_with_its_key(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_text(text)
    told = refusal(file)
    assert str(file) in told
    assert message in told


def test_a_missing_file_is_reported(tmp_path: Path) -> None:
    assert "No such file" in refusal(tmp_path / "none.toml")


def test_a_file_that_is_no_text_is_reported(tmp_path: Path) -> None:
    (tmp_path / "featsvc.toml").write_bytes(b"\xff\xfe")
    assert "cannot be read" in refusal(tmp_path / "featsvc.toml")
    assert "cannot be read" in refusal(tmp_path)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_text("[server]\nworkers = 0\nlisten_on = 'x'\n")
    environ = {"FEATSVC_BANK_URL": "x", "FEATSVC_REDIS_URL": "http://x"}
    told = refusal(file, environ=environ, overrides={"features.file": "/none"})
    assert told.startswith("5 settings are wrong")
    for part in (
        f"\n  {file}: server.workers must be",
        f"\n  {file}: server.listen_on: no such key",
        "\n  FEATSVC_BANK_URL: no such setting; did you mean FEATSVC_BANKS_URL?",
        "\n  FEATSVC_REDIS_URL: redis.url must begin with",
        "\n  --features: features.file: there is no file /none",
    ):
        assert part in told


def test_a_wrong_value_that_a_later_source_replaces_is_still_wrong() -> None:
    environ = {"FEATSVC_SERVER_WORKERS": "0"}
    assert "FEATSVC_SERVER_WORKERS" in refusal(environ=environ, overrides={"server.workers": 2})


def test_a_command_without_settings_refuses_names_too() -> None:
    check_variables({"FEATSVC_SERVER": "h:1", "FEATSVC_SERVER_WORKERS": "x", "HOME": "/"})
    for name in ("FEATSVC_SERVER", "FEATSVC_TOKEN", "FEATSVC_TLS_CA_FILE"):
        with pytest.raises(ConfigInvalid, match=f"{name}: is set, but empty"):
            check_variables({name: ""})
    with pytest.raises(ConfigInvalid, match="did you mean FEATSVC_SERVER"):
        check_variables({"FEATSVC_SERVR": "h:1"})


def test_the_example_has_every_key_with_its_default(tmp_path: Path) -> None:
    path = ROOT / "featsvc.example.toml"
    assert tomllib.loads(path.read_text()) == msgspec.to_builtins(Config())
    assert load_config(path, environ={}) == Config() == load_config(environ={})
    assert set(read_config(path, environ={}).origins) == set(DEFAULTS)
