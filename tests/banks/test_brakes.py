"""What an import may not do by mistake: withdraw much, empty a bank, put other content under an id.

After a refusal nothing has changed, and what a dry run says is what the import does.
"""

import os
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from featsvc.banks.lists.brakes import allowed_withdrawals
from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import ChangeContext, EntrySignal
from featsvc.banks.results import (
    MAX_NAMED,
    ImportOptions,
    ImportResult,
    ImportSummary,
    UnknownWithdrawal,
)
from featsvc.banks.sql import large_changes
from featsvc.banks.sql.schema import metadata
from featsvc.banks.store import BankStore
from featsvc.errors import InvalidInput, NotFound, Refused
from tests.banks.lists import hex_list, list_file, live

EXAMPLES = int(os.environ.get("TEST_BRAKES_EXAMPLES", "10"))
HEADER = "algorithm,signal,external_id,source,withdrawn\n"


def signal(number: int, algorithm: str = "pdq") -> EntrySignal:
    return EntrySignal(algorithm, number.to_bytes(32 if algorithm == "pdq" else 16))


def line(number: int, external_id: str = "", source: str = "", gone: str = "") -> str:
    return f"pdq,{_hex(number)},{external_id},{source},{gone}"


def _hex(number: int) -> str:
    return f"{number:064x}"


def load(
    store: BankStore, lines: Sequence[str], context: ChangeContext | None = None, **options: Any
) -> ImportSummary:
    file = list_file(HEADER + "".join(f"{each}\n" for each in lines), chunk_bytes=1 << 16)
    wanted = ImportOptions(**options)
    return store.import_entries("b", file, wanted, context or ChangeContext()).summary


def contents(store: BankStore) -> dict[str, list[tuple[object, ...]]]:
    """Return every row of every table."""
    with store._database.read() as connection:
        return {
            table.name: sorted(
                (tuple(row) for row in connection.execute(sa.select(table))), key=repr
            )
            for table in metadata.sorted_tables
        }


def refused(store: BankStore, change: Callable[[], object], reason: str) -> Refused:
    """Make a change that is refused, and changes nothing."""
    before = contents(store)
    with pytest.raises(Refused) as caught:
        change()
    assert caught.value.reason == reason
    assert contents(store) == before
    return caught.value


@pytest.mark.parametrize(
    ("live_entries", "allowed"), [(0, 100), (3, 100), (1000, 100), (1009, 100), (1010, 101)]
)
def test_a_tenth_or_a_hundred_may_be_withdrawn(live_entries: int, allowed: int) -> None:
    assert allowed_withdrawals(live_entries) == allowed


@given(st.integers(0, 10**9))
def test_the_share_is_never_passed(live_entries: int) -> None:
    allowed = allowed_withdrawals(live_entries)
    assert allowed == 100 or 10 * allowed <= live_entries < 10 * (allowed + 1)
    assert allowed >= 100


@pytest.mark.parametrize("by_rows", [False, True])
@pytest.mark.parametrize("entries", [130, 1300])
def test_the_brake_is_exact(bank: BankStore, entries: int, by_rows: bool) -> None:
    allowed = allowed_withdrawals(entries)
    load(bank, [line(n) for n in range(entries)])

    def lines(withdrawn: int) -> list[str]:
        return [
            line(n, gone="true" if by_rows and n < withdrawn else "")
            for n in range(0 if by_rows else withdrawn, entries)
        ]

    replace = not by_rows
    too_many = lines(allowed + 1)
    error = refused(bank, lambda: load(bank, too_many, replace=replace), "TOO_MANY_WITHDRAWN")
    assert error.metadata == {
        "withdrawn_entries": str(allowed + 1),
        "bank_entries": str(entries),
        "allowed": str(allowed),
    }
    assert f"set allow_withdrawn (--allow-withdraw) to {allowed + 1};" in str(error)
    given: dict[str, Any] = {"replace": replace, "allow_withdrawn": allowed}
    refused(bank, lambda: load(bank, too_many, **given), "TOO_MANY_WITHDRAWN")
    dry = load(bank, too_many, replace=replace, dry_run=True)
    assert [(r.reason, r.message) for r in dry.refusals] == [("TOO_MANY_WITHDRAWN", str(error))]
    assert dry.withdrawn_entries == allowed + 1
    assert load(bank, lines(allowed), replace=replace).withdrawn_entries == allowed
    assert load(bank, too_many, replace=replace).withdrawn_entries == 1


