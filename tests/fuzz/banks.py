"""Random banks, changes of them, and requests about them, so that there are clusters and ties."""

import random
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from featsvc.banks.lists.formats.rows import ImportRow
from featsvc.banks.records import ENGINES, NO_CONTEXT, BankMode, BankSettings, EntrySignal, Opinion
from featsvc.banks.store import BankStore
from featsvc.errors import FeatsvcError, Unavailable
from featsvc.matching.matches import MatchOptions, Variants
from featsvc.signals.algorithms import get_algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.tlsh import tlsh_value
from featsvc.signals.vectors import vector_value
from tests.fuzz.expected import State
from tests.patience import PATIENCE_S

T = TypeVar("T")
Key = tuple[int, datetime | None]

HAMMING, BYTES, VECTOR, TLSH = ("pdq", "phash"), ("md5", "sha256"), "sscd@3", "tlsh"
ALGORITHMS = (*HAMMING, "pdq", *BYTES, VECTOR, TLSH)
BANKS = ("a", "b", "c", "ok", "z")
FIRST_BANKS = {
    "a": BankSettings(),
    "ok": BankSettings(safe=True, thresholds={"pdq": 9, VECTOR: 0.01}),
}
LABELS = ("l", "m", "n")
DIMENSIONS = 6
QUERIED = ("original", "flip_x", "flip_y", "trimmed", "unframed")
STORED = ("original", "crop_5", "crop_10", "a list's own")
_FLIPS = (0, 0, 0, 1, 2, 5, 11, 20, 31, 32, 40, 90)
_FLIPS_OF_64 = (0, 0, 1, 3, 8, 9, 20)


def patiently(call: Callable[[], T]) -> T:
    """Call again while the store is away: a connection may be to the file before a restore."""
    deadline = time.monotonic() + PATIENCE_S
    while True:
        try:
            return call()
        except Unavailable:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


