"""What `featsvc hash --json` prints: the signals of one file in each line.

    {"file": "pictures/a.jpg", "external_id": "a.jpg", "outcome": "OK",
     "signals": [{"algorithm": "pdq", "signal": "f8f8...", "quality": 100}]}

The external id is the file's name, below the folder that was hashed; without one it is the last
part of `file`. Signals keep their quality and variant; unstable ones are counted. Those of further
frames are refused, as by every other way into a bank, and so is a picture that did not decode: an
entry of its byte hashes alone would find no edited copy, and nobody would know.
"""

from collections.abc import Iterable, Iterator
from pathlib import PurePath

import msgspec

from featsvc.banks.lists.formats.json_records import decode_record
from featsvc.banks.lists.formats.json_rows import JsonSignal, check_signals, parse_json_signal
from featsvc.banks.lists.formats.lines import read_lines
from featsvc.banks.lists.formats.rows import ImportRow, check_row
from featsvc.banks.records import EntrySignal
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput
from featsvc.signals.hashes import ContentOutcome

START = '{"file":'
"""How a line begins."""


class HashedSignal(msgspec.Struct, frozen=True):
    algorithm: str
    signal: str
    quality: int | None = None
    variant: str = "original"
    frame: int = 0
    version: int = 1
    outcome: str = "OK"


class HashedFile(msgspec.Struct, frozen=True):
    file: str
    outcome: str
    signals: tuple[HashedSignal, ...]
    external_id: str = ""


_BROKEN = frozenset({ContentOutcome.CORRUPT_MEDIA.name, ContentOutcome.TOO_LARGE_MEDIA.name})
_decoder = msgspec.json.Decoder(HashedFile)


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    """Read an entry from each line that is not blank."""
    return read_lines(chunks, _parse)


def _parse(number: int, line: str) -> ImportRow:
    hashed = decode_record(_decoder, line)
    if hashed.outcome in _BROKEN:
        raise InvalidInput.at(
            "outcome",
            f"{hashed.outcome}: the picture did not decode; to find equal files only, hash it with "
            "-a md5 -a sha256",
        )
    check_signals(hashed.signals)
    signals = tuple(parsed for signal in hashed.signals for parsed in _parse_signal(signal))
    external_id = hashed.external_id.strip() or PurePath(hashed.file).name
    unstable = sum(signal.outcome == "UNSTABLE" for signal in hashed.signals)
    row = ImportRow(number, signals, external_id, unstable_signals=unstable)
    check_row(row)
    return row


def _parse_signal(signal: HashedSignal) -> tuple[EntrySignal, ...]:
    if signal.frame:
        raise InvalidInput.at(
            "signals",
            f"frame {signal.frame}: this version does not store signals of frames; hash without "
            "--all-frames",
        )
    return parse_json_signal(
        JsonSignal(signal.algorithm, signal.signal, signal.variant, signal.quality, signal.version)
    )
