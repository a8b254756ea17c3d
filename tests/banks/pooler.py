"""A real pgbouncer in front of the PostgreSQL server of a test run."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

import psycopg
import pytest
from sqlalchemy import make_url

from tests.patience import PATIENCE_S, until

PoolMode = Literal["session", "transaction", "statement"]

# Debian installs it where only the paths of administrators look.
PGBOUNCER = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin:/usr/local/sbin")
requires_pgbouncer = pytest.mark.skipif(
    PGBOUNCER is None, reason="needs pgbouncer: apt-get install pgbouncer"
)


@contextmanager
def pooler(
    url: str, pool_mode: PoolMode = "session", settings: Mapping[str, object] | None = None
) -> Iterator[str]:
    """Run pgbouncer before the database of a URL; yield the SQLAlchemy URL that goes through it.

    `url` is one of `PostgresServer.create_database`, whose host is a folder of a socket. `settings`
    are more lines of the section `[pgbouncer]`, such as `{"default_pool_size": 2}`.

    pgbouncer refuses to run as root; then it runs as the user that owns the server's folder.
    """
    assert PGBOUNCER is not None, "mark the test with requires_pgbouncer"
    parsed = make_url(url)
    server = str(parsed.query["host"])
    owner = Path(server).stat()
    folder = Path(tempfile.mkdtemp(prefix="featsvc-pgb-"))
    lines = {
        "pool_mode": pool_mode,
        "auth_type": "any",
        "listen_addr": "",
        "listen_port": 5432,  # names the socket
        "unix_socket_dir": folder,
        "logfile": folder / "log",
        "max_client_conn": 500,
        "default_pool_size": 50,
        **(settings or {}),
    }
    file = folder / "pgbouncer.ini"
    file.write_text(
        f"[databases]\n* = host={server} user={parsed.username}\n[pgbouncer]\n"
        + "".join(f"{name} = {value}\n" for name, value in lines.items())
    )
    user = owner.st_uid if os.geteuid() == 0 else None
    if user is not None:
        os.chown(folder, user, owner.st_gid)
    pooled = parsed.set(query={**parsed.query, "host": str(folder)})
    uri = pooled.set(drivername="postgresql").render_as_string(hide_password=False)
    process = subprocess.Popen([PGBOUNCER, "-q", str(file)], user=user)

    def answers() -> bool:
        assert process.poll() is None, (folder / "log").read_text()
        try:
            psycopg.connect(uri).close()
        except psycopg.OperationalError:
            return False
        return True

    try:
        until(answers, "pgbouncer did not start")
        yield pooled.render_as_string(hide_password=False)
    finally:
        process.terminate()
        process.wait(timeout=PATIENCE_S)
        shutil.rmtree(folder)
