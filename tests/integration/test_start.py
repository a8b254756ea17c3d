"""What people and probes see of a configuration: the lines of a start, refusals, `doctor`."""

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from featsvc.banks.store import BankStore
from tests.banks.lists import list_file
from tests.integration.running import Running, featsvc, free_ports, running
from tests.patience import PATIENCE_S, until
from tests.photographs import photograph

VERSION = featsvc("--version").stdout.split()[-1]


def filled_store(data_dir: Path, mode: str = "enforce") -> None:
    data_dir.mkdir(exist_ok=True)
    store = BankStore(f"sqlite:///{data_dir / 'banks.db'}")
    store.create_bank("known")
    store.import_entries("known", list_file(f"{1:064x},\n{2:064x},\n"))
    store.close()
    if mode != "enforce":
        with sqlite3.connect(data_dir / "banks.db") as raw:
            raw.execute("UPDATE banks SET mode = ?", (mode,))
        raw.close()


def block_of(service: Running) -> str:
    """The lines that follow the address."""
    assert service.process.stdout is not None
    lines = [service.process.stdout.readline()]
    while "revision" not in lines[-1]:
        lines.append(service.process.stdout.readline())
        assert lines[-1], "the block ended without the banks"
    return "".join(lines)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_start_says_what_is_served(data_dir: Path, workers: int) -> None:
    filled_store(data_dir)
    port = free_ports(workers)
    environ = {"FEATSVC_METRICS_LISTEN": f"127.0.0.1:{port}"}
    with running(data_dir, "--workers", str(workers), environ=environ) as service:
        block = block_of(service)
        service.check_healthy()
        assert "nothing" not in service.log
    assert all(line.startswith("  ") for line in block.splitlines())
    for text in (
        VERSION,
        f"{workers}, metrics: 127.0.0.1:{port}",
        f"embedded Valkey in {data_dir}/valkey",
        "windowed and",
        f"sqlite:///{data_dir}/banks.db",
        "1 bank (1 enforce, 0 shadow, 0 off), 2 entries, 2 signals",
    ):
        assert text in block


@pytest.mark.parametrize(
    ("mode", "told"),
    [("", "nothing can match: sqlite:"), ("shadow", "nothing is enforced"), ("off", "is off")],
)
def test_a_start_warns_of_a_service_that_matches_nothing(
    data_dir: Path, mode: str, told: str
) -> None:
    if mode:
        filled_store(data_dir, mode)
    with running(data_dir) as service:
        until(lambda: told in service.log)
        (line,) = [line for line in service.log.splitlines() if told in line]
        assert "WARNING featsvc.serve" in line
        if not mode:
            doctor = featsvc("doctor", "--server", service.address)
            assert (doctor.returncode, "nothing can match" in doctor.stdout) == (0, True)
    doctor = featsvc("doctor", environ={"FEATSVC_DATA_DIR": str(data_dir)})
    assert doctor.returncode == 0, doctor.stdout
    assert f"warn                 {line.partition('featsvc.serve: ')[2]}" in doctor.stdout


def test_a_reader_may_leave_after_the_first_line(data_dir: Path) -> None:
    with running(data_dir) as service:
        assert service.process.stdout is not None
        service.process.stdout.close()
        # Logged after the block was written.
        until(lambda: "nothing can match" in service.log)
        with service.client() as client:
            assert client.banks is not None
        assert featsvc("doctor", "--server", service.address).returncode == 0
        assert service.stop() == 0
        assert "Traceback" not in service.log
        assert "BrokenPipe" not in service.log