def test_an_own_number_replaces_the_share(bank: BankStore) -> None:
    load(bank, [line(n) for n in range(5)])
    options: dict[str, Any] = {"replace": True, "allow_withdrawn": 2}
    refused(bank, lambda: load(bank, [line(0), line(1)], **options), "TOO_MANY_WITHDRAWN")
    options["allow_withdrawn"] = 3
    assert load(bank, [line(0), line(1)], **options).withdrawn_entries == 3


def test_a_list_without_an_entry_replaces_nothing_by_itself(bank: BankStore) -> None:
    assert not load(bank, [], replace=True).refusals, "there is nothing to withdraw"
    entries = 3
    load(bank, [line(n) for n in range(entries)])
    error = refused(bank, lambda: load(bank, [], replace=True), "EMPTY_LIST")
    assert f"withdraw {entries:,} of the bank's {entries:,} live entries" in str(error)
    assert [r.reason for r in load(bank, [], replace=True, dry_run=True).refusals] == ["EMPTY_LIST"]
    assert not load(bank, []).refusals
    summary = load(bank, [], replace=True, allow_withdrawn=entries)
    assert (summary.withdrawn_entries, live(bank)) == (entries, {})


def test_bad_rows_and_replace_exclude_each_other() -> None:
    with pytest.raises(InvalidInput, match="would withdraw the entry of a bad row"):
        ImportOptions(replace=True, skip_bad=True)


def test_a_retry_after_a_refusal_works(bank: BankStore) -> None:
    load(bank, [line(n, "same") for n in (1,)])
    context = ChangeContext(request_id="again")
    other = [line(2, "same")]
    refused(bank, lambda: load(bank, other, context), "WOULD_REPLACE")
    refused(bank, lambda: load(bank, other, context), "WOULD_REPLACE")
    done = load(bank, other, context, allow_replaced=True)
    assert done.changed_entries == 1
    revision = bank.head().revision
    assert load(bank, other, context, allow_replaced=True) == done
    assert bank.head().revision == revision


def test_later_options_leave_old_calls_recognised() -> None:
    assert repr(ImportOptions()) == (
        "ImportOptions(source='', labels=(), dry_run=False, skip_bad=False, replace=False, etag='')"
    )
    assert "allow_withdrawn=0, allow_replaced=True" in repr(
        ImportOptions(allow_withdrawn=0, allow_replaced=True)
    )


def test_withdrawn_entries_and_what_names_nothing_are_named(bank: BankStore) -> None:
    load(bank, [line(1, "a", "feed"), line(2, "", "feed"), line(3), line(3, "b", "feed")])
    lines = [
        line(1, "a", "feed", "true"),
        line(9, "", "feed", "true"),
        line(8, "zz", "feed", "true"),
        line(2, "", "feed", "true"),
        line(2, "", "feed", "true"),
        line(2, "", "other", "true"),
    ]
    dry = load(bank, lines, dry_run=True)
    done = load(bank, lines)
    assert dry == done
    assert [(e.external_id, e.source, e.line) for e in done.withdrawn] == [
        ("a", "feed", 2),
        ("", "feed", 5),
    ]
    assert done.unknown == (
        UnknownWithdrawal(3, "", "pdq", _hex(9)),
        UnknownWithdrawal(4, "zz", "pdq", _hex(8)),
        UnknownWithdrawal(7, "", "pdq", _hex(2)),
    )
    assert (done.withdrawn_entries, done.unknown_withdrawals) == (2, 3)
    left = {(e.external_id, e.source) for e in live(bank).values()}
    assert left == {("", ""), ("b", "feed")}


def test_entries_that_replace_withdraws_are_named_after_those_of_rows(bank: BankStore) -> None:
    load(bank, [line(n, f"e{n}") for n in range(5)])
    done = load(bank, [line(4, "e4"), line(3, "e3", "", "true")], replace=True)
    assert [(e.external_id, e.line) for e in done.withdrawn] == [
        ("e3", 3),
        ("e0", 0),
        ("e1", 0),
        ("e2", 0),
    ]


