"""`featsvc hash` and `featsvc compare`: hash files on this machine, without a server."""

from pathlib import Path
from typing import Any

import click

from featsvc.cli import output
from featsvc.cli.output import Command, json_option
from featsvc.config import load_config
from featsvc.hashing.files import FileHashes, hash_file, hash_files, list_files
from featsvc.media import Alpha, DecodeOptions, Fidelity, Frames, Limits
from featsvc.signals.algorithms import (
    ALGORITHMS,
    DEFAULT_ALGORITHMS,
    DEFAULT_TEXT_ALGORITHMS,
    get_algorithm,
)
from featsvc.signals.distance import distance
from featsvc.signals.hashes import ContentHashes
from featsvc.signals.signal import Signal

_COMPUTED = tuple(n for n, kind in ALGORITHMS.items() if kind.of_files)
_COMPUTED_OF_TEXT = tuple(n for n, kind in ALGORITHMS.items() if kind.of_texts)


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
            type=click.Choice([a.value for a in Alpha]),
            default=Alpha.WHITE.value,
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
    threads: int,
    as_json: bool,
    **decoding: Any,
) -> None:
    """Hash files, and all files below folders, on this machine.

    Needs no server. The default algorithms are pdq, md5 and sha256; for texts text_sha256, text,
    md5 and sha256. A file that cannot be hashed is reported on stderr and skipped; the exit code is
    then 1.
    """
    default = DEFAULT_TEXT_ALGORITHMS if as_text else DEFAULT_ALGORITHMS
    names = _algorithms(algorithms, default, as_text)
    options = _options(Frames.ALL if all_frames else Frames.FIRST, **decoding)
    failed = done = 0
    rows: list[tuple[object, ...]] = []
    with output.progress(count=True) as bar:
        task = bar.add_task("hashing", total=None, rate="")
        for result in hash_files(
            list_files(paths), names, options, _limits(), threads=threads, as_text=as_text
        ):
            done += 1
            bar.update(task, advance=1)
            if result.hashes is None:
                failed += 1
                click.echo(f"{result.path}: {result.error}", err=True)
            elif as_json:
                output.json_line(_as_json(result.path, result.hashes))
            else:
                rows += _rows(result.path, result.hashes)
            if as_text and result.hashes is not None and result.hashes.reason:
                click.echo(f"{result.path}: {result.hashes.reason}", err=True)
    if rows:
        output.table(("file", "content", "algorithm", "quality", "signal"), rows)
    if failed:
        raise click.ClickException(f"{failed} of {done} files could not be hashed")


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
    files have a signal of good quality. Needs no server.
    """
    names = _algorithms(algorithms, _COMPUTED_OF_TEXT if as_text else _COMPUTED, as_text)
    options = _options(Frames.FIRST, **decoding)
    sides = [
        _signals(hash_file(path, names, options, _limits(), as_text=as_text)) for path in (a, b)
    ]
    rows: list[dict[str, object]] = []
    for name in names:
        left, right = (side.get(name) for side in sides)
        if left is None or right is None:
            missing = a if left is None else b
            rows.append(_row(name, None, f"no signal of {missing}"))
        elif left.low_quality or right.low_quality:
            poor = a if left.low_quality else b
            rows.append(_row(name, distance(left, right), f"LOW_QUALITY: {poor}"))
        else:
            apart = distance(left, right)
            near = apart <= get_algorithm(name).default_threshold
            rows.append(_row(name, apart, "match" if near else "no match"))
    if as_json:
        output.json_lines(rows)
        return
    columns = ("algorithm", "distance", "threshold", "bits", "verdict")
    output.table(columns, ([row[column] for column in columns] for row in rows))


def _row(name: str, apart: float | None, verdict: str) -> dict[str, object]:
    kind = get_algorithm(name)
    return {
        "algorithm": name,
        "distance": apart,
        "threshold": kind.default_threshold,
        "bits": kind.bits,
        "verdict": verdict,
    }


def _signals(result: FileHashes) -> dict[str, Signal]:
    if result.hashes is None:
        raise click.ClickException(f"{result.path}: {result.error}")
    return {signal.algorithm.name: signal for signal in result.hashes.signals}


def _algorithms(named: tuple[str, ...], default: tuple[str, ...], as_text: bool) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.lower() for name in named)) or default
    if "all" in names:
        return _COMPUTED_OF_TEXT if as_text else _COMPUTED
    for name in names:
        if not get_algorithm(name, field="--algorithm").computed:
            raise click.BadParameter(
                f"{name} is stored in banks, but not computed", param_hint="--algorithm"
            )
    return names


def _options(frames: Frames, fast: bool, alpha: str, ignore_orientation: bool) -> DecodeOptions:
    return DecodeOptions(
        fidelity=Fidelity.FAST if fast else Fidelity.EXACT,
        alpha=Alpha(alpha),
        ignore_orientation=ignore_orientation,
        frames=frames,
    )


def _limits() -> Limits:
    return load_config().media


def _as_json(path: Path, hashes: ContentHashes) -> dict[str, object]:
    media = hashes.media
    several = media is not None and media.frames > 1
    return {
        "file": str(path),
        "media_type": media.media_type if media else None,
        "width": media.width if media else None,
        "height": media.height if media else None,
        "outcome": hashes.outcome.name,
        "signals": [
            {"algorithm": s.algorithm.name, "signal": s.text, "quality": s.quality}
            | ({"frame": s.frame} if several else {})
            | ({"variant": s.variant} if s.variant != "original" else {})
            for s in hashes.signals
        ],
    }


def _rows(path: Path, hashes: ContentHashes) -> list[tuple[object, ...]]:
    media = hashes.media
    kind = "not a picture"
    if media is not None:
        kind = f"{media.media_type} {media.width}x{media.height}" if media.width else "text"
    blank = ("", "")
    return [
        (
            *((str(path), kind) if i == 0 else blank),
            s.algorithm.name,
            s.quality,
            output.shorten(s.text),
        )
        for i, s in enumerate(hashes.signals)
    ]
