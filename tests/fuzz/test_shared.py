"""Rounds of `tests.fuzz.shared`, and whether its oracle finds what it is there for."""

import random
from collections.abc import Callable, Iterator

import pytest

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import EntrySignal
from tests.banks.databases import PostgresServer, postgres_server
from tests.fuzz.history import History, connected
from tests.fuzz.journal import Change, Journal, Outcome
from tests.fuzz.shared import one_round
from tests.fuzz.tally import Tally
from tests.fuzz.writers import SharedBanks, holds_new

pytestmark = pytest.mark.slow
ROUND = (
    *("nothing", "dumped", "setting_set:standard_conforming_strings", "connections_frozen"),
    *("service_killed", "restored_slowly", "backends_ended", "schema_newer", "server_killed"),
    *("restored_whole", "connections_cut", "restored_in_pieces"),
)


@pytest.fixture(scope="module")
def postgres() -> Iterator[PostgresServer]:
    with postgres_server() as server:
        yield server


def test_three_services_share_a_database_while_all_between_them_breaks(
    postgres: PostgresServer,
) -> None:
    """`make fuzz-matching` plays rounds of any order for minutes."""
    tally = Tally()
    one_round(7, 0, tally, postgres, steps=len(ROUND), kinds=ROUND)
    assert tally.wrong == []
    for kind in ("Match", "MatchBatch"):
        assert tally.answers[kind] > 10, tally.answers
    for fault in ("service killed", "restored -j 4, slowly", "restored -j 1", "newer schema"):
        assert tally.changes[fault], tally.changes


class Past:
    """A store with a past, its history, and what was found."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.tally = Tally()
        self.journal = Journal("here", self.tally)
        self.history = History(url, self.journal)
        self.banks = SharedBanks(random.Random(3), url, 3, self.history, self.journal)
        self.store = self.banks.store
        self.store.head()
        self.history.catch_up()
        self.banks.begin()
        for number in range(2):
            self.add(number)
        self.history.catch_up()

    def add(self, number: int) -> Change:
        """Add an entry and acknowledge it, for a history that is to catch up."""
        row = ImportRow(0, (EntrySignal("md5", bytes([number] * 16)),), f"x{number}")
        change = self.journal.ask("add", "a", holds_new([row]))
        change.acknowledge(self.store.add_entries("a", [row], change.context).revision)
        return change

    def execute(self, statement: str) -> None:
        with connected(self.url) as connection:
            connection.execute(statement.encode())


@pytest.fixture
def past(postgres: PostgresServer) -> Iterator[Past]:
    made = Past(postgres.create_database())
    yield made
    made.store.close()


def test_a_past_without_faults_has_no_findings(past: Past) -> None:
    past.history.audit()
    assert past.tally.wrong == []


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE entry_signals SET value = decode(repeat('00', 16), 'hex') WHERE ordinal = 0",
        "UPDATE entries SET labels = 'l' WHERE external_id = 'x0'",
        "UPDATE entries SET removed_change = 4 WHERE external_id = 'x0'",
        "DELETE FROM entry_signals WHERE version = (SELECT max(version) FROM entry_signals)",
        "UPDATE bank_settings SET safe = true",
        "UPDATE banks SET entry_count = 3 WHERE id = 'a'",
        "DELETE FROM revisions WHERE revision = 2",
    ],
)
def test_a_past_that_was_touched_is_found(past: Past, statement: str) -> None:
    past.execute(statement)
    past.history.audit()
    assert past.tally.wrong


def lose(past: Past) -> None:
    past.journal.ask("add", "a").acknowledge(past.history.newest.head.revision + 1)


def make_another(past: Past) -> None:
    change = past.add(7)
    change.check = holds_new([])


def make_what_was_refused(past: Past) -> None:
    past.add(7).outcome = Outcome.REFUSED


def make_in_another_bank(past: Past) -> None:
    past.add(7).bank = "ok"


def make_unasked(past: Past) -> None:
    past.store.withdraw_entries("a", external_ids=["x0"])


def make_twice(past: Past) -> None:
    change = past.add(7)
    past.history.catch_up()
    past.execute("DELETE FROM requests")
    past.store.withdraw_entries("a", external_ids=["x7"], context=change.context)


@pytest.mark.parametrize(
    "fault",
    [lose, make_another, make_what_was_refused, make_in_another_bank, make_unasked, make_twice],
)
def test_a_change_that_is_not_what_was_asked_for_is_found(
    past: Past, fault: Callable[[Past], None]
) -> None:
    fault(past)
    past.history.catch_up()
    past.history.audit()
    assert past.tally.wrong
