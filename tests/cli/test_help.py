"""Every command and flag is documented: in --help, and every command in the README or docs/."""

import re
import shlex
import subprocess
import sys
from collections.abc import Iterator

import click
import pytest

from featsvc.cli.main import cli
from tests.photographs import ROOT


def commands(group: click.Group, path: str = "featsvc") -> Iterator[tuple[str, click.Command]]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            yield from commands(command, f"{path} {name}")
        else:
            yield f"{path} {name}", command


COMMANDS = dict(commands(cli))
README = (ROOT / "README.md").read_text()
PROSE = README + "".join(p.read_text() for p in ROOT.glob("docs/*.md"))


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_is_documented(name: str) -> None:
    command = COMMANDS[name]
    assert command.help
    assert name in PROSE, f"{name} is in neither README.md nor docs/"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, parameter.name


def test_the_readme_says_which_commands_have_no_json() -> None:
    (sentence,) = re.findall(r"All but (.*?)\s+take\s+`--json`", README, re.DOTALL)
    without = {f"featsvc {name}" for name in re.findall(r"`([a-z ]+)`", sentence)}
    with_json = {
        name
        for name, command in COMMANDS.items()
        if any(parameter.name == "as_json" for parameter in command.params)
    }
    assert with_json | without == set(COMMANDS)
    assert not with_json & without


def test_curating_loads_no_kernels() -> None:
    """Its commands are run by hand, one after another, and only talk to a server."""
    check = "import featsvc.cli.bank, featsvc.cli.match, sys; sys.exit('numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


@pytest.mark.parametrize("name", [name for name in COMMANDS if name.startswith("featsvc bank ")])
def test_an_example_is_a_call_of_its_command(name: str) -> None:
    """All but those that are clear without one; each has options and arguments that there are."""
    command = COMMANDS[name]
    if not command.epilog:
        assert name in ("featsvc bank list", "featsvc bank show")
        return
    words = shlex.split(command.epilog.removeprefix("Example: "))
    assert " ".join(words[:3]) == name
    context = click.Context(command)
    parsed, rest, _ = command.make_parser(context).parse_args(words[3:])
    assert not rest
    required = {p.name for p in command.params if p.required and p.name != "file"}
    assert required <= parsed.keys()
