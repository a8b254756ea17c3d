"""Three services that share a PostgreSQL, while everything between them breaks.

Each round has its own database and services (`tests.fuzz.site`). In a step two or three curators
change the banks at once, through services and through a store in this process, something breaks
meanwhile, and services are asked all the time. Every answer must be that of the brute force over
the state that it names; every revision must be just what one curator asked for, and what was
acknowledged must stay (`tests.fuzz.history`, `tests.fuzz.journal`). A backup is restored now and
then: what services answer meanwhile must be of a state that the store had, and what is acknowledged
meanwhile must stay, too. At the end all services must reach the newest revision by themselves.

What comes in which order depends on the machine: a seed names the plan, not the outcome.
"""

import random
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from itertools import count
from pathlib import Path

import grpc
from featsvc_client.v1 import matching_pb2

from tests.banks.databases import PostgresServer, postgres_server
from tests.fuzz.faults import Faults
from tests.fuzz.history import History
from tests.fuzz.journal import Journal
from tests.fuzz.questions import Question, Stub, state_at
from tests.fuzz.site import Service, Site
from tests.fuzz.tally import Tally
from tests.fuzz.writers import Curator, SharedBanks
from tests.integration.running import own_connection
from tests.patience import PATIENCE_S, until

STEPS = 25
_LOOKS = 6
"""Answers of a service that must be of the newest revision: it may have several workers."""
Answered = tuple[Question, matching_pb2.MatchResponse | matching_pb2.MatchBatchResponse]


def fuzz_shared(seed: int, seconds: float, tally: Tally) -> None:
    """Play one round after another until the time is over."""
    deadline = time.monotonic() + seconds
    with postgres_server() as server:
        for number in count():
            if time.monotonic() > deadline:
                break
            one_round(seed, number, tally, server, deadline=deadline)


def one_round(
    seed: int,
    number: int,
    tally: Tally,
    server: PostgresServer,
    *,
    steps: int = STEPS,
    workers: int = 2,
    kinds: tuple[str, ...] = (),
    deadline: float = float("inf"),
) -> None:
    """Play one round; `kinds` are the faults of the first steps."""
    place = f"--seed {seed} --shared {number}"
    rng = random.Random(place)
    with tempfile.TemporaryDirectory() as folder:
        site = Site(server, Path(folder), workers)
        game = _Round(place, rng, site, tally)
        try:
            game.start()
            for step in range(steps):
                if time.monotonic() > deadline:
                    break
                game.step(kinds[step] if step < len(kinds) else "")
            game.end()
        except Exception as exc:  # also a finding
            lines = traceback.format_exc().splitlines()[-6:]
            tally.wrong.append(f"{place}: {type(exc).__name__}: {exc}; {lines}")
        finally:
            game.close()


