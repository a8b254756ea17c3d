"""What a service serves: the lines that follow `serving on HOST:PORT`, and its warnings.

`featsvc doctor` prints the warnings, too. A service that can match nothing answers every call, so
it must not look healthy.
"""

import platform
from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from featsvc.accounts import load_definitions
from featsvc.addresses import parse_redis_url, shown_database_url, split_address
from featsvc.banks.records import Bank, BankMode
from featsvc.banks.store import BankStore
from featsvc.cli.words import counted
from featsvc.config import Config
from featsvc.embedding import CLASSICAL, read_models
from featsvc.errors import FeatsvcError
from featsvc.signals.algorithms import Kind, find_algorithm

_LISTED = 5


@dataclass(frozen=True, slots=True)
class Holdings:
    """The banks at a revision, and the ids of those of which any entry can match."""

    revision: int
    banks: tuple[Bank, ...]
    matchable: frozenset[str]

    @property
    def entries(self) -> int:
        """Number of live entries of all banks."""
        return sum(bank.entry_count for bank in self.banks)

    def summary(self) -> str:
        """Return the number of banks by mode, of entries and of signals."""
        modes = Counter(bank.mode for bank in self.banks)
        by_mode = ", ".join(f"{modes[mode]} {mode.value}" for mode in BankMode)
        signals = sum(bank.signal_count for bank in self.banks)
        return (
            f"{counted(len(self.banks), 'bank')} ({by_mode}), {counted(self.entries, 'entry')}, "
            f"{counted(signals, 'signal')}"
        )


def read_holdings(store: BankStore) -> Holdings:
    """Read the banks of a store. Raises Unavailable."""
    with store.view() as view:
        banks = view.banks()
        matchable = frozenset(bank.id for bank in banks if view.holds_matchable(bank))
        return Holdings(view.head.revision, banks, matchable)


def served_models(config: Config) -> list[str]:
    """Return the learned models of the models file, by name and version. Raises ConfigInvalid."""
    file = config.embed.models_file
    return [f"{spec.name}@{spec.version}" for spec in read_models(Path(file))] if file else []


def shown_redis(config: Config) -> str:
    """Return where account features are, without credentials."""
    if config.redis.url == "embedded":
        return f"embedded Valkey in {Path(config.data_dir).resolve() / 'valkey'}"
    return parse_redis_url(config.redis.url).shown()


def warnings(config: Config, holdings: Holdings, learned: Sequence[str]) -> Iterator[str]:
    """Yield a line for each reason why content may pass that should not; each says what to do."""
    yield from _nothing_enforced(config, holdings)
    served = {*learned, *(model.id for model in CLASSICAL.values())}
    for bank in holdings.banks:
        if bank.mode is not BankMode.OFF:
            yield from _not_searched(bank, served)


def _nothing_enforced(config: Config, holdings: Holdings) -> Iterator[str]:
    can_match = [bank for bank in holdings.banks if bank.id in holdings.matchable]
    flagging = [bank for bank in can_match if not bank.safe]
    store = shown_database_url(config.banks_url)
    if not holdings.entries:
        yield (
            f"nothing can match: {store} holds no entry. Import a list (featsvc bank create, "
            "featsvc bank import), or set banks.url if the banks are elsewhere"
        )
    elif not flagging:
        yield (
            f"nothing can match: every entry is quarantined, expired, negative or in a safe list "
            f"({_names(holdings.banks)}). See featsvc bank show, featsvc bank entries"
        )
    elif all(bank.mode is BankMode.OFF for bank in flagging):
        yield (
            f"nothing can match: every bank that holds something is off ({_names(flagging)}). "
            "Use featsvc bank set BANK --mode enforce"
        )
    elif not any(bank.mode is BankMode.ENFORCE for bank in flagging):
        shadow = [bank for bank in flagging if bank.mode is BankMode.SHADOW]
        yield (
            f"nothing is enforced: matches are only counted ({_names(shadow)}). Use featsvc bank "
            "set BANK --mode enforce once the matches look right"
        )


def _not_searched(bank: Bank, served: Collection[str]) -> Iterator[str]:
    for name, count in sorted(bank.signal_counts.items()):
        algorithm = find_algorithm(name)
        if not count or (algorithm is not None and not algorithm.matched):
            continue
        if algorithm is None:
            yield (
                f"bank {bank.id}: not searched: {counted(count, 'signal')} of {name[:80]!r}: this "
                "version has no such algorithm. Upgrade, or withdraw their entries"
            )
        elif algorithm.kind is Kind.VECTOR and name not in served:
            yield (
                f"bank {bank.id}: not searched for content: {counted(count, 'vector')} of {name}: "
                "no such model is served. Declare it in embed.models_file"
            )


def _names(banks: Sequence[Bank]) -> str:
    names = [bank.id for bank in banks]
    return ", ".join(names[:_LISTED]) + (", ..." if names[_LISTED:] else "")


def start_report(config: Config) -> tuple[str, list[str]]:
    """Return the block of lines about a service that has started, and the warnings.

    Reads the store; one that is away is said instead of its banks.
    """
    learned = served_models(config)
    rows = [
        ("version", f"{metadata.version('featsvc')}, Python {platform.python_version()}"),
        ("workers", f"{config.server.workers}, metrics: {_metrics(config)}"),
        ("data_dir", f"{Path(config.data_dir).resolve()}"),
        ("redis", shown_redis(config)),
        ("features", _definitions(config)),
        ("models", f"{len(CLASSICAL)} built in; learned: {', '.join(learned) or 'none'}"),
        ("banks", shown_database_url(config.banks_url)),
    ]
    warned: list[str] = []
    store = BankStore(config.banks_url)
    try:
        holdings = read_holdings(store)
    except FeatsvcError as exc:
        rows.append(("", f"cannot be read now: {exc}"))
    else:
        rows.append(("", f"revision {holdings.revision}, {holdings.summary()}"))
        warned += warnings(config, holdings, learned)
    finally:
        store.close()
    return "".join(f"  {name:<9} {text}\n" for name, text in rows), warned


def _metrics(config: Config) -> str:
    if not config.metrics.listen:
        return "none"
    host, first = split_address(config.metrics.listen)
    last = first + config.server.workers - 1
    return f"{host}:{first}" if first == last else f"{host}:{first} to {last}"


def _definitions(config: Config) -> str:
    file = config.features.file
    definitions = load_definitions(Path(file) if file else None)
    return (
        f"{len(definitions.features)} windowed and {len(definitions.derived)} derived, namespace "
        f"{definitions.namespace}, version {definitions.version}, "
        f"{Path(file).absolute() if file else 'built in'}"
    )
