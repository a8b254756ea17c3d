"""The pre-commit hooks are the commands of `make lint`."""

import re

from tests.photographs import ROOT


def test_the_hooks_are_what_lint_runs() -> None:
    (recipe,) = re.findall(
        r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.MULTILINE
    )
    commands = re.findall(r"\$\(BIN\)/(.+)", recipe)
    assert len(commands) == len(recipe.splitlines())
    hooks = re.findall(r"^ +entry: (.+)$", (ROOT / ".pre-commit-config.yaml").read_text(), re.M)
    assert hooks == [f".venv/bin/{command}" for command in commands]
