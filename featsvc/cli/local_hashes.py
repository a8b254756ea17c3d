"""Hashes of files of this machine, printed for `featsvc hash` and `featsvc compare`."""

import os
import stat
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from featsvc.cli import output
from featsvc.cli.inputs import printable
from featsvc.cli.words import counted, echo
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
from featsvc.signals.hashes import ContentHashes, ContentOutcome
from featsvc.signals.text import STORED_ALGORITHMS

_COMPUTED = tuple(n for n, kind in ALGORITHMS.items() if kind.of_files)
_COMPUTED_OF_TEXT = tuple(n for n, kind in ALGORITHMS.items() if kind.of_texts)

BROKEN = frozenset({ContentOutcome.CORRUPT_MEDIA, ContentOutcome.TOO_LARGE_MEDIA})
"""Pictures that do not decode: only their bytes were hashed, and the exit code says so."""


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
    """Hash files and folders and print each as soon as it is hashed.

    `for_bank`: with the variants of an entry, and pictures that do not decode are errors, as for
    `bank add`. Raises ClickException if a file cannot be hashed, or only by its bytes.
    """
    folders = [path for path in paths if path.is_dir()]
    failed = partial = done = 0
    with output.progress(count=True, shown=not _lines_are_seen(as_json)) as bar:
        task = bar.add_task("hashing", total=None, rate="")
        for result in hash_files(
            list_files(paths),
            names,
            decode,
            _limits(),
            threads=threads,
            variants=make_entry if for_bank else make_original,
            as_text=as_text,
            must_decode=for_bank,
        ):
            done += 1
            bar.update(task, advance=1)
            hashes = result.hashes
            if hashes is None:
                failed += 1
                echo(f"{result.path}: {result.error}", err=True)
                continue
            partial += hashes.outcome in BROKEN
            if as_json:
                output.json_line(_as_json(result.path, folders, hashes))
            else:
                _print_hashes(result.path, hashes)
            if _needs_reason(hashes, as_text):
                echo(f"{result.path}: {hashes.reason}", err=True)
    if as_json and not bar.disable:
        echo(f"hashed {counted(done - failed, 'file')}", err=True)
    _raise_if_incomplete(failed, partial, done)


def _lines_are_seen(as_json: bool) -> bool:
    """Whether lines go to a pipe or a terminal, where a bar would be in their way."""
    return sys.stdout.isatty() or (as_json and stat.S_ISFIFO(os.fstat(1).st_mode))


def _raise_if_incomplete(failed: int, partial: int, done: int) -> None:
    problems = []
    files = counted(done, "file")
    if failed:
        problems.append(f"{failed:,} of {files} could not be hashed")
    if partial:
        problems.append(f"{partial:,} of {files} did not decode, so not all hashes were computed")
    if problems:
        raise click.ClickException("; ".join(problems))


def _needs_reason(hashes: ContentHashes, as_text: bool) -> bool:
    """Whether to say why an outcome is not OK; the table shows a low quality or a missing hash."""
    return bool(hashes.reason) and (
        as_text or hashes.outcome in BROKEN or hashes.outcome is ContentOutcome.UNSTABLE
    )


def print_distances(
    paths: tuple[Path, Path],
    algorithms: Sequence[str],
    decode: DecodeOptions,
    as_text: bool,
    as_json: bool,
) -> None:
    """Print the distance of two files by each algorithm.

    Raises ClickException if a file cannot be hashed, or after the table if it does not decode.
    """
    names = _algorithms(algorithms, _COMPUTED_OF_TEXT if as_text else _COMPUTED, as_text)
    hashed = [_hashes(hash_file(path, names, decode, _limits(), as_text=as_text)) for path in paths]
    sides = [{signal.algorithm.name: signal for signal in each.signals} for each in hashed]
    rows: list[dict[str, object]] = []
    for name in names:
        left, right = (side.get(name) for side in sides)
        if left is None or right is None:
            missing = paths[0] if left is None else paths[1]
            rows.append(_row(name, None, f"no signal of {missing}"))
        elif left.low_quality or right.low_quality:
            poor = paths[0] if left.low_quality else paths[1]
            rows.append(_row(name, distance(left, right), f"LOW_QUALITY: {poor}"))
        elif left.unstable or right.unstable:
            noisy = paths[0] if left.unstable else paths[1]
            rows.append(_row(name, distance(left, right), f"UNSTABLE: {noisy}"))
        else:
            apart = distance(left, right)
            near = apart <= get_algorithm(name).default_threshold
            rows.append(_row(name, apart, "match" if near else "no match"))
    if as_json:
        output.json_lines(rows)
    else:
        columns = ("algorithm", "distance", "threshold", "bits", "verdict")
        output.table(columns, ([row[column] for column in columns] for row in rows))
    broken = [
        f"{path}: {each.reason}"
        for path, each in zip(paths, hashed, strict=True)
        if each.outcome in BROKEN
    ]
    if broken:
        raise click.ClickException("; ".join(broken))


def _row(name: str, apart: float | None, verdict: str) -> dict[str, object]:
    kind = get_algorithm(name)
    return {
        "algorithm": name,
        "distance": apart,
        "threshold": kind.default_threshold,
        "bits": kind.bits,
        "verdict": verdict,
    }


def _hashes(result: FileHashes) -> ContentHashes:
    if result.hashes is None:
        raise click.ClickException(f"{result.path}: {result.error}")
    return result.hashes


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
        "outcome_reason": hashes.reason,
        "signals": [
            {"algorithm": s.algorithm.name, "signal": s.text, "quality": s.quality}
            | ({"frame": s.frame} if several else {})
            | ({"variant": s.variant} if s.variant != "original" else {})
            | ({"version": s.algorithm.version} if s.algorithm.version != 1 else {})
            | ({"outcome": "UNSTABLE"} if s.unstable and not s.low_quality else {})
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


def _print_hashes(path: Path, hashes: ContentHashes) -> None:
    """Print what a file is, and a line for each signal: on most terminals it has room."""
    media = hashes.media
    kind = "not a picture"
    if media is not None:
        kind = f"{media.media_type} {media.width}x{media.height}" if media.width else "text"
    if hashes.outcome in BROKEN:
        kind = f"{kind if media else 'picture'}: {hashes.outcome.name}"
    echo(f"{path}: {kind}")
    output.fields(
        (
            s.algorithm.name,
            "" if s.quality is None else f"q{s.quality}",
            output.shorten(s.text),
        )
        for s in hashes.signals
    )
