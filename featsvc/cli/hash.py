"""`featsvc hash` and `featsvc compare`: hash files on this machine, without a server.

`local_hashes.py` does the work. It is imported when a command runs, because it loads kernels: help
and completion of the shell are quick.
"""

from pathlib import Path
from typing import Any

import click

from featsvc.cli.kernels import prepare_kernels
from featsvc.cli.output import Command, json_option

ALPHAS = ("white", "black", "ignore")
"""The values of `featsvc.media.Alpha`."""


def _decode_options(command: Command) -> Command:
    """Add the options of both commands."""
    for option in (
        click.option(
            "--ignore-orientation",
            is_flag=True,
            help="Ignore the EXIF orientation, as old lists did.",
        ),
        click.option(
            "--alpha",
            type=click.Choice(ALPHAS),
            default=ALPHAS[0],
            show_default=True,
            help="What shows through transparent pixels.",
        ),
        click.option(
            "--fast",
            is_flag=True,
            help="Decode JPEGs at a smaller scale; PDQ differs by 2 to 6 bits.",
        ),
        click.option(
            "--algorithm",
            "-a",
            "algorithms",
            multiple=True,
            metavar="NAME",
            help="A hash such as pdq or phash-16; or all. Repeatable.",
        ),
        click.option("--as-text", is_flag=True, help="Hash files as texts in UTF-8."),
    ):
        command = option(command)
    return command


@click.command("hash")
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@_decode_options
@click.option("--all-frames", is_flag=True, help="Hash every frame of an animation.")
@click.option(
    "--for-bank",
    is_flag=True,
    help="Hash what `bank add` stores: crops and tilts of pictures too, no byte hashes of texts, "
    "nothing of pictures that do not decode.",
)
@click.option(
    "--threads",
    type=click.IntRange(min=0),
    metavar="N",
    default=0,
    help="Threads that hash. Default: one per core.",
)
@json_option
def hash_command(
    paths: tuple[Path, ...],
    as_text: bool,
    algorithms: tuple[str, ...],
    all_frames: bool,
    for_bank: bool,
    threads: int,
    as_json: bool,
    **decoding: Any,
) -> None:
    """Hash files, and all files below folders, on this machine.

    Needs no server. The default algorithms are pdq, md5 and sha256; for texts text_sha256, text,
    md5 and sha256. A file that cannot be hashed is reported on stderr and skipped; the exit code is
    then 1. So it is for a picture that does not decode, of which byte hashes are printed.

    `featsvc hash --json --for-bank FILES | featsvc bank import - --bank BANK` is `featsvc bank add`
    for any number of files, which stay on this machine.
    """
    if all_frames and for_bank:
        raise click.UsageError("--all-frames: banks do not store the signals of frames")
    prepare_kernels("hash")
    from featsvc.cli import local_hashes  # noqa: PLC0415

    decode = local_hashes.decode_options(all_frames=all_frames, **decoding)
    names = local_hashes.default_algorithms(algorithms, as_text, for_bank)
    local_hashes.print_hashes(
        paths,
        names,
        decode,
        threads=threads,
        as_text=as_text,
        for_bank=for_bank,
        as_json=as_json,
    )


@click.command()
@click.argument("a", type=click.Path(path_type=Path))
@click.argument("b", type=click.Path(path_type=Path))
@_decode_options
@json_option
def compare(
    a: Path, b: Path, as_text: bool, algorithms: tuple[str, ...], as_json: bool, **decoding: Any
) -> None:
    """Compare two files by every algorithm.

    Prints each distance beside the algorithm's default threshold. There is a verdict only if both
    files have a signal of good quality; a picture that does not decode has byte hashes only, and
    the exit code is 1. Needs no server.
    """
    prepare_kernels("hash")
    from featsvc.cli import local_hashes  # noqa: PLC0415

    local_hashes.print_distances(
        (a, b), algorithms, local_hashes.decode_options(**decoding), as_text, as_json
    )