class Banks:
    """A store that one random generator changes, and its state at every revision so far.

    Values are near those that `seeds` makes: two that share them, share clusters.
    """

    context = NO_CONTEXT

    def __init__(self, rng: random.Random, url: str, seeds: random.Random | None = None) -> None:
        self.rng = rng
        self.url = url
        self.store = BankStore(url)
        self.history: dict[Key, State] = {}
        self._made = 0
        seeds = seeds or rng
        self._seeds = {
            name: [seeds.randbytes(get_algorithm(name).bytes) for _ in range(3)]
            for name in (*HAMMING, *BYTES)
        }
        noise = np.random.default_rng(seeds.getrandbits(32))
        self._vectors = noise.standard_normal((3, DIMENSIONS))
        self._texts = [seeds.randbytes(400) for _ in range(2)]

    def create(self) -> None:
        """Create the first banks."""
        for bank, settings in FIRST_BANKS.items():
            self.store.create_bank(bank, settings)
        self.record()

    @property
    def newest(self) -> State:
        """The state at the newest revision."""
        return next(reversed(self.history.values()))

    def record(self) -> None:
        """Remember the state of the store as the newest."""
        state = patiently(self._state)
        key = state.head.revision, state.head.commit_time
        self.history.pop(key, None)
        self.history[key] = state

    def _state(self) -> State:
        with self.store.view() as view:
            return State.of(view)

    def value(self, name: str) -> bytes:
        """A value that is often equal or near to others."""
        rng = self.rng
        if name == VECTOR:
            middle = self._vectors[rng.randrange(3)] / np.linalg.norm(self._vectors[0])
            noise = rng.choice((0, 0, 0.01, 0.1, 0.3, 1))
            moved = middle + noise * np.array([rng.gauss(0, 1) for _ in range(DIMENSIONS)])
            return vector_value(get_algorithm(VECTOR), moved)
        if name == TLSH:
            text = bytearray(rng.choice(self._texts))
            for _ in range(rng.choice((0, 0, 1, 8, 60))):
                text[rng.randrange(len(text))] = rng.randrange(256)
            value = tlsh_value(bytes(text))
            assert value is not None, "random bytes have a digest"
            return value
        number = int.from_bytes(rng.choice(self._seeds[name]))
        bits = 8 * get_algorithm(name).bytes
        if name in HAMMING:
            for bit in rng.sample(range(bits), rng.choice(_FLIPS if bits > 64 else _FLIPS_OF_64)):
                number ^= 1 << bit
        elif rng.random() < 0.4:
            # Equal in the first 8 bytes, which the index looks up.
            number ^= rng.randrange(3)
        return number.to_bytes(bits // 8)

    def weights(self) -> dict[Callable[[], int], float]:
        """Return the kinds of changes, and how often each is made."""
        return {
            self._add: 10,
            self._add_many: 2,
            self._withdraw: 3,
            self._quarantine: 2,
            self._set: 4,
            self._create: 1,
            self._delete: 0.4,
            self._roll_back: 1,
        }

    def change(self) -> str:
        """Make one random change, record the state, and return its name."""
        weights = self.weights()
        (change,) = self.rng.choices(list(weights), list(weights.values()))
        name = change.__name__.strip("_")
        try:
            self.make(change)
        except FeatsvcError as exc:
            name = f"{name} refused ({type(exc).__name__})"
        self.record()
        return name

    def make(self, change: Callable[[], int]) -> None:
        """Make a change, which returns its revision, 0 where it is not known."""
        change()

    def row(self) -> ImportRow:
        rng = self.rng
        self._made += 1
        signals: list[EntrySignal] = []
        for _ in range(rng.choice((1, 1, 1, 2, 3, 5, 40))):
            name = rng.choice(ALGORITHMS)
            variant = rng.choice(STORED) if name == "pdq" else "original"
            if len(signals) < 8 or variant in STORED[1:3]:
                signals.append(EntrySignal(name, self.value(name), variant))
        expires = rng.choice((None, None, None, -1, 30))
        return ImportRow(
            line=1,
            signals=tuple(signals),
            external_id=rng.choice(("", f"x{self._made}", f"x{rng.randint(1, self._made)}")),
            labels=tuple(label for label in LABELS if rng.random() < 0.4),
            source=rng.choice(("", "", "s")),
            opinion=rng.choice((Opinion.UNSPECIFIED, Opinion.UNSPECIFIED, *Opinion)),
            expire_time=None if expires is None else datetime.now(UTC) + timedelta(days=expires),
        )

    def bank(self) -> str:
        return self.named(self.rng.choice(list(self.newest.banks)))

    def named(self, bank: str) -> str:
        """Return the bank that a change names."""
        return bank

    def _add(self) -> int:
        rows = [self.row() for _ in range(self.rng.randint(1, 8))]
        return self._added(rows)

    def _added(self, rows: Sequence[ImportRow]) -> int:
        bank = self.bank()
        return self.store.add_entries(bank, rows, self.context, allow_replaced=True).revision

    def _add_many(self) -> int:
        rows = [self.row() for _ in range(60)]
        return self._added(rows)

    def entries_of(self, bank: str) -> list[int]:
        rows = [row for rows in self.newest.rows.values() for row in rows if row.bank_id == bank]
        return sorted({row.id for row in rows})

    def some_entries(self) -> tuple[str, list[int]]:
        bank = self.bank()
        entries = self.entries_of(bank)
        count = min(len(entries), self.rng.choice((1, 1, 3, 10)))
        return bank, self.rng.sample(entries, count)

    def _withdraw(self) -> int:
        bank, entries = self.some_entries()
        return self.store.withdraw_entries(bank, entries, context=self.context).revision

    def _quarantine(self) -> int:
        bank, entries = self.some_entries()
        release = self.rng.random() < 0.4
        edited = self.store.quarantine_entries(bank, entries, self.context, release=release)
        return edited.revision

    def settings(self) -> dict[str, Any]:
        rng = self.rng
        made: dict[str, Any] = {
            "mode": rng.choice((BankMode.ENFORCE, BankMode.ENFORCE, *BankMode)),
            "safe": rng.random() < 0.3,
            "thresholds": self._thresholds(),
            "query_variants": tuple(v for v in QUERIED[1:] if rng.random() < 0.4),
            "engine": rng.choice(("auto", "auto", "auto", *ENGINES)),
        }
        return made

    def _thresholds(self) -> dict[str, float]:
        rng = self.rng
        made: dict[str, float] = {}
        for name, choices in (
            ("pdq", (0, 5, 10.5, 20, 31, 40, 200)),
            ("phash", (0, 3, 8, 9, 30)),
            (VECTOR, (0, 0.001, 0.05, 0.3, 2)),
            (TLSH, (0, 10, 30, 80, 300)),
        ):
            if rng.random() < 0.3:
                made[name] = rng.choice(choices)
        return made

    def _set(self) -> int:
        made = self.settings()
        names = self.rng.sample(sorted(made), self.rng.randint(1, 3))
        self.store.update_bank(self.bank(), {name: made[name] for name in names}, self.context)
        return 0  # It may have these settings already.

    def _create(self) -> int:
        settings = BankSettings(**self.settings())
        bank = self.named(self.rng.choice(BANKS))
        return self.store.create_bank(bank, settings, self.context).revision

    def _delete(self) -> int:
        if len(self.newest.banks) == 1:
            return 0
        return self.store.delete_bank(self.bank(), self.context, force=True).revision

    def _roll_back(self) -> int:
        revision = self.rng.randint(1, self.newest.head.revision)
        return self.store.rollback_bank(self.bank(), revision, self.context).revision

    def options(self) -> MatchOptions:
        """Random options; half of the requests have none."""
        rng = self.rng
        if rng.random() < 0.3:
            return MatchOptions()
        banks = list(self.newest.banks)
        return MatchOptions(
            banks=tuple(rng.sample(banks, rng.randint(0, min(2, len(banks))))),
            labels=tuple(label for label in LABELS if rng.random() < 0.15),
            thresholds=self._thresholds() if rng.random() < 0.4 else {},
            max_results=rng.choice((0, 0, 1, 3, 10, 1000)),
            match_low_quality=rng.random() < 0.3,
            variants=rng.choice((Variants.DEFAULT, *Variants)),
            top_k=rng.choice((0, 0, 0, 1, 2, 10)),
            ignore_safe_lists=rng.random() < 0.2,
        )

    def query(self, name: str) -> bytes:
        """A value that is often one of the store's."""
        rows = self.newest.rows.get(name)
        if rows and self.rng.random() < 0.5:
            return self.rng.choice(rows).value
        return self.value(name)

    def signals(self) -> Sequence[Signal]:
        """The signals of one piece of content: algorithms, variants and frames."""
        rng = self.rng
        names = rng.sample(sorted({*ALGORITHMS}), rng.choice((1, 1, 2, 4)))
        made = []
        for name in names:
            kind = get_algorithm(name)
            variants = QUERIED if name in HAMMING else QUERIED[:1]
            for variant in variants[: rng.choice((1, 1, 3, 5))]:
                for frame in range(rng.choice((1, 1, 1, 4))):
                    quality = rng.choice((None, None, 100, 50, 49, 0))
                    quality = quality if kind.quality_floor is not None else None
                    made.append(Signal(kind, self.query(name), quality, variant, frame))
        rng.shuffle(made)
        return made


class SqliteBanks(Banks):
    """The same in a file, which is backed up and restored now and then."""

    def __init__(self, rng: random.Random, folder: Path) -> None:
        self._file = folder / "banks.db"
        self._backup = folder / "backup.db"
        super().__init__(rng, f"sqlite:///{self._file}")
        self.create()

    def weights(self) -> dict[Callable[[], int], float]:
        return {**super().weights(), self._back_up: 0.7, self._restore: 0.7}

    def _back_up(self) -> int:
        """Copy what is committed, which a copy of the file alone does not have."""
        file, copy = sqlite3.connect(self._file), sqlite3.connect(self._backup)
        with closing(file), closing(copy):
            file.backup(copy)
        return 0

    def _restore(self) -> int:
        """Replace the store by the backup: later revisions are other changes."""
        if self._backup.exists():
            self.store.close()
            copy = self._backup.with_suffix(".copy")
            shutil.copy(self._backup, copy)
            # Those of the file that is replaced, which SQLite would apply to the other one.
            for suffix in ("-wal", "-shm"):
                Path(f"{self._file}{suffix}").unlink(missing_ok=True)
            copy.rename(self._file)
        return 0
