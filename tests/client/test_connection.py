"""TLS and token against a real TLS server; the environment; what is refused, and how."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
import trustme
from featsvc_client import AsyncClient, Client, ServiceError, TlsOptions
from featsvc_client.connection import channel_options, is_local
from hypothesis import given
from hypothesis import strategies as st

from tests.client.scripted import FLAVOURS, Scripted, ask, scripted

both = pytest.mark.parametrize("flavour", FLAVOURS)
CALL = "matching.Match"


class Files:
    """PEM files of an authority, and of a client that it certifies."""

    def __init__(self, folder: Path) -> None:
        self.authority = trustme.CA()
        self.ca_file = folder / "ca.pem"
        self.certificate_file = folder / "client.pem"
        self.key_file = folder / "client.key"
        self.authority.cert_pem.write_to_path(self.ca_file)
        client = self.authority.issue_cert("client.test")
        client.cert_chain_pems[0].write_to_path(self.certificate_file)
        client.private_key_pem.write_to_path(self.key_file)

    @property
    def mutual(self) -> TlsOptions:
        return TlsOptions(self.ca_file, self.certificate_file, self.key_file)

    def server(self, *, asks_client: bool) -> grpc.ServerCredentials:
        certificate = self.authority.issue_cert("127.0.0.1")
        return grpc.ssl_server_credentials(
            [(certificate.private_key_pem.bytes(), certificate.cert_chain_pems[0].bytes())],
            self.authority.cert_pem.bytes() if asks_client else None,
            asks_client,
        )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    return Files(tmp_path_factory.mktemp("tls"))


@pytest.fixture(scope="module")
def secure(files: Files) -> Iterator[Scripted]:
    with scripted(files.server(asks_client=False)) as server:
        yield server


@pytest.fixture(scope="module")
def mutual(files: Files) -> Iterator[Scripted]:
    with scripted(files.server(asks_client=True)) as server:
        yield server


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("FEATSVC_")]:
        monkeypatch.delenv(name)


def refused(flavour: str, server: Scripted, **options: Any) -> bool:
    """Whether no call arrives."""
    server.seen.clear()
    with pytest.raises(ServiceError) as caught:
        ask(flavour, server.address, CALL, max_attempts=1, **options)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
    return not server.seen


@both
def test_tls_and_token(files: Files, secure: Scripted, flavour: str) -> None:
    secure.seen.clear()
    ask(flavour, secure.address, CALL, tls=TlsOptions(files.ca_file), token="secret\n")  # noqa: S106
    assert secure.seen[0].metadata["authorization"] == "Bearer secret"
    assert refused(flavour, secure)
    assert refused(flavour, secure, tls=True), "of an authority that nobody knows"


@both
def test_a_certificate_of_the_client(files: Files, mutual: Scripted, flavour: str) -> None:
    ask(flavour, mutual.address, CALL, tls=files.mutual)
    assert refused(flavour, mutual, tls=TlsOptions(files.ca_file))


@both
def test_the_environment_stands_for_every_argument(
    files: Files, mutual: Scripted, flavour: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FEATSVC_SERVER", mutual.address)
    monkeypatch.setenv("FEATSVC_TOKEN", "from-the-environment")
    monkeypatch.setenv("FEATSVC_TLS_CA_FILE", str(files.ca_file))
    monkeypatch.setenv("FEATSVC_TLS_CERTIFICATE_FILE", str(files.certificate_file))
    monkeypatch.setenv("FEATSVC_TLS_KEY_FILE", str(files.key_file))
    mutual.seen.clear()
    ask(flavour, "", CALL)
    assert mutual.seen[0].metadata["authorization"] == "Bearer from-the-environment"
    assert refused(flavour, mutual, tls=False), "an argument goes first"
    ask(flavour, "", CALL, token="mine")  # noqa: S106
    assert mutual.seen[-1].metadata["authorization"] == "Bearer mine"


@both
@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (
            {"tls": TlsOptions("no/such.pem")},
            r"tls.ca_file \(FEATSVC_TLS_CA_FILE\): cannot read no/such.pem: No such",
        ),
        ({"tls": TlsOptions(__file__)}, "tls.ca_file .*: .* is not PEM"),
        (
            {"tls": TlsOptions(certificate_file="c")},
            r"tls.key_file \(FEATSVC_TLS_KEY_FILE\): missing",
        ),
        ({"tls": TlsOptions(key_file="k")}, "tls.certificate_file .*: missing"),
        (
            {"token": "s", "target": "example.invalid:1"},
            r"token \(FEATSVC_TOKEN\): without TLS .*example.invalid:1",
        ),
        ({"token": "two words"}, "^token .*: empty, or not printable ASCII without blanks$"),
        ({"token": "ключ"}, "^token "),
        ({"token": " "}, "^token .*: empty"),
        ({"timeout_s": 0}, "timeout_s: 0 "),
        ({"bank_timeout_s": -1}, "bank_timeout_s: -1 "),
        ({"max_attempts": 0}, "max_attempts: 0 "),
    ],
)
def test_a_wrong_argument_is_refused_by_name(
    flavour: str, arguments: dict[str, Any], problem: str
) -> None:
    kind = {"blocking": Client, "asyncio": AsyncClient}[flavour]
    with pytest.raises(ValueError, match=problem):
        kind(**arguments)


HOSTS = ["localhost", "127.0.0.1", "127.8.9.10", "::1"]
FAR = ["10.0.0.1", "example.com", "localhost.example.com", "127.0.0.1.nip.io", "::2", "8.8.8.8", ""]


@given(
    st.sampled_from([(host, True) for host in HOSTS] + [(host, False) for host in FAR]),
    st.sampled_from(["", ":1", ":50051"]),
    st.sampled_from(["", "dns:", "dns:///", "dns://8.8.8.8/", "ipv4:", "ipv6:"]),
)
def test_a_token_crosses_no_network_in_the_clear(
    host: tuple[str, bool], port: str, scheme: str
) -> None:
    name, local = host
    target = scheme + (f"[{name}]" if ":" in name else name) + port
    assert is_local(target) == local


def test_sockets_are_local_and_lists_are_not() -> None:
    assert is_local("unix:/run/featsvc.sock")
    assert is_local("unix-abstract:featsvc")
    assert not is_local("ipv4:127.0.0.1:1,10.0.0.1:1")
    assert not is_local("dns:///10.0.0.1:1#localhost")


def test_options_of_the_caller_go_before_ours() -> None:
    options = dict(channel_options([("grpc.keepalive_time_ms", 60_000), ("grpc.lb", "x")]))
    assert (options["grpc.keepalive_time_ms"], options["grpc.lb"]) == (60_000, "x")
    assert options["grpc.max_send_message_length"] == -1
    # The server ends a connection with more than a ping in 10 s (featsvc/service/server.py).
    assert dict(channel_options(()))["grpc.keepalive_time_ms"] > 10_000


def test_options_reach_the_channel() -> None:
    with scripted() as server:
        ask("blocking", server.address, CALL, options=[("grpc.primary_user_agent", "moderator/1")])
        assert server.seen[0].metadata["user-agent"].startswith("moderator/1 ")
