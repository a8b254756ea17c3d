"""Reading the files that a user names."""

from pathlib import Path

from featsvc.errors import InvalidInput, MediaTooLarge


def read_content(path: Path, max_bytes: int) -> bytes:
    """The bytes of a file. Raises InvalidInput where it cannot be read or is too large."""
    try:
        with path.open("rb") as file:
            content = file.read(max_bytes + 1)
    except OSError as exc:
        raise InvalidInput(f"cannot be read: {exc.strerror}") from exc
    if len(content) > max_bytes:
        raise MediaTooLarge(f"larger than media.max_content_bytes = {max_bytes} bytes")
    return content
