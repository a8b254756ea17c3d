"""What breaks between services and their database, and how it is mended."""

import signal
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from random import Random

import psutil

from tests.fuzz.history import History
from tests.fuzz.site import Service, Site, section

SETTINGS = {
    "standard_conforming_strings": "off",
    "bytea_output": "escape",
    "TimeZone": "Asia/Kathmandu",
    "default_transaction_isolation": "serializable",
    "client_encoding": "LATIN1",
    "search_path": "elsewhere",
    "statement_timeout": "50ms",
    "lock_timeout": "20ms",
    "idle_in_transaction_session_timeout": "50ms",
}
RESTORES = ("restored_whole", "restored_in_pieces", "restored_slowly", "restored_while_written")
"""While no curator of a step works."""
_NEWER_SCHEMA = "9999"


class Faults:
    """Kinds of faults, by name."""

    def __init__(
        self, rng: Random, site: Site, history: History, writers: Sequence[Callable[[], str]]
    ) -> None:
        self._rng = rng
        self._writers = writers
        self._site = site
        self._history = history
        self.newer_schemas: list[tuple[float, float]] = []
        """When each began and ended, in seconds of `time.monotonic`."""

    def choose(self, kind: str = "") -> tuple[Callable[[], str], bool]:
        """Return a fault, which returns its name, and whether curators may work meanwhile.

        `kind` is the name of a method, or `setting_set:` and the name of a setting, or "" for any.
        """
        weights: dict[Callable[[], str], float] = {
            self.nothing: 3,
            self.service_killed: 1,
            self.worker_killed: 1,
            self.indexer_killed: 1,
            self.service_paused: 1,
            self.server_killed: 1,
            self.backends_ended: 2,
            self.connections_cut: 2,
            self.connections_refused: 1,
            self.connections_frozen: 1.5,
            self.setting_set: 2,
            self.dumped: 2,
            self.schema_newer: 1,
            self.restored_whole: 1,
            self.restored_in_pieces: 1,
            self.restored_slowly: 1.5,
            self.restored_while_written: 1,
        }
        name, _, self._setting = kind.partition(":")
        (fault,) = self._rng.choices(list(weights), list(weights.values()))
        fault = getattr(self, name) if name else fault
        return fault, fault.__name__ not in RESTORES

    def heal(self) -> None:
        """End what lasts, except settings of sessions."""
        self._site.relay.thaw()
        self._site.relay.refuse(False)

    def nothing(self) -> str:
        return ""

    def _wait(self, most_s: float) -> None:
        time.sleep(self._rng.uniform(0, most_s))

    def _service(self) -> Service:
        return self._rng.choice(self._site.services)

    def service_killed(self) -> str:
        self._wait(0.5)
        self._service().kill()
        return "service killed"

    def worker_killed(self) -> str:
        """Kill a worker of the service that has several."""
        self._wait(0.5)
        service = self._site.services[0]
        workers = [] if service.running is None else service.running.children("featsvc.worker")
        if not workers:
            return ""
        with suppress(psutil.NoSuchProcess):
            self._rng.choice(workers).kill()
        return "worker killed"

    def indexer_killed(self) -> str:
        self._wait(0.5)
        self._service().kill_indexer()
        return "indexer killed"

    def service_paused(self) -> str:
        """Stop a service for a while, whatever locks it holds."""
        self._wait(0.3)
        service = self._service()
        if service.running is None:
            return ""
        process = psutil.Process(service.running.process.pid)
        family = [process, *process.children(recursive=True)]
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGSTOP)
        self._wait(2)
        for member in family:
            with suppress(psutil.NoSuchProcess):
                member.send_signal(signal.SIGCONT)
        return "service paused"

    def server_killed(self) -> str:
        self._wait(0.3)
        self._site.server.stop()
        self._wait(0.5)
        self._site.server.start()
        return "PostgreSQL killed"

    def backends_ended(self) -> str:
        ended = 0
        for _ in range(self._rng.choice((1, 4))):
            self._wait(0.2)
            ended += self._site.terminate(self._rng.choice((0.2, 1)), self._rng)
        return "backends ended" if ended else ""

    def connections_cut(self) -> str:
        for _ in range(self._rng.choice((1, 4))):
            self._wait(0.2)
            self._site.relay.cut()
        return "connections cut"

    def connections_refused(self) -> str:
        self._site.relay.refuse(True)
        self._wait(1.5)
        self._site.relay.refuse(False)
        return "connections refused"

    def connections_frozen(self) -> str:
        """Deliver nothing for a while; what comes then may come to its end, or to none."""
        self._wait(0.3)
        self._site.relay.freeze()
        self._wait(3)
        if self._rng.random() < 0.5:
            self._site.relay.cut()
        self._site.relay.thaw()
        return "connections frozen"

    def setting_set(self) -> str:
        """Set a setting for all new sessions, or none, and end some of the old ones."""
        name, value = self._rng.choice(list(SETTINGS.items()))
        if self._setting:
            name, value = self._setting, SETTINGS[self._setting]
        database = self._site.name
        whose = self._rng.choice((f"DATABASE {database}", f"ROLE postgres IN DATABASE {database}"))
        with self._site.admin() as connection:
            if self._rng.random() < 0.4:
                connection.execute(f"ALTER DATABASE {database} RESET ALL")
                connection.execute(f"ALTER ROLE postgres IN DATABASE {database} RESET ALL")
            connection.execute(f"ALTER {whose} SET {name} = '{value}'")
        self._site.terminate(self._rng.choice((0.3, 1)), self._rng)
        return f"setting {name}"

    def dumped(self) -> str:
        self._site.dump()
        return "dumped"

    def schema_newer(self) -> str:
        """Say that a newer service has upgraded the tables; older ones must not touch them."""
        with self._site.admin() as connection:
            row = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            assert row is not None, "no schema"
            stamp = "UPDATE alembic_version SET version_num = %s"
            connection.execute(stamp, [_NEWER_SCHEMA])
            start_s = time.monotonic()
            self._wait(2)
            end_s = time.monotonic()
            connection.execute(stamp, [row.version_num])
        self.newer_schemas.append((start_s, end_s))
        return "newer schema"

    def restored_whole(self) -> str:
        return self._restored(
            "restored -j 1", lambda dump: self._site.restore(dump, "--single-transaction")
        )

    def restored_in_pieces(self) -> str:
        return self._restored("restored -j 4", lambda dump: self._site.restore(dump, "--jobs=4"))

    def restored_slowly(self) -> str:
        """Restore as -j 4 does with large tables: any of them may be there before another."""
        return self._restored("restored -j 4, slowly", partial(self._load, between=None))

    def restored_while_written(self) -> str:
        """The same while a curator tries to change banks: acknowledged changes must stay."""

        def write() -> None:
            self._rng.choice(self._writers)()

        return self._restored("restored while written", partial(self._load, between=write))

    def _load(self, dump: Path, between: Callable[[], None] | None) -> None:
        self._site.empty()
        self._site.load(dump, section(dump, "pre-data"))
        lines = section(dump, "data")
        self._rng.shuffle(lines)
        if self._rng.random() < 0.5:
            # The largest tables take longest.
            lines.sort(key=lambda line: " entries " in line or " entry_signals " in line)
        while lines:
            self._wait(0.6)
            if between is not None:
                between()
            number = self._rng.randint(1, len(lines))
            self._site.load(dump, lines[:number])
            del lines[:number]
        self._wait(0.6)
        if between is not None:
            between()
        self._site.load(dump, section(dump, "post-data"))

    def _restored(self, name: str, restore: Callable[[Path], None]) -> str:
        if not self._site.dumps:
            self._site.dump()
            return "dumped"
        self._site.wait_for_writers()
        self._history.catch_up()
        dump, floor = self._rng.choice(self._site.dumps)
        restore(dump)
        self._history.restored(floor)
        return name
