"""What is deployed: the build context, compose.yaml, and the Kubernetes example of the docs."""

import re
import sqlite3
from contextlib import closing
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
import yaml
from alembic.script import ScriptDirectory
from sqlalchemy import make_url

from featsvc import app
from featsvc.accounts.topology import open_client
from featsvc.banks.sql import migrations
from featsvc.banks.store import BankStore
from featsvc.config import Config, load_config
from featsvc.errors import DataCorrupt
from featsvc.matching import segments
from tests.photographs import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((ROOT / "compose.yaml").read_text())
SERVICE = COMPOSE["services"]["featsvc"]
# From the context, not from another stage.
COPIED = [
    source
    for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE)
    for source in line.split()[:-1]
]
IGNORED = [
    line
    for line in (ROOT / ".dockerignore").read_text().splitlines()
    if line and not line.startswith("#")
]


def is_ignored(path: str) -> bool:
    """Return whether a path stays out of the context: the last line that matches it decides.

    Covers the forms that the file uses: names at the top, and `**/NAME` at any depth.
    """
    ignored = False
    parts = PurePosixPath(path).parts
    for line in IGNORED:
        pattern = line.removeprefix("!")
        if pattern.startswith("**/"):
            matches = any(fnmatchcase(part, pattern.removeprefix("**/")) for part in parts)
        else:
            assert "/" not in pattern, f"is_ignored does not know the form of {line!r}"
            matches = fnmatchcase(parts[0], pattern)
        if matches:
            ignored = not line.startswith("!")
    return ignored


@pytest.mark.parametrize("source", COPIED)
def test_what_the_dockerfile_copies_is_in_the_context(source: str) -> None:
    assert (ROOT / source).exists()
    assert not is_ignored(source)
    for path in (ROOT / source).rglob("*"):
        if not {"__pycache__"} & {*path.parts}:
            assert not is_ignored(str(path.relative_to(ROOT))), path


@pytest.mark.parametrize(
    "path",
    [
        *(".git/HEAD", ".venv/bin/python", "data/banks.db", "build/x", "dist/x.whl", ".env"),
        *("tests/conftest.py", "a-new-thing", "featsvc/__pycache__/errors.cpython-311.pyc"),
        *("backup/banks.db", ".hypothesis/x", "client/featsvc_client.egg-info/PKG-INFO"),
    ],
)
def test_everything_else_stays_out(path: str) -> None:
    assert is_ignored(path)


def test_the_context_holds_only_what_is_copied() -> None:
    allowed = {line.removeprefix("!") for line in IGNORED if line.startswith("!")}
    assert IGNORED[0] == "*"
    assert allowed == {PurePosixPath(source).parts[0] for source in COPIED}


def interpolated(environment: dict[str, str], password: str) -> dict[str, str]:
    """Return the environment of a container, as compose sets it."""
    variable = re.compile(r"\$\{(\w+):\?[^}]*\}")
    return {
        name: variable.sub(lambda found: {"POSTGRES_PASSWORD": password}[found[1]], text)
        for name, text in environment.items()
    }


@pytest.fixture(params=["plain", "@:/?#%[]&=+ $'\"\\", "ü€"])
def configured(request: pytest.FixtureRequest) -> tuple[Config, dict[str, str]]:
    """The configuration of the container, in which the image has set some variables."""
    image = dict(re.findall(r"(FEATSVC_\w+)=(\S+)", DOCKERFILE))
    environ = image | interpolated(SERVICE["environment"], request.param)
    assert environ["PGPASSWORD"] == request.param
    return load_config(environ=environ), environ


def test_the_variables_of_compose_are_the_configuration(
    configured: tuple[Config, dict[str, str]],
) -> None:
    config, environ = configured
    assert config.data_dir == "/data"
    BankStore(config.banks.url).close()
    open_client(config.redis.url)
    url = make_url(config.banks.url)
    assert url.password is None, "PGPASSWORD may have any characters"
    postgres = interpolated(COMPOSE["services"]["postgres"]["environment"], environ["PGPASSWORD"])
    assert (url.username, url.database, environ["PGPASSWORD"]) == (
        postgres["POSTGRES_USER"],
        postgres["POSTGRES_DB"],
        postgres["POSTGRES_PASSWORD"],
    )
    hosts = {url.host, config.redis.url.partition("//")[2].partition(":")[0]}
    assert hosts == {*SERVICE["depends_on"]}


def test_no_variable_is_part_of_a_url() -> None:
    texts = [
        text for service in COMPOSE["services"].values() for text in _texts(service) if "$" in text
    ]
    assert texts
    assert [text for text in texts if not re.fullmatch(r"\$\{\w+:\?[^}]*\}", text)] == []


def _texts(node: Any) -> list[str]:
    if isinstance(node, dict):
        node = list(node.values())
    return (
        [text for item in node for text in _texts(item)] if isinstance(node, list) else [str(node)]
    )


