"""What the commands `python -m bench.NAME` share: help, the head of their output, progress."""

import argparse
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bench.machine import headline

TOOLS = {"h2load": "apt-get install nghttp2-client"}
TRIAL = "BENCH_SIZE=smoke tries it in seconds; its figures mean nothing."
LINE_S = 60
Step = Callable[[], None]


class Command:
    """A command by the name of its module; add arguments to `parser`, then `begin`."""

    def __init__(self, name: str, doc: str, *, takes: str, tools: Sequence[str] = ()) -> None:
        self._takes, self._tools = takes, tools
        self.parser = argparse.ArgumentParser(
            prog=f"python -m bench.{name}",
            description=doc,
            epilog=f"Takes {takes}.\n{TRIAL}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )

    def begin(self, argv: Sequence[str] | None = None) -> argparse.Namespace:
        """Parse the arguments, then print machine, commit and duration to standard error.

        Exits with status 2 where an argument is wrong or a tool is not installed.
        """
        arguments = self.parser.parse_args(argv)
        for tool in self._tools:
            if shutil.which(tool) is None:
                self.parser.error(f"{tool} is not installed; try: {TOOLS[tool]}")
        say(f"{headline()}\n{self.parser.prog} takes {self._takes}")
        return arguments


def say(text: str) -> None:
    """Print to standard error, where progress goes: standard output has only results."""
    print(text, file=sys.stderr, flush=True)


@contextmanager
def progress(what: str, steps: int) -> Iterator[Step]:
    """Yield what to call after each step: it moves a bar on a terminal, else prints lines."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(what, steps)
        return
    columns = (
        *(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn()),
        TimeRemainingColumn(elapsed_when_finished=True),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task(what, total=steps)
        yield lambda: bar.advance(task)


def _lines(what: str, steps: int) -> Step:
    """A line for each tenth of the steps, and for each minute."""
    started = said = time.monotonic()
    done = 0

    def step() -> None:
        nonlocal done, said
        done += 1
        now = time.monotonic()
        if done * 10 // steps > (done - 1) * 10 // steps or now - said > LINE_S:
            said, left_s = now, (now - started) / done * (steps - done)
            say(f"{what}: {done:,} of {steps:,}, {now - started:.0f} s, about {left_s:.0f} s left")

    return step
