"""The names of variables: each is a setting, one of the others, a service link, or refused."""

import re
import string
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from featsvc.config.keys import DEFAULTS
from featsvc.config.variables import (
    CLIENT,
    CONFIG_FILE,
    NOT_SETTINGS,
    PREFIX,
    is_one_edit,
    is_service_link,
    unknown_variables,
    variable_of,
)
from tests.photographs import ROOT

LETTERS = string.ascii_uppercase + string.digits + "_"
VARIABLES = {variable_of(key) for key in DEFAULTS}
KNOWN = sorted({*VARIABLES, *NOT_SETTINGS})


def edits(name: str) -> set[str]:
    """All names at edit distance 1, exchanged neighbours included."""
    cuts = [(name[:i], name[i:]) for i in range(len(name) + 1)]
    return {
        *(a + b[1:] for a, b in cuts if b),
        *(a + c + b for a, b in cuts for c in LETTERS),
        *(a + c + b[1:] for a, b in cuts if b for c in LETTERS),
        *(a + b[1] + b[0] + b[2:] for a, b in cuts if b[1:]),
    } - {name}


def refusals(names: set[str], value: str = "x") -> dict[str, str]:
    """The line of each refused name."""
    lines = unknown_variables(dict.fromkeys(names, value), DEFAULTS)
    return {line.partition(":")[0]: line for line in lines}


def check_edits(variable: str) -> None:
    names = edits(variable) - {*KNOWN}
    refused = refusals(names)
    # A name with another prefix and a digit may be another program's on purpose.
    foreign = {n for n in names if not n.startswith(PREFIX) and re.search("[0-9]", n)}
    assert names - refused.keys() == foreign
    for name, line in refused.items():
        (suggested,) = re.findall(r"did you mean (\w+)\?", line)
        assert is_one_edit(name, suggested), line


def test_a_misspelt_name_is_refused_with_the_one_that_was_meant() -> None:
    check_edits("FEATSVC_BANKS_URL")
    assert refusals({"FEATSVC_BANK_URL"}) == {
        "FEATSVC_BANK_URL": "FEATSVC_BANK_URL: no such setting; did you mean FEATSVC_BANKS_URL?"
    }


@pytest.mark.slow
@pytest.mark.parametrize("variable", KNOWN)
def test_every_misspelt_name_is_refused(variable: str) -> None:
    check_edits(variable)


@given(st.text(LETTERS, min_size=1, max_size=30), st.sampled_from(["", "x", "50051"]))
def test_any_other_name_is_refused(rest: str, value: str) -> None:
    name = PREFIX + rest
    refused = bool(refusals({name}, value))
    empty = name in {*CLIENT, CONFIG_FILE} and not value
    assert refused == (empty or (name not in KNOWN and not is_service_link(name, value)))


def test_names_in_lower_case_are_refused() -> None:
    for variable in KNOWN:
        assert variable in refusals({variable.lower()})[variable.lower()]


def links(service: str, ports: dict[str, int], protocol: str = "TCP") -> dict[str, str]:
    """What the kubelet sets for a service: kubernetes/pkg/kubelet/envvars/envvars.go."""
    name = service.upper().replace("-", "_")
    first = next(iter(ports.values()))
    url = f"{protocol.lower()}://10.96.0.7"
    environ = {
        f"{name}_SERVICE_HOST": "10.96.0.7",
        f"{name}_SERVICE_PORT": str(first),
        f"{name}_PORT": f"{url}:{first}",
    }
    for port_name, port in ports.items():
        if port_name:
            environ[f"{name}_SERVICE_PORT_{port_name.upper().replace('-', '_')}"] = str(port)
        prefix = f"{name}_PORT_{port}_{protocol}"
        environ[prefix] = f"{url}:{port}"
        environ[f"{prefix}_PROTO"] = protocol.lower()
        environ[f"{prefix}_PORT"] = str(port)
        environ[f"{prefix}_ADDR"] = "10.96.0.7"
    return environ


@pytest.mark.parametrize("protocol", ["TCP", "UDP", "SCTP"])
@pytest.mark.parametrize("ports", [{"": 50051}, {"grpc": 50051, "http-metrics": 9090}])
@pytest.mark.parametrize(
    "service", ["featsvc", "featsvc-redis", "featsvc-server", "featsvc-metrics", "featsvc-db-0"]
)
def test_service_links_are_no_settings(service: str, ports: dict[str, int], protocol: str) -> None:
    assert list(unknown_variables(links(service, ports, protocol), DEFAULTS)) == []


def test_only_what_kubernetes_sets_is_a_service_link() -> None:
    names = {
        "FEATSVC_SERVICE_LISTEN",
        "FEATSVC_SERVICE",
        "FEATSVC_PORTS",
        "FEATSVC_PORT_X",
        "FEATSVC_PORT_1_TCP_HOST",
        "FEATSVC_REDIS_HOST",
    }
    assert refusals(names, "tcp://10.0.0.1:1").keys() == names
    # People write the number of a port where Kubernetes writes a URL.
    assert refusals({"FEATSVC_PORT", "FEATSVC_SERVER_PORT"}, "50051").keys() == {
        "FEATSVC_PORT",
        "FEATSVC_SERVER_PORT",
    }


@pytest.mark.parametrize("variable", KNOWN)
def test_no_service_link_shadows_a_variable(variable: str) -> None:
    for value in ("10.0.0.1", "50051", "tcp://10.0.0.1:50051"):
        assert not is_service_link(variable, value)


def read_in_the_tree() -> Iterator[tuple[str, str]]:
    """The variables that our own programs, tests, benchmarks and pages set or read."""
    read = re.compile(r"environ(?:\.get\(|\[)\s*\"(FEATSVC_\w+)\"|envvar=\"(FEATSVC_\w+)\"")
    for folder in ("featsvc", "kernels", "client", "bench", "tests"):
        for path in (ROOT / folder).rglob("*.py"):
            for pair in read.findall(path.read_text()):
                yield str(path.relative_to(ROOT)), "".join(pair)
    pages = [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.toml")]
    for path in [*pages, ROOT / "Makefile", ROOT / "compose.yaml", ROOT / "Dockerfile"]:
        # Not those with a * or that are misspelt on purpose, after "not".
        for name in re.findall(r"(?<!not `)\b(FEATSVC_[A-Z_]*[A-Z])\b(?![*_])", path.read_text()):
            yield str(path.relative_to(ROOT)), name


def test_every_variable_of_the_project_is_known() -> None:
    found = list(read_in_the_tree())
    example = {"FEATSVC_S_K"}
    others = {(place, n) for place, n in found if n not in KNOWN and n not in example}
    links_named = {(p, n) for p, n in others if is_service_link(n, "tcp://h:1")}
    assert others - links_named == set(), "make them settings, or list them in NOT_SETTINGS"
    unread = {*NOT_SETTINGS} - {name for _, name in found} - {n for n in NOT_SETTINGS if "_T" in n}
    assert unread == set(), "nothing reads these"
