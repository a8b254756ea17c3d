"""Settings that cannot work together, and files that are not there."""

from pathlib import Path

import pytest

from featsvc.config import load_config
from featsvc.errors import ConfigInvalid


def ports(server: str, metrics: str, workers: int = 1) -> str:
    """What is wrong with these ports; empty if nothing is."""
    overrides = {"server.listen": server, "metrics.listen": metrics, "server.workers": workers}
    try:
        load_config(environ={}, overrides=overrides)
    except ConfigInvalid as exc:
        return str(exc)
    return ""


@pytest.mark.parametrize("workers", [1, 2, 3])
@pytest.mark.parametrize(
    ("server_host", "metrics_host", "apart"),
    [
        ("127.0.0.1", "127.0.0.1", False),
        ("localhost", "127.0.0.1", False),
        ("0.0.0.0", "127.0.0.1", False),  # noqa: S104 - nothing binds it
        ("127.0.0.1", "[::]", False),
        ("[::1]", "[0::1]", False),
        ("name", "other", False),
        ("127.0.0.1", "127.0.0.2", True),
        ("127.0.0.1", "[::1]", True),
    ],
)
def test_metrics_never_take_the_port_of_the_server(
    server_host: str, metrics_host: str, apart: bool, workers: int
) -> None:
    for first in range(95, 106):
        told = ports(f"{server_host}:100", f"{metrics_host}:{first}", workers)
        taken = 100 in range(first, first + workers) and not apart
        assert bool(told) == taken
        if told:
            assert "--listen: metrics.listen" in told
            assert "--listen: server.listen" in told


def test_every_worker_has_a_port_for_its_metrics() -> None:
    assert ports("h:1", "h:65533", workers=3) == ""
    assert "needs ports 65534 to 65536 for 3 workers" in ports("h:1", "h:65534", workers=3)


def test_a_port_that_the_system_chooses_takes_none() -> None:
    assert ports("h:0", "h:9090") == ""


def refusal(**overrides: str) -> str:
    keys = {name.replace("__", "."): value for name, value in overrides.items()}
    with pytest.raises(ConfigInvalid) as caught:
        load_config(environ={}, overrides=keys)
    return str(caught.value)


def test_folders_and_files(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert f"{file}, which is not a folder" in refusal(data_dir=str(file))
    assert f"{file}, which is not a folder" in refusal(data_dir=str(file / "below"))
    assert f"{file}, which is not a folder" in refusal(banks__url=f"sqlite:///{file}/banks.db")
    assert "names a folder" in refusal(banks__url=f"sqlite:///{tmp_path}")
    assert f"there is no file {tmp_path}" in refusal(features__file=str(tmp_path))
    assert f"there is no file {file}2" in refusal(embed__models_file=f"{file}2")
    dangling = tmp_path / "link"
    dangling.symlink_to(tmp_path / "none")
    assert f"{dangling}, which is not a folder" in refusal(data_dir=str(dangling))
    right = {
        "data_dir": str(tmp_path / "new" / "folder"),
        "features.file": str(file),
        "embed.models_file": str(file),
        "banks.url": f"sqlite:///{file}",
    }
    assert load_config(environ={}, overrides=right).data_dir == right["data_dir"]


def test_a_file_called_data_is_in_nobodys_way(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`featsvc hash` reads the limits of the configuration in any folder."""
    (tmp_path / "data").write_text("")
    monkeypatch.chdir(tmp_path)
    assert load_config(environ={}).data_dir == "data"


def test_only_the_value_in_force_must_be_there(tmp_path: Path) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_text('[features]\nfile = "/none.toml"\n')
    definitions = tmp_path / "features.toml"
    definitions.write_text("")
    with pytest.raises(ConfigInvalid, match=r"features\.file: there is no file /none\.toml"):
        load_config(file, environ={})
    assert load_config(file, environ={"FEATSVC_FEATURES_FILE": str(definitions)})
