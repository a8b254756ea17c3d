"""The tree of commands. A command is imported when it is called, so that `--help` is quick."""

import importlib
import io
import os
import sys

import click
from click.shell_completion import CompletionItem

from featsvc.cli.words import echo
from featsvc.errors import FeatsvcError

# Command -> (module, attribute, help). With the help here, a list of commands imports nothing.
_COMMANDS = {
    "serve": ("featsvc.cli.serve", "serve", "Run the service."),
    "demo": ("featsvc.cli.demo", "demo", "Screen real photographs with embedded stores."),
    "hash": ("featsvc.cli.hash", "hash_command", "Hash files and folders on this machine."),
    "compare": ("featsvc.cli.hash", "compare", "Compare two files by every algorithm."),
    "screen": ("featsvc.cli.match", "screen", "Screen a file or a text for an account."),
    "match": ("featsvc.cli.match", "match", "Match a file, a text or a signal against banks."),
    "bank": ("featsvc.cli.bank", "bank", "Curate banks: lists of known content."),
    "features": (
        "featsvc.cli.features",
        "features",
        "Check and list definitions, send events, read features.",
    ),
    "doctor": ("featsvc.cli.doctor", "doctor", "Check this installation, or a server."),
}


class _Tree(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in _COMMANDS:
            return None
        module, attribute, _ = _COMMANDS[cmd_name]
        command: click.Command = getattr(importlib.import_module(module), attribute)
        return command

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        if incomplete.startswith("-"):
            return super().shell_complete(ctx, incomplete)
        named = (name for name in _COMMANDS if name.startswith(incomplete))
        return [CompletionItem(name, help=_COMMANDS[name][2]) for name in named]

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, row[2]) for name, row in _COMMANDS.items()])


@click.group(cls=_Tree, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="featsvc", prog_name="featsvc")
def cli() -> None:
    """Perceptual hashes, banks of known content and account features over gRPC."""


def main() -> None:
    """Run the command and exit: 0 done, 1 failed (the reason is on stderr), 2 wrong usage."""
    # gRPC's fork handlers write to the log; only a fork without exec needs them.
    os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")
    try:
        # Returns the code of a click Exit, or None.
        sys.exit(cli(standalone_mode=False))
    except click.exceptions.Abort:
        echo("interrupted", err=True)
        sys.exit(130)
    except click.ClickException as exc:
        shown = io.StringIO()
        exc.show(shown)
        _echo_lines(shown.getvalue().rstrip("\n"))
        sys.exit(exc.exit_code)
    except FeatsvcError as exc:
        _echo_lines(f"Error: {exc}")
        sys.exit(1)
    except BrokenPipeError:
        # `featsvc ... | head` has closed the pipe.
        sys.stderr.close()
        sys.exit(141)


def _echo_lines(text: str) -> None:
    for line in text.split("\n"):
        echo(line, err=True)
