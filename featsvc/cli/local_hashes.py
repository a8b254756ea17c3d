"""Hashes of files of this machine, printed for `featsvc hash` and `featsvc compare`."""

from collections.abc import Sequence
from pathlib import Path

import click

from featsvc.cli import output
from featsvc.cli.inputs import printable
from featsvc.config import load_config
from featsvc.hashing.files import FileHashes, hash_file, hash_files, list_files
from featsvc.hashing.variants import make_entry, make_original
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
from featsvc.signals.text import STORED_ALGORITHMS

_COMPUTED = tuple(n for n, kind in ALGORITHMS.items() if kind.of_files)
_COMPUTED_OF_TEXT = tuple(n for n, kind in ALGORITHMS.items() if kind.of_texts)


def decode_options(
    *, fast: bool, alpha: str, ignore_orientation: bool, all_frames: bool = False
) -> DecodeOptions:
    """Return the options of decoding, from those of the command."""
    return DecodeOptions(
        fidelity=Fidelity.FAST if fast else Fidelity.EXACT,
        alpha=Alpha(alpha),
        ignore_orientation=ignore_orientation,
        frames=Frames.ALL if all_frames else Frames.FIRST,
    )


def default_algorithms(named: Sequence[str], as_text: bool, for_bank: bool) -> tuple[str, ...]:
    """Return the named algorithms, else the default ones. Raises BadParameter."""
    default: tuple[str, ...] = DEFAULT_ALGORITHMS
    if as_text:
        default = STORED_ALGORITHMS if for_bank else DEFAULT_TEXT_ALGORITHMS
    return _algorithms(named, default, as_text)


def print_hashes(
    paths: Sequence[Path],
    names: Sequence[str],
    decode: DecodeOptions,
    *,
    threads: int,
    as_text: bool,
    for_bank: bool,
    as_json: bool,
) -> None:
    """Hash files and folders and print each as soon as it is hashed, or a table.

    `for_bank`: with the variants of an entry. Raises ClickException if a file cannot be hashed.
    """
    folders = [path for path in paths if path.is_dir()]
    failed = done = 0
    rows: list[tuple[object, ...]] = []
    with output.progress(count=True) as bar:
        task = bar.add_task("hashing", total=None, rate="")
        for result in hash_files(
            list_files(paths),
            names,
            decode,
            _limits(),
            threads=threads,
            variants=make_entry if for_bank else make_original,
            as_text=as_text,
        ):
            done += 1
            bar.update(task, advance=1)
            if result.hashes is None:
                failed += 1
                click.echo(f"{result.path}: {result.error}", err=True)
            elif as_json:
                output.json_line(_as_json(result.path, folders, result.hashes))
            else:
                rows += _rows(result.path, result.hashes)
            if as_text and result.hashes is not None and result.hashes.reason:
                click.echo(f"{result.path}: {result.hashes.reason}", err=True)
    if rows:
        output.table(("file", "content", "algorithm", "quality", "signal"), rows)
    if failed:
        raise click.ClickException(f"{failed} of {done} files could not be hashed")


def print_distances(
    paths: tuple[Path, Path],
    algorithms: Sequence[str],
    decode: DecodeOptions,
    as_text: bool,
    as_json: bool,
) -> None:
    """Print the distance of two files by each algorithm. Raises ClickException."""
    names = _algorithms(algorithms, _COMPUTED_OF_TEXT if as_text else _COMPUTED, as_text)
    sides = [_signals(hash_file(path, names, decode, _limits(), as_text=as_text)) for path in paths]
    rows: list[dict[str, object]] = []
    for name in names:
        left, right = (side.get(name) for side in sides)
        if left is None or right is None:
            missing = paths[0] if left is None else paths[1]
            rows.append(_row(name, None, f"no signal of {missing}"))
        elif left.low_quality or right.low_quality:
            poor = paths[0] if left.low_quality else paths[1]
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


def _algorithms(named: Sequence[str], default: tuple[str, ...], as_text: bool) -> tuple[str, ...]:
    names = tuple(dict.fromkeys(name.lower() for name in named)) or default
    if "all" in names:
        return _COMPUTED_OF_TEXT if as_text else _COMPUTED
    for name in names:
        if not get_algorithm(name, field="--algorithm").computed:
            raise click.BadParameter(
                f"{name} is stored in banks, but not computed", param_hint="--algorithm"
            )
    return names


def _limits() -> Limits:
    return load_config().media


def _as_json(path: Path, folders: Sequence[Path], hashes: ContentHashes) -> dict[str, object]:
    media = hashes.media
    several = media is not None and media.frames > 1
    return {
        "file": printable(path),
        "external_id": printable(_name(path, folders)),
        "media_type": media.media_type if media else None,
        "width": media.width if media else None,
        "height": media.height if media else None,
        "outcome": hashes.outcome.name,
        "signals": [
            {"algorithm": s.algorithm.name, "signal": s.text, "quality": s.quality}
            | ({"frame": s.frame} if several else {})
            | ({"variant": s.variant} if s.variant != "original" else {})
            | ({"version": s.algorithm.version} if s.algorithm.version != 1 else {})
            for s in hashes.signals
        ],
    }


def _name(path: Path, folders: Sequence[Path]) -> Path | str:
    """Return the path below the folder that was named, else the file's name.

    The folders above may hold the name of a person, and differ between two machines.
    """
    for folder in folders:
        if path.is_relative_to(folder) and ".." not in path.relative_to(folder).parts:
            return path.relative_to(folder)
    return path.name


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