@pytest.mark.slow
def test_the_first_thousand_are_named(bank: BankStore) -> None:
    bank.import_entries("b", list_file(hex_list(range(MAX_NAMED + 20)), chunk_bytes=1 << 16))
    lines = [line(n, gone="true") for n in range(2 * MAX_NAMED + 40)]
    done = load(bank, lines, allow_withdrawn=10**6)
    assert done.withdrawn_entries == done.unknown_withdrawals == MAX_NAMED + 20
    assert [e.line for e in done.withdrawn] == list(range(2, MAX_NAMED + 2))
    assert [u.line for u in done.unknown] == list(range(MAX_NAMED + 22, 2 * MAX_NAMED + 22))


def test_a_summary_has_what_the_list_holds(bank: BankStore) -> None:
    lines = [line(1), line(2, source="feed"), line(3, "x", "gone", "true"), f"md5,{'0' * 32},,,"]
    done = load(bank, lines, source="mine")
    assert done.signals == {"pdq": 3, "md5": 1}
    assert (done.sources, done.source_count) == (("feed", "gone", "mine"), 3)


def test_the_plan_is_told_before_anything_changes(bank: BankStore) -> None:
    told: list[ImportResult] = []
    before = contents(bank)

    def on_planned(plan: ImportResult) -> None:
        told.append(plan)
        assert contents(bank) == before

    file = list_file(HEADER + line(1) + "\n")
    done = bank.import_entries("b", file, on_planned=on_planned)
    assert [(p.summary, p.format, p.revision) for p in told] == [(done.summary, "csv", 0)]
    with pytest.raises(Refused):
        bank.import_entries(
            "b", list_file(HEADER), ImportOptions(replace=True), on_planned=on_planned
        )
    dry = ImportOptions(dry_run=True)
    bank.import_entries("b", list_file(HEADER), dry, on_planned=on_planned)
    assert len(told) == 1


def test_other_content_of_an_id_is_refused(bank: BankStore) -> None:
    load(bank, [line(n, f"id{n}", "feed") for n in range(30)])
    load(bank, [line(99, "id1", "partner")])
    error = refused(
        bank,
        lambda: load(bank, [line(n + 500, f"id{n}", "feed") for n in range(25)]),
        "WOULD_REPLACE",
    )
    assert error.metadata == {"replaced_entries": "25"}
    assert "25 live entries would be replaced" in str(error)
    assert "'id0' from 'feed', 'id1' from 'feed'" in str(error)
    assert str(error).endswith("'id19' from 'feed' and 5 more")
    assert len(str(error)) < 1000


def test_the_way_out_of_long_ids_fits_a_message(bank: BankStore) -> None:
    names = [f"{n:0300}" for n in range(20)]
    load(bank, [line(n, name, "s" * 300) for n, name in enumerate(names)])
    error = refused(
        bank,
        lambda: load(bank, [line(n + 50, name, "s" * 300) for n, name in enumerate(names)]),
        "WOULD_REPLACE",
    )
    assert len(str(error)) < 1000
    assert str(error).endswith("more")


def row(*signals: EntrySignal, external_id: str = "image.jpg", **fields: object) -> ImportRow:
    return ImportRow(0, signals, external_id=external_id, **fields)  # type: ignore[arg-type]


def test_a_second_picture_of_a_name_is_not_added(bank: BankStore) -> None:
    bank.add_entries("b", [row(signal(1), signal(1, "md5"))])
    second = [row(signal(2), signal(2, "md5"))]
    error = refused(bank, lambda: bank.add_entries("b", second), "WOULD_REPLACE")
    assert "'image.jpg'" in str(error)
    # The same value of another algorithm is no common signal.
    swapped = [
        row(EntrySignal("dhash", b"\0" * 8), EntrySignal("ahash", b"\0" * 8), external_id="x")
    ]
    bank.add_entries("b", [row(EntrySignal("phash", b"\0" * 8), external_id="x")])
    refused(bank, lambda: bank.add_entries("b", swapped), "WOULD_REPLACE")
    # A common signal, other fields, another source, another id: no other content.
    bank.add_entries("b", [row(signal(1, "md5"), signal(7))])
    bank.add_entries("b", [row(signal(1, "md5"), signal(7), labels=("x",))])
    bank.add_entries("b", [row(*second[0].signals, source="other")])
    bank.add_entries("b", [row(*second[0].signals, external_id="other.jpg")])
    context = ChangeContext(request_id="r")
    added = bank.add_entries("b", second, context, allow_replaced=True)
    assert bank.add_entries("b", second, context, allow_replaced=True) == added
    with pytest.raises(InvalidInput, match="was used for another call"):
        bank.add_entries("b", second, context)