COMMANDS = {
    "serve": ("serve", "--listen", "127.0.0.1:0"),
    "hash": ("hash", str(photograph("rocket.jpg"))),
    "compare": ("compare", str(photograph("rocket.jpg")), str(photograph("rocket.jpg"))),
    "bank list": ("bank", "list", "--server", "127.0.0.1:1"),
    "features get": ("features", "get", "--entity", "account=a", "--server", "127.0.0.1:1"),
    "screen": ("screen", "--text", "x", "--account", "a", "--server", "127.0.0.1:1"),
}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_refuses_a_misspelt_variable(name: str, tmp_path: Path) -> None:
    environ = {"FEATSVC_BANK_URL": "postgresql+psycopg://u:hunter2@db/f"}
    result = featsvc(*COMMANDS[name], environ=environ | {"FEATSVC_DATA_DIR": str(tmp_path)})
    assert result.returncode == 1
    assert "FEATSVC_BANK_URL: no such setting; did you mean FEATSVC_BANKS_URL?" in result.stderr
    assert "Traceback" not in result.stderr
    assert "hunter2" not in result.stderr + result.stdout
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "environ", "told"),
    [
        (("bank", "list", "--server", "localhost"), {}, "--server has no port; write localhost:50"),
        (("bank", "list"), {"FEATSVC_SERVER": "h"}, "FEATSVC_SERVER has no port; write h:50051"),
        (("bank", "list"), {"FEATSVC_SERVER": ""}, "FEATSVC_SERVER: is set, but empty"),
        (("bank", "list", "--server", "h:1"), {"FEATSVC_TOKEN": ""}, "FEATSVC_TOKEN: is set, but"),
        (("doctor", "--server", "localhost"), {}, "--server has no port"),
        (("doctor", "--server", ""), {}, "--server must be HOST:PORT"),
        (("serve", "--redis", ""), {}, "--redis: redis.url is set, but empty"),
        (("serve", "--listen", "localhost"), {}, "--listen: server.listen must be HOST:PORT"),
        (("serve", "--features", "/none.toml"), {}, "--features: features.file: there is no file"),
        (("serve", "--data-dir", ""), {}, "--data-dir: data_dir is set, but empty"),
        (("serve",), {"FEATSVC_CONFIG": ""}, "FEATSVC_CONFIG: is set, but empty"),
    ],
)
def test_a_value_that_reaches_nothing_is_refused(
    arguments: tuple[str, ...], environ: dict[str, str], told: str
) -> None:
    result = featsvc(*arguments, environ=environ)
    assert result.returncode == 1
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_a_wrong_configuration_is_refused_before_kernels_compile(tmp_path: Path) -> None:
    environ = {"NUMBA_CACHE_DIR": str(tmp_path), "FEATSVC_SERVER_WORKERS": "0"}
    assert featsvc("serve", environ=environ).returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_no_variable_turns_doctor_into_a_probe(server: Running, tmp_path: Path) -> None:
    environ = {"FEATSVC_DATA_DIR": str(tmp_path)}
    plain = featsvc("doctor", environ=environ)
    with_server = featsvc("doctor", server=server.address, environ=environ)
    assert with_server.returncode == 0
    names = [line.split()[1] for line in with_server.stdout.splitlines() if line[0] != " "]
    assert names == [line.split()[1] for line in plain.stdout.splitlines() if line[0] != " "]
    assert {"kernels", "configuration", "banks"} <= {*names}


def test_doctor_names_settings_with_their_origins(tmp_path: Path) -> None:
    file = tmp_path / "featsvc.toml"
    file.write_text(f'data_dir = "{tmp_path}"\n[server]\nthreads = 3\n')
    url = "postgresql+psycopg://me:hunter2@127.0.0.1:1/featsvc"
    environ = {"FEATSVC_BANKS_URL": url, "FEATSVC_REDIS_TIMEOUT_MS": "999"}
    result = featsvc("doctor", "--config", str(file), environ=environ)
    assert result.returncode == 1  # nothing answers at the URL
    assert f"server.threads = 3 ({file})" in result.stdout
    assert "redis.timeout_ms = 999 (FEATSVC_REDIS_TIMEOUT_MS)" in result.stdout
    shown = "banks.url = postgresql+psycopg://127.0.0.1:1/featsvc (FEATSVC_BANKS_URL)"
    assert shown in result.stdout
    assert "hunter2" not in result.stdout + result.stderr
    (failed,) = [line for line in result.stdout.splitlines() if line.startswith("FAIL")]
    assert failed.startswith("FAIL  banks")


def test_doctor_names_all_that_is_wrong(tmp_path: Path) -> None:
    environ = {"FEATSVC_SERVER_WORKERS": "0", "FEATSVC_BANK_URL": "x", "FEATSVC_REDIS_URL": "h"}
    result = featsvc("doctor", environ=environ | {"FEATSVC_DATA_DIR": str(tmp_path)})
    assert result.returncode == 1
    for variable in environ:
        assert f"\n{' ' * 21}{variable}: " in result.stdout
    lines = [line.split() for line in result.stdout.splitlines() if line[0] != " "]
    marks = {line[1]: line[0] for line in lines}
    assert [name for name, mark in marks.items() if mark == "FAIL"] == ["configuration"]
    skipped = {name for name, mark in marks.items() if mark == "skip"}
    assert skipped == {"disk", "features", "models", "redis", "entities", "banks"}


def test_a_probe_loads_nothing_heavy(server: Running) -> None:
    """It runs every five seconds in a container, whose variables are those of the service."""
    program = (
        "import sys; from featsvc.cli.main import cli; "
        f"cli(['doctor', '--server', {server.address!r}], standalone_mode=False); "
        "print(sorted({'numpy', 'numba', 'sqlalchemy', 'redis', 'PIL'} & {*sys.modules}))"
    )
    environ = os.environ | {"FEATSVC_SERVER_LISTEN": "0.0.0.0:50051", "FEATSVC_DATA_DIR": "/data"}
    result = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        env=environ,
        check=True,
        timeout=PATIENCE_S,
    )
    assert result.stdout.startswith("ok    server")
    assert result.stdout.splitlines()[-1] == "[]"
