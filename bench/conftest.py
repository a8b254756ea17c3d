"""The fixture `compare`, the table of what it measured, and `--json FILE`."""

from pathlib import Path

import pytest

from bench.compare import Case, Compare
from bench.machine import headline
from bench.report import table, write_json

MEASURED = pytest.StashKey[dict[str, list[Case]]]()


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--json", type=Path, help="write the machine and all results to this file")


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MEASURED] = {}


def pytest_report_header() -> str:
    return headline()


@pytest.fixture
def compare(request: pytest.FixtureRequest) -> Compare:
    """Measures cases for the table at the end, under the first line of the module's docstring."""
    title = (request.module.__doc__ or request.module.__name__).splitlines()[0]
    measured = request.config.stash[MEASURED]
    made = Compare()
    made.cases = measured.setdefault(title.rstrip("."), [])
    return made


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    groups = list(config.stash[MEASURED].items())
    if not groups:
        return
    terminalreporter.section("results")
    for line in (*headline().splitlines(), *table(groups)):
        terminalreporter.write_line(line)
    if path := config.getoption("json"):
        write_json(groups, path)
        terminalreporter.write_line(f"written to {path}")
