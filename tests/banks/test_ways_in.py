"""Times at the ends of the calendar and names of variants, by every way in."""

import json
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.lists.list_file import ListFile
from featsvc.banks.records import MAX_FOREIGN_VARIANTS, EntrySignal
from featsvc.banks.results import ImportOptions
from featsvc.banks.store import BankStore
from featsvc.errors import InvalidInput
from tests.banks.lists import ids, list_file, live

END = datetime.max.replace(tzinfo=UTC)
START = datetime.min.replace(tzinfo=UTC)
OFFSETS = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))
# Both ends of the calendar, and anything between.
MOMENTS = st.one_of(
    st.datetimes(timezones=OFFSETS),
    st.datetimes(max_value=datetime(1, 1, 3), timezones=OFFSETS),
    st.datetimes(min_value=datetime(9999, 12, 29), timezones=OFFSETS),
)


def in_utc(moment: datetime) -> bool:
    """Return whether the moment is within the years 1 to 9999 in UTC, exactly."""
    since_start = (moment.replace(tzinfo=UTC) - START) - (moment.utcoffset() or timedelta())
    return timedelta() <= since_start <= END - START


def csv_entry(number: int, moment: datetime) -> tuple[bytes, str]:
    line = f"pdq,{number:064x},{moment.isoformat()}\n"
    return f"algorithm,signal,expire_time\n{line}".encode(), "list.csv"


def json_entry(number: int, moment: datetime) -> tuple[bytes, str]:
    signal = {"algorithm": "pdq", "signal": f"{number:064x}"}
    entry = {"signals": [signal], "expire_time": moment.isoformat()}
    return json.dumps(entry).encode(), "list.jsonl"


@settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(MOMENTS, st.integers(1, 2**60), st.sampled_from(["csv", "jsonl", "rows"]))
def test_every_time_is_stored_or_refused_with_its_place(
    bank: BankStore, moment: datetime, number: int, way: str
) -> None:
    before = ids(bank)
    if way == "rows":
        signal = EntrySignal("pdq", number.to_bytes(32, "big"))
        row = ImportRow(0, (signal,), expire_time=moment)
        if not in_utc(moment):
            with pytest.raises(InvalidInput, match="within the years 1 to 9999") as refused:
                bank.add_entries("b", [row])
            assert refused.value.field == "expire_time"
            assert ids(bank) == before
            return
        bank.add_entries("b", [row])
    else:
        content, name = (csv_entry if way == "csv" else json_entry)(number, moment)
        summary = bank.import_entries("b", list_file(content, name=name)).summary
        if not in_utc(moment):
            (bad,) = summary.bad
            assert bad.column == "expire_time"
            assert bad.line == (2 if way == "csv" else 1)
            assert ids(bank) == before
            return
    stored = [e for e in live(bank).values() if e.signals[0].value[-8:] == number.to_bytes(8)]
    (entry,) = stored
    assert entry.expire_time == moment


def variant_lists(names: Iterable[str]) -> Iterator[tuple[str, ListFile]]:
    named = list(enumerate(names))
    rows = "".join(f'pdq,{n:064x},"{name}"\n' for n, name in named)
    yield "csv", list_file(f"algorithm,signal,variant\n{rows}", name="l.csv", chunk_bytes=1 << 16)
    lines = [
        json.dumps({"signals": [{"algorithm": "pdq", "signal": f"{n:064x}", "variant": name}]})
        for n, name in named
    ]
    yield "jsonl", list_file("\n".join(lines), name="l.jsonl", chunk_bytes=1 << 16)


@pytest.mark.parametrize("name", ["v" * 33, "a\x1fb", "a\x7fb", "tab\tin"])
def test_names_of_variants_are_checked_by_every_way_in(bank: BankStore, name: str) -> None:
    for way, file in variant_lists([name]):
        (bad,) = bank.import_entries("b", file).summary.bad
        assert "must be 1 to 32 characters" in bad.reason, way
    row = ImportRow(0, (EntrySignal("pdq", bytes(32), name),))
    with pytest.raises(InvalidInput, match="must be 1 to 32 characters"):
        bank.add_entries("b", [row])
    assert ids(bank) == []


def test_a_list_has_so_many_unknown_names_of_variants(bank: BankStore) -> None:
    allowed = [f"theirs {n}" for n in range(MAX_FOREIGN_VARIANTS)]
    skip = ImportOptions(skip_bad=True)
    for way, file in variant_lists([*allowed, "one more", "flip_y", "theirs 1"]):
        summary = bank.import_entries("b", file, skip).summary
        (bad,) = summary.bad
        assert bad.column == "variant"
        assert bad.line == MAX_FOREIGN_VARIANTS + (2 if way == "csv" else 1)
        assert "'one more' is one more name" in bad.reason
        assert len(ids(bank)) == MAX_FOREIGN_VARIANTS + 2
    signals = [EntrySignal("pdq", n.to_bytes(32, "big"), f"v{n}") for n in range(5000, 6001)]
    rows = [ImportRow(n, tuple(signals[n : n + 100])) for n in range(0, len(signals), 100)]
    with pytest.raises(InvalidInput, match="one more name than the 1000"):
        bank.add_entries("b", rows)
