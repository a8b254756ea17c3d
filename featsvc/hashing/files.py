"""Hash files and folders over threads, in order; report those that cannot be hashed."""

import os
from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from featsvc.errors import FeatsvcError, InvalidInput, MediaTooLarge
from featsvc.hashing.content import hash_any
from featsvc.hashing.variants import VariantMaker, make_original
from featsvc.media import DecodeOptions, Limits
from featsvc.signals.hashes import ContentHashes
from featsvc.signals.text_views import decode_text


@dataclass(frozen=True, slots=True)
class FileHashes:
    """The `hashes` of one file, or the `error` that prevented them."""

    path: Path
    hashes: ContentHashes | None
    error: FeatsvcError | None = None


def list_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield files as given, and all files below folders in order of name.

    Does not follow links to folders. Yields missing paths too: hashing them reports the error.
    """
    for path in paths:
        if path.is_dir():
            yield from _walk(path)
        else:
            yield path


def _walk(folder: Path) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        folders.sort()
        for name in sorted(names):
            yield Path(parent, name)


def hash_file(
    path: Path,
    algorithms: Sequence[str],
    options: DecodeOptions,
    limits: Limits,
    *,
    variants: VariantMaker = make_original,
    as_text: bool = False,
    parts: bool = False,
    must_decode: bool = False,
) -> FileHashes:
    """Hash one file, or with `as_text` the UTF-8 text in it; errors are in the result.

    `variants` and `must_decode` as for `hash_content`, `parts` as for `hash_text`. Raises nothing:
    whatever a file does, the next one is hashed.
    """
    try:
        data = _read(path, limits)
        content = decode_text(data) if as_text else data
        hashes = hash_any(
            content, algorithms, options, limits, variants, parts=parts, must_decode=must_decode
        )
        return FileHashes(path, hashes)
    except FeatsvcError as exc:
        return FileHashes(path, None, exc)
    except Exception as exc:
        return FileHashes(path, None, _unforeseen(exc))


def _unforeseen(exc: Exception) -> FeatsvcError:
    if isinstance(exc, MemoryError):
        return MediaTooLarge("not enough memory to hash it; use fewer threads")
    # The text of the exception may quote the file.
    return FeatsvcError(f"cannot be hashed: {type(exc).__name__}; this is a bug, please report it")


def hash_files(
    paths: Iterable[Path],
    algorithms: Sequence[str],
    options: DecodeOptions,
    limits: Limits,
    *,
    threads: int = 0,
    variants: VariantMaker = make_original,
    as_text: bool = False,
    must_decode: bool = False,
) -> Generator[FileHashes, None, None]:
    """Hash files over `threads` (0: one a core) and yield them in the order of `paths`.

    The rest is as for `hash_file`. Texts are hashed as entries store them. Reads at most four files
    a thread ahead, so a folder of any size takes bounded memory.
    """
    workers = threads or os.cpu_count() or 1
    job = partial(
        hash_file, variants=variants, as_text=as_text, parts=as_text, must_decode=must_decode
    )
    waiting: deque[Future[FileHashes]] = deque()
    with ThreadPoolExecutor(workers, thread_name_prefix="featsvc-hash") as pool:
        try:
            for path in paths:
                waiting.append(pool.submit(job, path, algorithms, options, limits))
                if len(waiting) >= 4 * workers:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _read(path: Path, limits: Limits) -> bytes:
    """Read a regular file, its size checked first. Raises InvalidInput, MediaTooLarge."""
    try:
        if path.exists() and not path.is_file():
            raise InvalidInput("not a regular file")
        limits.check_bytes(path.stat().st_size)
        return path.read_bytes()
    except OSError as exc:
        raise InvalidInput(f"cannot be read: {exc.strerror or exc}") from exc
