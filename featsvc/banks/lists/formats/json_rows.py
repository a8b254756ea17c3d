"""Our JSON Lines: one entry in each line, with all its fields.

    {"external_id": "a", "signals": [{"algorithm": "pdq", "signal": "f8f8..."}], "labels": ["x"],
     "source": "", "opinion": "positive", "note": "", "expire_time": "2030-01-31T00:00:00Z"}

A signal may have `variant`, `quality` and the `version` of its algorithm, which must be this
build's. `"withdrawn": true` withdraws an entry. Only `signals` is required; a withdrawal may have
an `external_id` instead.
"""

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from featsvc.banks.lists.formats.csv_rows import parse_opinion
from featsvc.banks.lists.formats.json_records import decode_record
from featsvc.banks.lists.formats.lines import read_lines
from featsvc.banks.lists.formats.rows import (
    ImportRow,
    check_row,
    listed_algorithm,
    parse_listed_signals,
    parse_time,
)
from featsvc.banks.records import (
    MAX_ENTRY_SIGNALS,
    MAX_QUALITY,
    Entry,
    EntrySignal,
    stored_version,
)
from featsvc.banks.results import BadRow
from featsvc.errors import InvalidInput
from featsvc.signals.algorithms import get_algorithm


class JsonSignal(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    algorithm: str
    signal: str
    variant: str = "original"
    quality: int | None = None
    version: int = 0


class JsonEntry(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    external_id: str = ""
    signals: tuple[JsonSignal, ...] = ()
    labels: tuple[str, ...] = ()
    source: str = ""
    opinion: str = ""
    note: str = ""
    expire_time: str = ""
    withdrawn: bool = False


_decoder = msgspec.json.Decoder(JsonEntry)
_encoder = msgspec.json.Encoder()


def is_row(line: str) -> bool:
    try:
        entry = _decoder.decode(line)
    except (msgspec.DecodeError, UnicodeError):
        return False
    return bool(entry.signals or entry.external_id)


def read(chunks: Iterable[bytes]) -> Iterator[ImportRow | BadRow]:
    """Read an entry from each line that is not blank."""
    return read_lines(chunks, _parse)


def _parse(number: int, line: str) -> ImportRow:
    entry = decode_record(_decoder, line)
    if not (entry.withdrawn and entry.external_id):
        check_signals(entry.signals)
    row = ImportRow(
        number,
        tuple(parsed for signal in entry.signals for parsed in parse_json_signal(signal)),
        entry.external_id.strip(),
        tuple(dict.fromkeys(label.strip() for label in entry.labels)),
        entry.source.strip(),
        parse_opinion(entry.opinion),
        entry.note.strip(),
        parse_time(entry.expire_time, field="expire_time") if entry.expire_time else None,
        entry.withdrawn,
    )
    check_row(row)
    return row


def check_signals(signals: Sequence[object]) -> None:
    """Raises InvalidInput for no signal, or for more than an entry may have."""
    if not signals:
        raise InvalidInput.at("signals", "an entry must have at least one")
    if len(signals) > MAX_ENTRY_SIGNALS:
        raise InvalidInput.at("signals", f"must be at most {MAX_ENTRY_SIGNALS}, not {len(signals)}")


def parse_json_signal(signal: JsonSignal) -> tuple[EntrySignal, ...]:
    """Parse one signal, or the text of a RAW_TEXT. Raises InvalidInput, InvalidSignal."""
    if signal.quality is not None and not 0 <= signal.quality <= MAX_QUALITY:
        raise InvalidInput(
            f"quality: must be 0 to {MAX_QUALITY}, not {signal.quality}", field="signals"
        )
    algorithm = listed_algorithm(signal.algorithm)
    if signal.version:
        stored_version(algorithm, signal.version, field="signals")
    return parse_listed_signals(
        algorithm,
        signal.signal,
        variant=signal.variant.strip() or "original",
        quality=signal.quality,
    )


def write(entry: Entry) -> Iterable[bytes]:
    row = JsonEntry(
        external_id=entry.external_id,
        signals=tuple(
            JsonSignal(s.algorithm, s.text, s.variant, s.quality, _other_version(s))
            for s in entry.signals
        ),
        labels=entry.labels,
        source=entry.source,
        opinion=entry.opinion.value,
        note=entry.note,
        expire_time="" if entry.expire_time is None else entry.expire_time.isoformat(),
    )
    yield _encoder.encode(row) + b"\n"


def _other_version(signal: EntrySignal) -> int:
    """Return the version of a signal, 0 for that of this build."""
    current = get_algorithm(signal.algorithm).version
    return 0 if signal.version == current else signal.version
