"""`features.toml`: what is kept about whom. Read once, checked, frozen.

The grammar, by example, is in docs/features.md. Every error is a ConfigInvalid that names file,
line and key, and what was probably meant.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType

from featsvc.accounts.expressions import Expression, ExpressionError, parse_expression
from featsvc.accounts.layout import (
    LIFETIME_MS,
    LONGEST_WINDOW_MS,
    SHORTEST_WINDOW_MS,
    Ring,
    StateKind,
    ring_for,
    state_digest,
)
from featsvc.accounts.toml_source import TomlSource, did_you_mean
from featsvc.accounts.toml_table import Scalar, TomlTable

DEFAULT_CAP = 128
MAX_CAP = 1024
DEFAULT_KEPT_IDS = 512

_STATE_OF = {
    "count": StateKind.COUNT,
    "sum": StateKind.SUM,
    "mean": StateKind.MOMENTS,
    "stddev": StateKind.MOMENTS,
    "min": StateKind.MIN,
    "max": StateKind.MAX,
    "first": StateKind.FIRST,
    "last": StateKind.LAST,
    "age_of_first": StateKind.MIN,
    "age_of_last": StateKind.MAX,
    "distinct": StateKind.DISTINCT,
}
AGGREGATIONS = tuple(_STATE_OF)
_WITHOUT_VALUE = frozenset({"count", "age_of_first", "age_of_last"})
_FEATURE_KEYS = (
    "on", "agg", "value", "where", "windows", "entity", "cap", "default", "max_age", "version",
    "description",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class State:
    """What is kept for one or more features: what it counts, not over which windows.

    `where` holds the allowed values per attribute; `value` names an attribute or an entity field,
    empty for none; `of_time` takes the event's time as the value. `digest` names the state in
    Redis and changes only when its meaning does.
    """

    entity: str
    event: str
    kind: StateKind
    value: str
    of_time: bool
    where: tuple[tuple[str, tuple[Scalar, ...]], ...]
    cap: int
    digest: str


@dataclass(frozen=True, slots=True)
class Feature:
    """One windowed feature. `window_ms` 0 is `lifetime`; `max_age_ms` 0 is none."""

    name: str
    entity: str
    event: str
    aggregation: str
    window_ms: int
    state: State
    default: float | None
    max_age_ms: int
    version: int
    description: str

    @property
    def ring(self) -> Ring:
        """The ring it is read from; its width is the error bound of the window."""
        return ring_for(self.window_ms)


@dataclass(frozen=True, slots=True)
class Derived:
    """A feature computed from windowed features of the same entity."""

    name: str
    entity: str
    expression: Expression
    default: float | None
    version: int
    description: str


@dataclass(frozen=True, slots=True)
class Definitions:
    """A compiled file; every mapping keeps the file's order.

    `entities` maps an entity to its field in events, `events` a type to the entities it is about,
    `features` and `derived` names to definitions (no name is in both), `sets` a name to feature
    names. `kept_ids` event ids are remembered per entity, or, where it is not 0, every id for
    `dedup_horizon_ms`.
    """

    source: str
    namespace: str
    version: int
    entities: Mapping[str, str]
    events: Mapping[str, tuple[str, ...]]
    features: Mapping[str, Feature]
    derived: Mapping[str, Derived]
    sets: Mapping[str, tuple[str, ...]]
    kept_ids: int
    dedup_horizon_ms: int

    def entity_of(self, name: str) -> str:
        """The entity of a windowed or derived feature. Raises KeyError."""
        return (self.features.get(name) or self.derived[name]).entity


def shipped_definitions() -> Path:
    """The definitions that come with the package."""
    return Path(str(files("featsvc.accounts").joinpath("features.toml")))


def load_definitions(path: Path | None = None) -> Definitions:
    """Read, check and compile a file, or the shipped one. Raises ConfigInvalid."""
    return _Loader(TomlSource(path or shipped_definitions())).load()


class _Loader:
    """One pass over a file, top to bottom; what is read first is what later parts refer to."""

    def __init__(self, source: TomlSource) -> None:
        self.source = source
        self.entities: dict[str, str] = {}
        self.events: dict[str, tuple[str, ...]] = {}
        self.features: dict[str, Feature] = {}
        self.derived: dict[str, Derived] = {}

    def load(self) -> Definitions:
        top = TomlTable(
            self.source,
            (),
            self.source.tree,
            ("namespace", "version", "dedup", "entities", "events", "features", "derived", "sets"),
        )
        namespace = top.name("namespace")
        self.version = top.integer("version", low=1, high=2**31 - 1, default=1)
        dedup = top.table("dedup", ("ring", "horizon"))
        kept_ids = dedup.integer("ring", low=1, high=4096, default=DEFAULT_KEPT_IDS)
        horizon_ms = dedup.span("horizon") if "horizon" in dedup.tree else 0
        self._read_entities(top.table("entities"))
        self._read_events(top.table("events"))
        for name, table in top.tables("features", _FEATURE_KEYS):
            self._read_feature(name, table)
        self._read_derived(top.table("derived"))
        return Definitions(
            source=self.source.name,
            namespace=namespace,
            version=self.version,
            entities=MappingProxyType(self.entities),
            events=MappingProxyType(self.events),
            features=MappingProxyType(self.features),
            derived=MappingProxyType(self.derived),
            sets=MappingProxyType(self._read_sets(top.table("sets"))),
            kept_ids=kept_ids,
            dedup_horizon_ms=horizon_ms,
        )

    def _read_entities(self, table: TomlTable) -> None:
        for name in table.tree:
            table.check_name(name)
            self.entities[name] = table.text(name)
        if not self.entities:
            table.fail("", 'no entity is defined; add for example account = "account"')

    def _read_events(self, table: TomlTable) -> None:
        for name in table.tree:
            table.check_name(name)
            event = table.table(name, ("keys", "description"))
            keys = event.texts("keys")
            for key in keys:
                if key not in self.entities:
                    event.fail("keys", f"unknown entity {key!r}" + did_you_mean(key, self.entities))
            self.events[name] = keys

    def _read_feature(self, name: str, table: TomlTable) -> None:
        event = table.text("on")
        if event not in self.events:
            table.fail("on", f"unknown event {event!r}" + did_you_mean(event, self.events))
        state = self._read_state(event, table)
        windows = table.texts("windows")
        default = table.number("default") if "default" in table.tree else None
        max_age_ms = table.span("max_age") if "max_age" in table.tree else 0
        for window in windows:
            window_ms = self._read_window(window, table)
            full_name = f"{name}_{window}"
            if full_name in self.features:
                table.fail("windows", f"{full_name} is defined twice")
            self.features[full_name] = Feature(
                name=full_name,
                entity=state.entity,
                event=event,
                aggregation=table.tree["agg"],
                window_ms=window_ms,
                state=state,
                default=default,
                max_age_ms=max_age_ms,
                version=table.integer("version", low=1, high=2**31 - 1, default=self.version),
                description=table.text("description", default=""),
            )

    def _read_state(self, event: str, table: TomlTable) -> State:
        aggregation = table.text("agg")
        if aggregation not in AGGREGATIONS:
            table.fail(
                "agg",
                f"unknown aggregation {aggregation!r}" + did_you_mean(aggregation, AGGREGATIONS),
            )
        entity = table.text("entity", default="account")
        if entity not in self.entities:
            table.fail("entity", f"unknown entity {entity!r}" + did_you_mean(entity, self.entities))
        if entity not in self.events[event]:
            keys = ", ".join(self.events[event])
            table.fail("entity", f"event {event!r} is not about {entity!r}, its keys are {keys}")
        if aggregation in _WITHOUT_VALUE and "value" in table.tree:
            table.fail("value", f"{aggregation} takes no value; drop it, or count with a where")
        value = "" if aggregation in _WITHOUT_VALUE else table.text("value")
        if aggregation != "distinct" and "cap" in table.tree:
            table.fail("cap", "only distinct has a cap")
        cap = table.integer("cap", low=1, high=MAX_CAP, default=DEFAULT_CAP)
        where = table.filters("where")
        kind = _STATE_OF[aggregation]
        of_time = aggregation.startswith("age_of_")
        own_version = table.integer("version", low=1, high=2**31 - 1, default=0)
        meaning = json.dumps([event, kind.name, value, of_time, where, own_version])
        return State(entity, event, kind, value, of_time, where, cap, state_digest(meaning))

    def _read_window(self, text: str, table: TomlTable) -> int:
        if text == "lifetime":
            return LIFETIME_MS
        window_ms = table.parse_span("windows", text)
        if not SHORTEST_WINDOW_MS <= window_ms <= LONGEST_WINDOW_MS:
            table.fail("windows", f"{text!r} is not between 1m and 90d; beyond, use lifetime")
        return window_ms

    def _read_derived(self, table: TomlTable) -> None:
        for name, body in table.tree.items():
            table.check_name(name)
            if name in self.features:
                table.fail(name, "a windowed feature has this name")
            if isinstance(body, dict):
                detail = table.table(name, ("expression", "default", "version", "description"))
                text = detail.text("expression")
            else:
                detail = TomlTable(self.source, (*table.path, name), {}, ())
                text = table.text(name)
            try:
                expression = parse_expression(text, self._explain_unknown)
            except ExpressionError as exc:
                table.fail(name, str(exc))
            entities = {self.features[feature].entity for feature in expression.features}
            if len(entities) != 1:
                told = ", ".join(sorted(entities)) or "none"
                table.fail(name, f"must read features of exactly one entity, reads of: {told}")
            self.derived[name] = Derived(
                name=name,
                entity=entities.pop(),
                expression=expression,
                default=detail.number("default") if "default" in detail.tree else None,
                version=detail.integer("version", low=1, high=2**31 - 1, default=self.version),
                description=detail.text("description", default=""),
            )

    def _explain_unknown(self, name: str) -> str | None:
        if name in self.features:
            return None
        return f"unknown feature {name!r}" + did_you_mean(name, self.features)

    def _read_sets(self, table: TomlTable) -> dict[str, tuple[str, ...]]:
        sets = {}
        known = {**self.features, **self.derived}
        for name in table.tree:
            table.check_name(name)
            sets[name] = table.texts(name)
            for feature in sets[name]:
                if feature not in known:
                    table.fail(name, f"unknown feature {feature!r}" + did_you_mean(feature, known))
        return sets