class _Round:
    def __init__(self, place: str, rng: random.Random, site: Site, tally: Tally) -> None:
        self._place = place
        self._rng = rng
        self._site = site
        self._tally = tally
        self._journal = Journal(place, tally)
        self._history = History(site.url, self._journal)
        seeds = rng.getrandbits(32)
        self._asking, *self._writing = (
            SharedBanks(
                random.Random(rng.getrandbits(32)), site.url, seeds, self._history, self._journal
            )
            for _ in range(4)
        )
        self._writers: list[Callable[[], str]] = [
            Curator(banks, self._journal, site.addresses, tally, place).change
            for banks in self._writing[1:]
        ]
        self._writers.append(self._writing[0].change)
        self._faults = Faults(rng, site, self._history, self._writers)

    def start(self) -> None:
        self._asking.store.head()
        self._history.catch_up()
        self._writing[0].begin()
        self._history.catch_up()
        self._site.start()

    def step(self, kind: str = "") -> None:
        """Break something, while curators work unless it is a restore, and compare answers."""
        fault, writes = self._faults.choose(kind)
        jobs: list[Callable[[], str]] = [fault]
        if writes:
            jobs += [
                self._changes(writer, self._rng.choice((1, 2, 4)))
                for writer in self._rng.sample(self._writers, self._rng.choice((2, 3)))
            ]
        answered = self._asked_during(jobs)
        self._site.restart()
        self._history.catch_up()
        while self._faults.newer_schemas:
            self._journal.check_refused(*self._faults.newer_schemas.pop())
        for service in self._site.services:
            answered += self._ask(service)
        self._check(answered)

    def end(self) -> None:
        """Wait until all services are at the newest revision, and compare once more."""
        self._faults.heal()
        self._history.catch_up()
        for service in self._site.services:
            until(lambda s=service: self._is_current(s), f"{service.name} is not at the head")  # type: ignore[misc]
        for service in self._site.services:
            for _ in range(_LOOKS):
                self._check(self._ask(service))
        self._history.audit()

    def close(self) -> None:
        self._tally.changes["restore repeated after a deadlock"] += self._site.deadlocks
        for banks in (self._asking, *self._writing):
            banks.store.close()
        try:
            self._site.close()
        except Exception as exc:  # also a finding
            self._tally.wrong.append(f"{self._place}: {type(exc).__name__}: {exc}")
        for service in self._site.services:
            self._tally.wrong += [f"{self._place}: {line}" for line in service.incidents]

    def _changes(self, writer: Callable[[], str], number: int) -> Callable[[], str]:
        def make() -> str:
            for _ in range(number):
                name = writer()
                with self._tally.lock:
                    self._tally.changes[name] += 1
            return ""

        return make

    def _asked_during(self, jobs: list[Callable[[], str]]) -> list[Answered]:
        """Run jobs at once, and ask until they are done."""
        failures: list[BaseException] = []

        def run(job: Callable[[], str]) -> None:
            try:
                name = job()
            except BaseException as exc:
                failures.append(exc)
            else:
                if name:
                    with self._tally.lock:
                        self._tally.changes[name] += 1

        threads = [threading.Thread(target=run, args=(job,), daemon=True) for job in jobs]
        for thread in threads:
            thread.start()
        deadline = time.monotonic() + 2 * PATIENCE_S
        answered: list[Answered] = []
        while any(thread.is_alive() for thread in threads):
            assert time.monotonic() < deadline, "a curator or a fault waits for ever"
            answered += self._ask(self._rng.choice(self._site.services))
            time.sleep(0.02)
        if failures:
            raise failures[0]
        return answered

    def _ask(self, service: Service) -> list[Answered]:
        """Ask a service, if it runs; its answers are compared once the history is known."""
        running, question = service.running, Question(self._asking)
        answered: list[Answered] = []
        for ask in (question.match, question.match_batch):
            if running is None:
                break
            try:
                with own_connection(running.address) as channel:
                    answered.append((question, ask(Stub(channel))))
            except grpc.RpcError as exc:
                self._tally.answers[f"  {exc.code().name}"] += 1
                if exc.code() not in (grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNAVAILABLE):
                    text = f"{self._place}: {service.name}: {exc.code().name} {exc.details()}"
                    self._tally.wrong.append(text)
        return answered

    def _check(self, answered: list[Answered]) -> None:
        for question, answer in answered:
            mark = answer.watermark
            state = state_at(self._history.states, mark)
            if state is None:
                when = mark.commit_time.ToJsonString()
                self._tally.wrong.append(
                    f"{self._place}: an answer names revision {mark.revision} of {when}, which no "
                    "store had"
                )
            elif isinstance(answer, matching_pb2.MatchResponse):
                question.check_match(self._place, answer, state, self._tally)
            else:
                question.check_batch(self._place, answer, state, self._tally)

    def _is_current(self, service: Service) -> bool:
        assert service.running is not None, "it was started"
        newest = self._history.newest
        for _ in range(_LOOKS):
            try:
                with own_connection(service.running.address) as channel:
                    answer = Question(self._asking).match(Stub(channel))
            except grpc.RpcError:
                return False
            if state_at(self._history.states, answer.watermark) is not newest:
                return False
        return True