def test_the_state_at_the_commit_decides(bank: BankStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """What others add between the plan and the commit is neither replaced nor withdrawn."""
    for pieces in (False, True):
        if pieces:
            monkeypatch.setattr(large_changes, "LARGE_VERSIONS", 0)
            monkeypatch.setattr(large_changes, "PIECE_VERSIONS", 1)
        number = 100 * (1 + pieces)
        load(bank, [line(number + n, f"{number + n}") for n in range(3)])

        def add(_: ImportResult, number: int = number) -> None:
            bank.add_entries("b", [row(signal(number + 50), external_id="later")])

        file = list_file(HEADER + line(number + 51, "later") + "\n")
        with pytest.raises(Refused, match="'later'"):
            bank.import_entries("b", file, on_planned=add)
        before = live(bank)
        file = list_file(HEADER + line(number, f"{number}") + "\n")

        def more(_: ImportResult, number: int = number) -> None:
            bank.add_entries("b", [row(signal(number + 60), external_id="latest")])

        allowed = len(before) - 1
        with pytest.raises(Refused, match=f"withdraw {allowed + 1} of the bank's {allowed + 2} "):
            bank.import_entries(
                "b", file, ImportOptions(replace=True, allow_withdrawn=allowed), on_planned=more
            )
        assert {e.external_id for e in live(bank).values()} == {
            *(e.external_id for e in before.values()),
            "latest",
        }
        assert bank.get_bank("b").entry_count == len(live(bank))
        with bank._database.read() as connection:
            assert connection.execute(sa.select(sa.text("1 FROM pending_change"))).first() is None
        bank.withdraw_entries("b", external_ids=["later", "latest"])
        load(bank, [], replace=True, allow_withdrawn=100)


def test_entries_are_withdrawn_by_signal(bank: BankStore) -> None:
    bank.add_entries(
        "b",
        [
            row(signal(1), signal(1, "md5"), external_id="two"),
            row(signal(1), external_id="same", source="feed"),
            row(signal(2), external_id="other"),
        ],
    )
    every = {"two", "same", "other"}

    def names() -> set[str]:
        return {e.external_id for e in live(bank).values()}

    before = contents(bank)
    dry = bank.withdraw_entries("b", signals=[signal(1)], dry_run=True)
    assert ([e.external_id for e in dry.withdrawn], dry.signals) == (["two", "same"], 3)
    assert contents(bank) == before
    with pytest.raises(NotFound, match=f"no live entry with pdq:{'0' * 57}... in this bank; "):
        bank.withdraw_entries("b", signals=[signal(1), signal(9)])
    with pytest.raises(NotFound, match="in this bank from the source 'feed'"):
        bank.withdraw_entries("b", signals=[signal(1, "md5")], source="feed")
    assert names() == every
    context = ChangeContext(request_id="w")
    done = bank.withdraw_entries("b", context=context, signals=[signal(1)], source="feed")
    assert [(e.external_id, e.source) for e in done.withdrawn] == [("same", "feed")]
    assert names() == every - {"same"}
    assert bank.withdraw_entries("b", context=context, signals=[signal(1)], source="feed") == done
    # By its second signal, and by two at once.
    both = bank.withdraw_entries("b", signals=[signal(1, "md5"), signal(1)])
    assert (both.entries, both.signals) == (1, 2)
    assert names() == {"other"}
    with pytest.raises(InvalidInput, match="1 to 1000"):
        bank.withdraw_entries("b", signals=[signal(2)] * 1001)


Lines = list[tuple[int, int, str, bool]]
lists = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 8), st.sampled_from(["", "feed"]), st.booleans()),
    max_size=8,
)
"""External id (0 for none), signal, source and whether it withdraws."""