def test_ports_are_published_on_loopback_and_are_those_that_listen(
    configured: tuple[Config, dict[str, str]],
) -> None:
    config, _ = configured
    listening = {
        address.rpartition(":")[2] for address in (config.server.listen, config.metrics.listen)
    }
    published = set()
    for service in COMPOSE["services"].values():
        for port in service.get("ports", ()):
            host, _, inner = port.rsplit(":", 2)
            assert host == "127.0.0.1", "there is no TLS and no authentication"
            published.add(inner)
    assert published == listening
    assert config.server.listen.startswith(config.metrics.listen.rpartition(":")[0]), (
        "all addresses"
    )


@pytest.mark.parametrize("name", COMPOSE["services"])
def test_a_service_comes_back_and_is_checked(name: str) -> None:
    service = COMPOSE["services"][name]
    assert service["restart"] == "unless-stopped"
    assert "healthcheck" in service or ("build" in service and "HEALTHCHECK" in DOCKERFILE)
    for volume in service["volumes"]:
        assert volume.partition(":")[0] in COMPOSE["volumes"]
    assert service.get("build") == "." or re.fullmatch(r"[\w/]+:\d[\w.-]*", service["image"])


def test_the_store_of_account_features_keeps_what_it_has() -> None:
    words = COMPOSE["services"]["valkey"]["command"]
    options = dict(zip(words[1::2], words[2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--maxmemory-policy"] == "noeviction"


def stop_s() -> float:
    """The longest that a stop takes: the grace period, the closing of the stores, the indexer."""
    return Config().server.grace_period_s + app._WORKER_CLOSE_S + app._INDEXER_STOP_S


def test_nothing_is_killed_while_it_stops_in_order() -> None:
    assert float(SERVICE["stop_grace_period"].removesuffix("s")) > stop_s()


@pytest.fixture(scope="module")
def pod() -> dict[str, Any]:
    """The pod of the docs."""
    (text,) = re.findall(
        r"^```yaml\n(.*?)^```",
        (ROOT / "docs" / "operations.md").read_text(),
        re.MULTILINE | re.DOTALL,
    )
    spec: dict[str, Any] = yaml.safe_load(text)["spec"]
    return spec


def test_the_pod_is_configured_and_probed_where_it_listens(pod: dict[str, Any]) -> None:
    (container,) = pod["containers"]
    secrets = {
        "postgres-password": "any @:/?# characters",
        "redis-url": "redis://:a%40b@redis:6379/0",
    }
    given = {
        v["name"]: v.get("value") or secrets[v["valueFrom"]["secretKeyRef"]["key"]]
        for v in container["env"]
    }
    config = load_config(environ=dict(re.findall(r"(FEATSVC_\w+)=(\S+)", DOCKERFILE)) | given)
    assert make_url(config.banks.url).password is None
    assert "PGPASSWORD" in given
    open_client(config.redis.url)
    ports = {p["name"]: p["containerPort"] for p in container["ports"]}
    assert config.server.listen == f"0.0.0.0:{ports['grpc']}"
    assert config.metrics.listen == f"0.0.0.0:{ports['metrics']}"
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        (way,) = {"grpc", "tcpSocket"} & container[probe].keys()
        assert container[probe][way] == {"port": ports["grpc"]}
    assert container["readinessProbe"]["grpc"]
    (mount,) = container["volumeMounts"]
    assert mount["mountPath"] == config.data_dir
    assert [volume["name"] for volume in pod["volumes"]] == [mount["name"]]
    assert pod["terminationGracePeriodSeconds"] > stop_s()
    (uid,) = re.findall(r"--uid (\d+)", DOCKERFILE)
    assert {*pod["securityContext"].values()} == {int(uid)}


UPGRADING = (ROOT / "docs" / "upgrading.md").read_text()


def test_every_schema_and_the_format_of_segments_are_documented() -> None:
    scripts = ScriptDirectory(f"{migrations.__path__[0]}")
    revisions = [script.revision for script in scripts.walk_revisions()]
    assert re.findall(r"^\| `(\d{4})` \|", UPGRADING, re.MULTILINE) == sorted(revisions)
    assert f"| schema of the bank store | `{migrations.HEAD}` |" in UPGRADING
    assert f"| segments | {segments.FORMAT} |" in UPGRADING


def test_the_refusal_of_a_newer_schema_is_documented(tmp_path: Path) -> None:
    (message,) = re.findall(r"```text\nError: (.*)\n```", UPGRADING)
    url = f"sqlite:///{tmp_path / 'banks.db'}"
    with closing(BankStore(url)) as store:
        store.head()
    with closing(sqlite3.connect(tmp_path / "banks.db")) as raw, raw:
        raw.execute("UPDATE alembic_version SET version_num = '0099'")
    with closing(BankStore(url)) as store, pytest.raises(DataCorrupt) as caught:
        store.head()
    assert str(caught.value) == message
