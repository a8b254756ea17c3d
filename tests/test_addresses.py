"""Addresses: what is accepted works for the libraries that get it; no password is ever shown."""

import ipaddress
import socket
from collections.abc import Callable
from urllib.parse import quote

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from featsvc.accounts.topology import open_client
from featsvc.addresses import (
    check_target,
    parse_database_url,
    parse_redis_url,
    shown_database_url,
    split_address,
)
from featsvc.banks.store import BankStore

ADDRESS_CHARS = "ab1.:[]-_/@ \t\n%٣"
HOSTS = st.one_of(
    st.sampled_from(["localhost", "a", "db-1.example.org", "some_service", "xn--strae-oqa.de"]),
    st.ip_addresses(v=4).map(str),
    st.ip_addresses(v=6).map("[{}]".format),
)
PORTS = st.integers(1, 65535)
# Of its own alphabet, so that a message cannot hold it by accident.
SECRETS = st.text("XZ@:/?#%[]&=+ ;ß", min_size=3, max_size=12).map("QJ{}".format)


@given(HOSTS, st.integers(0, 65535))
def test_an_address_is_split(host: str, port: int) -> None:
    assert split_address(f"{host}:{port}") == (host, port)
    assert check_target(f"{host}:{port or 1}") == f"{host}:{port or 1}"


@given(st.text(ADDRESS_CHARS, max_size=12))
@example("1.2.3:4")
@example("[::1]:")
def test_any_text_is_refused_or_an_address(text: str) -> None:
    try:
        host, port = split_address(text)
    except ValueError:
        return
    assert f"{host}:{port}".lower() == text.rpartition(":")[0].lower() + f":{port}"
    assert 0 <= port <= 65535
    if host.startswith("[") or not set(host) - set("0123456789."):
        ipaddress.ip_address(host.strip("[]"))
        socket.getaddrinfo(host.strip("[]"), port, flags=socket.AI_NUMERICHOST)


@pytest.mark.parametrize(
    "target",
    ["dns:///x:1", "dns:x", "unix:path", "unix:///a/b", "unix-abstract:a", "ipv4:1.2.3.4:5"],
)
def test_other_targets_of_grpc_are_legal(target: str) -> None:
    assert check_target(target) == target


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("localhost", "has no port; write localhost:50051"),
        ("10.0.0.1", "write 10.0.0.1:50051"),
        ("[::1]", "write [::1]:50051"),
        ("::1", "brackets"),
        ("http://localhost:50051", "is a web address"),
        ("https://u:QJXX@h", "is a web address"),
        ("localhost:0", "from 1 to 65535"),
        ("localhost:65536", "from 0 to 65535"),
        ("", "HOST:PORT"),
        (":50051", "the host is missing"),
        ("u:QJXX@h:1", "not a URL"),
    ],
)
def test_a_target_that_reaches_nothing_is_refused(target: str, message: str) -> None:
    with pytest.raises(ValueError, match=r"write|must|is a") as caught:
        check_target(target)
    assert message in str(caught.value)
    assert "QJXX" not in str(caught.value)


def logged(show: Callable[[str], str], url: str) -> str:
    """What is shown of a URL, or what a log would show of the error."""
    try:
        return show(url)
    except ValueError as exc:
        return f"{exc} {exc.__cause__} {'' if exc.__suppress_context__ else exc.__context__}"


@pytest.mark.slow
@settings(max_examples=30)
@given(SECRETS, HOSTS, PORTS)
def test_the_password_of_a_database_is_never_shown(secret: str, host: str, port: int) -> None:
    encoded = f"postgresql+psycopg://{quote(secret, safe='')}:{quote(secret, safe='')}"
    shown = shown_database_url(f"{encoded}@{host}:{port}/db?sslmode=require&password=QJ1")
    assert shown == f"postgresql+psycopg://{host}:{port}/db"
    assert parse_database_url(f"{encoded}@{host}/db").password == secret
    BankStore(f"{encoded}@{host}:{port}/db").close()
    for scheme in ("postgresql+psycopg", "postgresql", "postgres", "mysql", "sqlite", "redis"):
        wrong = f"{scheme}://u:{secret}@{host}:{port}/db"
        assert "QJ" not in logged(shown_database_url, wrong)


@pytest.mark.slow
@settings(max_examples=30)
@given(SECRETS, st.lists(HOSTS, min_size=1, max_size=3), PORTS)
def test_the_password_of_a_redis_is_never_shown(secret: str, hosts: list[str], port: int) -> None:
    encoded = f"{quote(secret, safe='')}:{quote(secret, safe='')}"
    one, several = f"{hosts[0]}:{port}", ",".join(f"{host}:{port}" for host in hosts)
    for url, shown in (
        (f"rediss://{encoded}@{one}/3", f"rediss://{one}/3"),
        (f"redis+cluster://{encoded}@{several}", f"redis+cluster://{several}"),
        (
            f"redis+sentinel://{encoded}@{several}/2?service=m&sentinel_password=QJ1",
            f"redis+sentinel://{several}/2",
        ),
        (f"unix://{encoded}@/run/x.sock", "unix:///run/x.sock"),
    ):
        parsed = parse_redis_url(url)
        assert parsed.shown() == shown
        assert parsed.servers[0]["password"] == secret
        open_client(url)
    for url in (
        f"redis://u:{secret}@{one}",
        f"redis://{secret}@{one}/x",
        f"redis://{one}/{secret}",
    ):
        assert "QJ" not in logged(lambda text: parse_redis_url(text).shown(), url)


def test_the_url_of_another_driver_names_the_right_one() -> None:
    with pytest.raises(ValueError, match=r"write|must|is a") as caught:
        parse_database_url("postgresql://me:QJXX@db:5432/featsvc?sslmode=require")
    assert "write postgresql+psycopg://USER:PASSWORD@db:5432/featsvc" in str(caught.value)
    with pytest.raises(ValueError, match=r"write postgresql\+psycopg://db/featsvc$"):
        parse_database_url("postgres://db/featsvc")
