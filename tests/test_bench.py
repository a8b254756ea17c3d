"""Benches work and say what they measure: a smoke run of all, and the arithmetic of ratios."""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.compare import Case, in_turn, peer
from bench.report import LEGEND, WIDTH, duration, lines_of, table
from tests.photographs import ROOT

COMMANDS = sorted(p.stem for p in ROOT.glob("bench/*.py") if "Command(" in p.read_text())
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
NEEDS_H2LOAD = ("live", "unary")
ARGUMENTS = {"readme": ["{}"], "robustness": ["{}", "pdq", "pdq + variants", "hog"]}
"""Arguments of a smoke run of a command; {} is a new folder."""


def run(*command: str, **environ: str) -> subprocess.CompletedProcess[str]:
    # pytest-benchmark measures nothing where it finds itself in one of several processes.
    outside = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_XDIST")}
    return subprocess.run(
        [sys.executable, "-m", *command],
        cwd=ROOT,
        env={**outside, **environ},
        capture_output=True,
        text=True,
        check=False,
    )


def documented(pattern: str) -> list[str]:
    """The commands of the pages that match."""
    found = {m for page in PAGES for m in re.findall(pattern, page.read_text())}
    return sorted(found)


@pytest.mark.slow
def test_every_bench_runs(tmp_path: Path) -> None:
    """Once and as small as can be, with whatever peers are installed."""
    results = tmp_path / "results.json"
    done = run("pytest", "bench", "-q", f"--benchmark-json={results}", BENCH_SIZE="smoke")
    assert done.returncode == 0, done.stdout + done.stderr
    sides = json.loads(results.read_text())["benchmarks"]
    assert {side["fullname"].partition("::")[0] for side in sides} == {
        str(path.relative_to(ROOT)) for path in ROOT.glob("bench/bench_*.py")
    }
    # Comparisons with earlier results find a side by its full name, and tables a case by its group.
    assert len({side["fullname"] for side in sides}) == len(sides)
    ours = [side["group"] for side in sides if "peers" in side["extra_info"]]
    assert len({*ours}) == len(ours)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in COMMANDS if name != "echo"])
def test_every_command_runs(name: str, tmp_path: Path) -> None:
    if name in NEEDS_H2LOAD and shutil.which("h2load") is None:
        pytest.skip("h2load is not installed")
    arguments = [a.format(tmp_path / "out") for a in ARGUMENTS.get(name, [])]
    done = run(f"bench.{name}", *arguments, BENCH_SIZE="smoke")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()
    # Whose figures these are, and how long they take, comes first.
    head = done.stderr.splitlines()
    assert re.match(r"machine: \d+ cores of .+", head[0])
    assert re.match(r"python 3\.\d+\.\d+, .*commit .*, size smoke", head[1])
    assert head[2].startswith(f"python -m bench.{name} takes ")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        import_module(f"bench.{name}").main(["--help"])
    assert stopped.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith(f"usage: python -m bench.{name}")
    assert "Takes " in printed


