"""`featsvc hash FILE...`: hash files here, without a server."""

from pathlib import Path

import click

from featsvc.cli import output
from featsvc.cli.files import read_content
from featsvc.cli.remote import json_option
from featsvc.config import load_config
from featsvc.errors import FeatsvcError
from featsvc.hashing.content import hash_content
from featsvc.hashing.registry import DEFAULT_ALGORITHMS, get_algorithm
from featsvc.media import DecodeOptions, Limits


@click.command("hash", short_help="Hash files on this machine.")
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--algorithm", "-a", "algorithms", multiple=True, help="Default: pdq, md5, sha256. Repeatable."
)
@json_option
def hash_files(files: tuple[Path, ...], algorithms: tuple[str, ...], as_json: bool) -> None:
    """Hash FILES on this machine; no server is needed.

    A file that cannot be read or decoded is reported on stderr and skipped; the exit code is
    then 1.
    """
    wanted = tuple(a.lower() for a in algorithms) or DEFAULT_ALGORITHMS
    for name in wanted:
        get_algorithm(name, field="--algorithm")
    config = load_config().media
    limits = Limits(
        config.max_content_bytes, config.max_pixels, config.max_frames, config.max_aspect_ratio
    )
    failed = 0
    rows: list[tuple[object, ...]] = []
    for file in files:
        try:
            content = read_content(file, limits.max_content_bytes)
            hashes = hash_content(content, wanted, DecodeOptions(), limits)
        except FeatsvcError as exc:
            failed += 1
            click.echo(f"{file}: {exc}", err=True)
            continue
        media = hashes.media
        if as_json:
            output.json_line(
                {
                    "file": str(file),
                    "media_type": media.media_type if media else None,
                    "width": media.width if media else None,
                    "height": media.height if media else None,
                    "outcome": hashes.outcome.name,
                    "signals": [
                        {"algorithm": s.algorithm, "signal": s.text, "quality": s.quality}
                        for s in hashes.signals
                    ],
                }
            )
            continue
        kind = f"{media.media_type} {media.width}x{media.height}" if media else "not a picture"
        first: tuple[object, object] = (file, kind)
        for signal in hashes.signals:
            rows.append((*first, signal.algorithm, signal.quality, signal.text))
            first = ("", "")
    if rows:
        output.table(("file", "content", "algorithm", "quality", "signal"), rows)
    if failed:
        raise click.ClickException(f"{failed} of {len(files)} files could not be hashed")