@pytest.fixture
def fresh(store: BankStore) -> Callable[[], BankStore]:
    """Return a function that gives bank `b` anew: Hypothesis runs many examples on one database."""
    numbers = count()

    def make() -> BankStore:
        if next(numbers):
            store.delete_bank("b", force=True)
        store.create_bank("b")
        return store

    return make


@pytest.mark.slow
@settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(first=lists, second=lists, replace=st.booleans(), allow=st.none() | st.integers(0, 3))
def test_imports_keep_what_is_not_allowed_to_go(
    fresh: Callable[[], BankStore], first: Lines, second: Lines, replace: bool, allow: int | None
) -> None:
    """Against sets: who is withdrawn, who is replaced, and that a dry run foretells it all."""
    store = fresh()
    load(store, [_line(*each[:3], False) for each in first], allow_replaced=True)
    before = live(store)
    lines = [_line(*each) for each in second]
    options: dict[str, Any] = {"replace": replace, "allow_withdrawn": allow}
    dry = load(store, lines, dry_run=True, **options)
    assert live(store) == before
    free = load(store, lines, dry_run=True, replace=replace, allow_replaced=True)
    first_reason = ""
    planned = {"withdrawn": set[int](), "replaced": set[int]()}
    try:
        done = load(store, lines, **options)
    except Refused as error:
        first_reason = error.reason
        assert live(store) == before
        done = load(store, lines, replace=replace, allow_withdrawn=10**6, allow_replaced=True)
    else:
        assert dry == done
    after = live(store)
    planned["withdrawn"] = {key[1] for key in before.keys() - after.keys()}
    planned["replaced"] = {
        key[1]
        for key in before.keys() & after.keys()
        if not {(s.algorithm, s.value) for s in before[key].signals}
        & {(s.algorithm, s.value) for s in after[key].signals}
    }
    assert {e.id for e in done.withdrawn} == planned["withdrawn"]
    assert done.withdrawn_entries == len(planned["withdrawn"]) == free.withdrawn_entries
    limit = allowed_withdrawals(len(before)) if allow is None else allow
    empty = (
        replace
        and allow is None
        and planned["withdrawn"]
        and not done.new_entries + done.changed_entries + done.unchanged_entries
    )
    expected = (
        ["EMPTY_LIST"]
        if empty
        else ["TOO_MANY_WITHDRAWN"]
        if len(planned["withdrawn"]) > limit
        else []
    ) + (["WOULD_REPLACE"] if planned["replaced"] else [])
    assert [r.reason for r in dry.refusals] == expected
    assert first_reason == (expected[0] if expected else "")
    assert len(done.unknown) == done.unknown_withdrawals
    assert done.bank_entries == len(before)


def _line(external: int, number: int, source: str, gone: bool) -> str:
    return line(number, f"e{external}" if external else "", source, "true" if gone else "")


@pytest.mark.parametrize("pieces", [False, True])
def test_case_files(store: BankStore, pieces: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(__file__).parents[3] / "shared" / "cases" / "lists"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not here")
    if pieces:
        monkeypatch.setattr(large_changes, "LARGE_VERSIONS", 0)

    def case(bank: str, name: str, **options: Any) -> ImportSummary:
        file = list_file((folder / name).read_bytes(), name=name)
        wanted = ImportOptions(**options)
        return store.import_entries(bank, file, wanted).summary

    for bank in ("feed", "one", "two", "three"):
        store.create_bank(bank)
    case("feed", "sn.csv")
    done = case("feed", "65_stopncii_notblocked.json")
    assert [(e.external_id, e.line > 0) for e in done.withdrawn] == [("n-1", True)]
    assert done.unknown_withdrawals == 0
    case("one", "m1.jsonl")
    assert case("one", "m2.jsonl").unchanged_entries == 1
    case("two", "m1.jsonl")
    done = case("two", "m3.jsonl")
    assert (done.withdrawn_entries, done.unknown_withdrawals) == (1, 0)
    assert case("two", "m3.jsonl").unknown_withdrawals == 1
    store.import_entries("three", list_file(hex_list(range(3))))
    with pytest.raises(Refused, match="holds no entry"):
        case("three", "34_header_only.csv", replace=True)
    assert store.get_bank("three").entry_count == 3