@pytest.mark.slow
@pytest.mark.parametrize("name", NEEDS_H2LOAD)
def test_a_command_says_how_to_get_a_tool(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("shutil.which", lambda tool: None)
    with pytest.raises(SystemExit) as stopped:
        import_module(f"bench.{name}").main([])
    assert stopped.value.code == 2
    assert "h2load is not installed; try: apt-get install nghttp2-client" in capsys.readouterr().err


def test_a_command_names_the_package_that_is_missing(tmp_path: Path) -> None:
    """As with the system's Python instead of that of .venv."""
    command = [sys.executable, "-S", "-c", "import bench"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env={})
    assert done.returncode == 1
    assert "has no numba" in done.stderr
    assert "make install" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_size_is_checked() -> None:
    done = run("bench.size", BENCH_SIZE="tiny")
    assert done.returncode == 1
    assert done.stderr == "BENCH_SIZE is 'tiny'; it may be smoke, full, large\n"


def test_documented_commands_exist() -> None:
    found = documented(r"python -m bench\.([a-z_]+)")
    assert len(found) >= 4
    assert set(found) - {*COMMANDS} == set()


def test_documented_selections_select_benches() -> None:
    """`make bench ARGS=...` of the pages: a word that names of benches contain, or a file."""
    selections = documented(r"make (?:peers )?bench ARGS=(\S.*?)`")
    assert len(selections) >= 4
    names = [
        f"{path.stem}::{name}"
        for path in ROOT.glob("bench/bench_*.py")
        for name in re.findall(r"^def (bench_\w+)", path.read_text(), re.MULTILINE)
    ]
    for selection in selections:
        word = re.fullmatch(r'"-k (\w+)"', selection)
        file = re.fullmatch(r'"(bench/bench_\w+\.py)"', selection)
        if word:
            assert any(word[1] in name for name in names), f"{selection} selects nothing"
        else:
            assert file, f"{selection}: neither a word nor a file"
            assert (ROOT / file[1]).exists(), f"{selection}: no such file"


BENCHMARKS = (ROOT / "docs" / "benchmarks.md").read_text()
MACHINES = re.findall(r"^\| \*\*(\w+)\*\* \|", BENCHMARKS, re.MULTILINE)
FIGURE = re.compile(r"\d (?:ms|µs)\b|(?!(?<!\d)0x)\d ?x\b|times faster|rows/s")
UNMEASURED = {
    "benchmarks.md": "its figures are of an example",
    "0011-segments-layers-tombstones.md": "a requirement",
    "0022-a-list-is-whole-or-nothing.md": "a constant",
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_with_figures_names_their_machine(page: Path) -> None:
    text = page.read_text()
    assert len(MACHINES) >= 3
    if FIGURE.search(text) and page.name not in UNMEASURED:
        assert "benchmarks.md#machines" in text
        assert any(machine in text for machine in MACHINES)


def test_every_claim_is_listed_with_its_command() -> None:
    commands = documented(r"(python -m bench\.[a-z_]+|bench ARGS=\S.*?)`")
    assert [c for c in commands if c not in BENCHMARKS] == [], "list them in docs/benchmarks.md"


positive = st.floats(1e-6, 10)


@given(positive, positive, st.lists(st.floats(1, 20), min_size=7, max_size=7))
def test_a_busy_machine_changes_times_but_no_ratio(
    ours_s: float, theirs_s: float, slowdowns: list[float]
) -> None:
    """Each round is slowed by its own factor, both sides of it alike."""
    mine, theirs = iter(slowdowns), iter(slowdowns)
    turns = {"ours": lambda: ours_s * next(mine), "peer": lambda: theirs_s * next(theirs)}
    case = Case("case", in_turn(turns, 7, 0))
    assert len(case.seconds["peer"]) == 7
    ratio = case.ratio("peer")
    for value in (ratio.low, ratio.median, ratio.high):
        assert value == pytest.approx(theirs_s / ours_s)


@given(st.lists(st.sampled_from("abcd"), min_size=1, unique=True), st.integers(1, 9))
def test_sides_take_turns_and_no_side_always_comes_first(sides: list[str], rounds: int) -> None:
    order: list[str] = []
    in_turn({side: partial(_take, order, side) for side in sides}, rounds, 0)
    expected = [sides[::-1] if n % 2 == 0 else sides for n in range(rounds)]
    assert order == [side for turn in expected for side in turn]


def _take(order: list[str], side: str) -> float:
    order.append(side)
    return 1.0


BENCH = '''\
"""An example."""

import pytest

from bench.compare import peer

calls = {"ours": 0, "theirs": 0}


def bench_side_by_side(compare):
    def call(side):
        calls[side] += 1

    absent = peer("no_such_package.of_hashes")
    case = compare(
        "one of two",
        lambda: call("ours"),
        {"them": lambda: call("theirs"), "absent": absent and absent.run},
        operations=2,
    )
    case.notes["memory"] = "2 MB"
    print("calls:", calls["ours"], calls["theirs"])


def bench_with_clocks(compare):
    compare("clocked", lambda: 1.0, {"them": lambda: 4.0}, rounds=3, own_clock=True)
    first = compare("once", lambda: 2.0, operations=4, rounds=1, own_clock=True)
    assert first.seconds == {"featsvc": [0.5]}


def bench_plain(benchmark):
    benchmark(sum, range(1000))
'''


Done = subprocess.CompletedProcess[str]
Bench = Callable[..., Done]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bench")


@pytest.fixture(scope="module")
def bench(folder: Path) -> Bench:
    """Runs the example with options of pytest."""
    path = folder / "bench_example.py"
    path.write_text(BENCH)
    command = ("pytest", "-p", "bench.conftest", "-c", str(ROOT / "pyproject.toml"), str(path))
    limits = ("--benchmark-max-time=0.1", f"--benchmark-storage={folder / 'saved'}")
    return lambda *options: run(*command, *limits, *options, BENCH_SIZE="full", COLUMNS="80")


@pytest.fixture(scope="module")
def done(bench: Bench, folder: Path) -> Done:
    """One run, kept as `json` and saved as `one`."""
    return bench(f"--benchmark-json={folder / 'json'}", "--benchmark-save=one")


@pytest.mark.slow
def test_every_side_is_a_result_of_pytest_benchmark(done: Done, folder: Path) -> None:
    assert done.returncode == 0, done.stdout + done.stderr
    results = json.loads((folder / "json").read_text())
    assert {"processor", "cores", "packages", "python_version"} <= {*results["machine_info"]}
    sides = {(side["group"], side["name"]): side for side in results["benchmarks"]}
    assert [*sides] == [
        *(("one of two", "featsvc"), ("one of two", "them")),
        *(("clocked", "featsvc"), ("clocked", "them"), ("once", "featsvc")),
        (None, "bench_plain"),
    ]
    ours, theirs = sides["one of two", "featsvc"], sides["one of two", "them"]
    assert ours["extra_info"] == {
        "peers": ["them"],
        "not_installed": ["absent"],
        "notes": {"memory": "2 MB"},
    }
    # A round fills with calls, of two operations each, and sides have as many rounds.
    assert ours["stats"]["rounds"] == theirs["stats"]["rounds"] >= 5
    assert ours["stats"]["iterations"] >= 2 * 100
    ratios = [a / b for a, b in zip(theirs["stats"]["data"], ours["stats"]["data"], strict=True)]
    ratio = theirs["extra_info"]["times_as_long_as"]
    assert ratio["side"] == "featsvc"
    assert ratio["median"] == pytest.approx(statistics.median(ratios))
    assert ratio["low"] <= ratio["median"] <= ratio["high"]
    assert sides["clocked", "them"]["stats"]["data"] == [4.0] * 3
    assert sides["once", "featsvc"]["stats"]["data"] == [0.5]


@pytest.mark.slow
def test_our_table_is_printed_and_that_of_pytest_benchmark_on_demand(
    done: Done, bench: Bench
) -> None:
    printed = done.stdout
    assert (
        "clocked                                                                   1.00 s\n"
        in printed
    )
    assert (
        "  4.0 x faster than them                                                  4.00 s\n"
        in printed
    )
    assert "  absent: not installed, see below\n" in printed
    assert "`make peers` installs what is missing" in printed
    assert "  memory: 2 MB\n" in printed
    assert "benchmark 'clocked'" not in printed
    # A bench without `compare` is in no other table.
    assert re.search(r"^bench_plain +\d", printed, re.MULTILINE)
    compared = bench("--benchmark-compare").stdout
    assert "  4.0 x faster than them " in compared
    assert "benchmark 'clocked': 4 tests" in compared
    assert re.search(r"^them \(0001_one\) ", compared, re.MULTILINE)


@pytest.mark.slow
def test_a_disabled_bench_calls_each_side_once(bench: Bench) -> None:
    done = bench("--benchmark-disable", "-s")
    assert done.returncode == 0, done.stdout
    assert "calls: 1 1" in done.stdout
    assert "results" not in done.stdout


def test_a_broken_peer_is_not_a_missing_one() -> None:
    with pytest.raises(ModuleNotFoundError):
        peer("numpy.no_such_module")


@pytest.mark.parametrize(
    ("ours", "theirs", "words"),
    [
        ([1.0, 1.0, 1.0], [7.3, 7.3, 7.3], "7.3 x faster than peer"),
        ([2.0, 2.0, 2.0], [1.0, 1.0, 1.0], "2.0 x slower than peer"),
        ([1.0, 1.0, 1.0], [20.0, 24.0, 26.0], "24 x faster than peer (22 to 25)"),
        ([20.0, 24.0, 26.0], [1.0, 1.0, 1.0], "24 x slower than peer (22 to 25)"),
        ([1.0, 1.0, 1.0], [0.9, 1.0, 1.1], "about as fast as peer (0.95 to 1.05 x)"),
    ],
)
def test_a_ratio_in_words(ours: list[float], theirs: list[float], words: str) -> None:
    case = Case("case", {"featsvc": ours, "peer": theirs})
    assert words in "\n".join(lines_of(case))


@given(st.floats(1e-9, 1e4))
def test_a_duration_keeps_three_digits(seconds: float) -> None:
    number, unit = duration(seconds).split()
    back = float(number) * {"s": 1, "ms": 1e-3, "µs": 1e-6, "ns": 1e-9}[unit]
    assert back == pytest.approx(seconds, rel=0.006)


names = st.text("abc 1,", min_size=1, max_size=70).filter(str.strip)


@given(st.lists(names, min_size=2, max_size=4, unique=True), st.data())
def test_the_table_fits_80_columns(sides: list[str], data: st.DataObject) -> None:
    times = st.lists(positive, min_size=3, max_size=3)
    case = Case(data.draw(names), {side: data.draw(times) for side in sides})
    lines = "\n".join(table([("title", [case])])).splitlines()
    assert max(map(len, lines)) <= WIDTH
    assert LEGEND in "\n".join(lines)
