"""The fixture `compare`, the table of what it measured, and the machine in pytest-benchmark's JSON.

Pytest-benchmark's own table relates all sides of a case to the fastest. It has the sides of
`compare` only where an option asks for it; benches with the fixture `benchmark` are always in it.
"""

from collections.abc import Generator
from typing import Any

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from bench.compare import Case, Compare, Limits
from bench.machine import headline, load, machine
from bench.report import table
from featsvc.cli.kernels import prepare_kernels

MEASURED = pytest.StashKey[dict[str, list[Case]]]()
ASKS_FOR_ALL = ("columns", "compare", "histogram", "verbose")
"""Options of pytest-benchmark that are about its table."""
Groups = list[tuple[str | None, list[dict[str, Any]]]]


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEASURED] = {}


def pytest_sessionstart() -> None:
    """Compile kernels before anything is measured."""
    prepare_kernels("serve")


def pytest_report_header() -> str:
    return headline()


@pytest.fixture
def compare(request: pytest.FixtureRequest, benchmark: BenchmarkFixture) -> Compare:
    """Measures cases for the table at the end, under the first line of the module's docstring."""
    title = (request.module.__doc__ or request.module.__name__).splitlines()[0]
    option = request.config.getoption
    limits = Limits(
        option("benchmark_min_rounds"),
        float(option("benchmark_max_time")),
        max(Limits().round_s, float(option("benchmark_min_time"))),
    )
    return Compare(
        benchmark, limits, request.config.stash[MEASURED].setdefault(title.rstrip("."), [])
    )


def pytest_benchmark_update_machine_info(machine_info: dict[str, object]) -> None:
    machine_info |= machine()


def pytest_benchmark_update_json(output_json: dict[str, object]) -> None:
    # Not of the machine: comparisons warn where that differs.
    output_json["load"] = load()


@pytest.hookimpl(wrapper=True)
def pytest_benchmark_group_stats(config: pytest.Config) -> Generator[None, Groups, Groups]:
    """Leave what our table has out of that of pytest-benchmark."""
    groups = yield
    if any(config.getoption(f"benchmark_{name}") for name in ASKS_FOR_ALL):
        return groups
    ours = {case.name for cases in config.stash[MEASURED].values() for case in cases}
    return [(group, benches) for group, benches in groups if group not in ours]


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    groups = [(title, cases) for title, cases in config.stash[MEASURED].items() if cases]
    if groups:
        terminalreporter.section("results")
        for line in (*headline().splitlines(), *table(groups)):
            terminalreporter.write_line(line)
