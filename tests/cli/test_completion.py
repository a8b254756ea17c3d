"""The shell completes commands and options, and loads nothing heavy for it."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest

from featsvc.cli.hash import ALPHAS
from featsvc.cli.main import cli
from featsvc.media import Alpha
from tests.cli.test_help import COMMANDS, PROSE

HEAVY = ("numpy", "numba", "faiss", "sqlalchemy", "PIL")
SCRIPT = f"""#!{sys.executable}
import sys
from featsvc.cli.main import main
try:
    main()
finally:
    loaded = [name for name in {HEAVY} if name in sys.modules]
    if loaded:
        print("loads", *loaded, file=sys.stderr)
"""
LOADING = {"featsvc serve", "featsvc demo"}
"""Commands that load a service, or pictures, before their options are known."""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH with the command as pip installs it, which also says what it loaded."""
    command = tmp_path / "featsvc"
    command.write_text(SCRIPT)
    command.chmod(0o755)
    return f"{tmp_path}{os.pathsep}{os.environ['PATH']}"


def completed(path: str, *words: str) -> tuple[list[str], str]:
    """What the shell offers for the last word, and what is on stderr."""
    environ = {
        "PATH": path,
        "_FEATSVC_COMPLETE": "bash_complete",
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
    }
    result = subprocess.run(
        ["featsvc"], env={**os.environ, **environ}, capture_output=True, text=True, check=False
    )
    return [line.partition(",")[2] for line in result.stdout.splitlines()], result.stderr


def test_commands_are_offered(path: str) -> None:
    top = list(cli.list_commands(click.Context(cli)))
    assert completed(path, "featsvc", "") == (top, "")
    assert completed(path, "featsvc", "s") == (["serve", "screen"], "")
    below = [name.split()[-1] for name in COMMANDS if name.startswith("featsvc bank ")]
    assert completed(path, "featsvc", "bank", "") == (sorted(below), "")


@pytest.mark.slow
@pytest.mark.parametrize("name", COMMANDS)
def test_options_are_offered(path: str, name: str) -> None:
    offered, told = completed(path, *name.split(), "--")
    options = {
        option
        for parameter in COMMANDS[name].params
        if isinstance(parameter, click.Option)
        for option in (*parameter.opts, *parameter.secondary_opts)
        if option.startswith("--")
    }
    assert set(offered) == options | {"--help"}
    assert told == "" or name in LOADING, told


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_documented_line_works_in_the_shell(path: str, shell: str) -> None:
    assert f"{shell}_source" in PROSE
    source = subprocess.run(
        ["featsvc"],
        env={**os.environ, "PATH": path, "_FEATSVC_COMPLETE": f"{shell}_source"},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "_FEATSVC_COMPLETE" in source
    if shell != "bash" or shutil.which("bash") is None:
        pytest.skip(f"{shell} completes by a widget that only a terminal runs")
    (line,) = [part for part in PROSE.split("`") if part.startswith('eval "$(_FEATSVC_COMPLETE')]
    script = f"""{line}
COMP_WORDS=(featsvc bank wi) COMP_CWORD=2
_featsvc_completion featsvc bank wi
echo "${{COMPREPLY[@]}}"
complete -p featsvc"""
    result = subprocess.run(
        ["bash", "--norc", "-c", script],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.stdout.splitlines()[0] == "withdraw", result.stderr
    assert "_featsvc_completion featsvc" in result.stdout


def test_the_choices_are_those_of_decoding() -> None:
    assert tuple(alpha.value for alpha in Alpha) == ALPHAS
