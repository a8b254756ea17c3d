"""`features.toml`: the definitions of entities, events and features. Loaded once, then immutable.

docs/features.md shows the grammar by example. Every error is a ConfigInvalid that names file, line
and key, and suggests the name that was probably meant.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from featsvc_kernels import fold_codes as codes

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
from featsvc.accounts.names import unknown
from featsvc.accounts.toml_source import TomlSource
from featsvc.accounts.toml_table import Filters, TomlTable

DEFAULT_CAP = 128
MAX_CAP = 1024
DEFAULT_HORIZON_MS = 86_400_000
MAX_RINGS_PER_EVENT = 4000
"""Rings that one event may update in one entity. An event that updates more would keep Redis from
other work for several milliseconds; before there was a limit, each such event failed."""

_MAX_KEPT_IDS = 4096
_MAX_VERSION = 2**31 - 1


class Aggregation(NamedTuple):
    """The state of an aggregation, its code in the fold kernel, and whether it takes a value."""

    kind: StateKind
    code: int
    takes_value: bool = True


AGGREGATIONS = {
    "count": Aggregation(StateKind.COUNT, codes.COUNT, takes_value=False),
    "sum": Aggregation(StateKind.SUM, codes.SUM),
    "mean": Aggregation(StateKind.MOMENTS, codes.MEAN),
    "stddev": Aggregation(StateKind.MOMENTS, codes.STDDEV),
    "min": Aggregation(StateKind.MIN, codes.MIN),
    "max": Aggregation(StateKind.MAX, codes.MAX),
    "first": Aggregation(StateKind.FIRST, codes.FIRST),
    "last": Aggregation(StateKind.LAST, codes.LAST),
    "age_of_first": Aggregation(StateKind.MIN, codes.AGE_OF_FIRST, takes_value=False),
    "age_of_last": Aggregation(StateKind.MAX, codes.AGE_OF_LAST, takes_value=False),
    "distinct": Aggregation(StateKind.DISTINCT, codes.DISTINCT),
}
_FEATURE_KEYS = (
    "on",
    "agg",
    "value",
    "where",
    "windows",
    "entity",
    "cap",
    "default",
    "max_age",
    "version",
    "description",
)


@dataclass(frozen=True, slots=True)
class State:
    """Aggregated data shared by features that differ only in their windows.

    `where` holds the allowed values per attribute. `value` names an attribute or an entity field;
    it is empty if there is none. `of_time` uses the event's time as the value. `digest` names the
    state in Redis; it depends on how the filter is written. `canonical` is the same for every way
    to write one meaning (order of attributes and values, repeated values, 1 for 1.0). Features that
    share a digest share the state, with the largest of their caps.
    """

    entity: str
    event: str
    kind: StateKind
    value: str
    of_time: bool
    where: Filters
    cap: int
    digest: str
    canonical: str


@dataclass(frozen=True, slots=True)
class Feature:
    """A windowed feature. `window_ms` 0 means `lifetime`, `max_age_ms` 0 no maximum age."""

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
        """Ring that the feature is read from; its bucket width is the error bound of the window."""
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
    """A compiled file; every mapping keeps the order of the file.

    `entities` maps an entity to its field in events, `events` a type to the entities it affects,
    `features` and `derived` names to definitions (no name is in both), `sets` a name to feature
    names. `version` is the file's own. An event id counts once within `dedup_horizon_ms`, in event
    time.
    """

    source: str
    namespace: str
    version: int
    entities: Mapping[str, str]
    events: Mapping[str, tuple[str, ...]]
    features: Mapping[str, Feature]
    derived: Mapping[str, Derived]
    sets: Mapping[str, tuple[str, ...]]
    dedup_horizon_ms: int

    def entity_of(self, name: str) -> str:
        """Return the entity of a windowed or derived feature. Raises KeyError."""
        return (self.features.get(name) or self.derived[name]).entity

    def sets_of(self, name: str) -> list[str]:
        """Return the names of the sets that contain a feature."""
        return [set_name for set_name, features in self.sets.items() if name in features]

    def with_digests(self, names: Mapping[str, str]) -> "Definitions":
        """Return the same definitions with other names of states.

        `names` maps a digest as written to the one in use; a digest that it lacks stays. States
        that then have one name become one.
        """
        features = {
            name: replace(
                feature,
                state=replace(
                    feature.state,
                    digest=names.get(feature.state.digest, feature.state.digest),
                ),
            )
            for name, feature in self.features.items()
        }
        return replace(self, features=MappingProxyType(_share_states(features)))


def _share_states(features: Mapping[str, Feature]) -> dict[str, Feature]:
    """Return the features with one State per entity and digest: the first, with the largest cap.

    Two states of one name would apply each event twice to the same rings.
    """
    states: dict[tuple[str, str], State] = {}
    for feature in features.values():
        state = feature.state
        first = states.setdefault((state.entity, state.digest), state)
        if state.cap > first.cap:
            states[state.entity, state.digest] = replace(first, cap=state.cap)
    return {
        name: replace(f, state=states[f.state.entity, f.state.digest])
        for name, f in features.items()
    }


def shipped_definitions() -> Path:
    """Return the path of the definitions in the package."""
    return Path(str(files("featsvc.accounts").joinpath("features.toml")))


def load_definitions(path: Path | None = None) -> Definitions:
    """Load and compile a file, by default the shipped one. Raises ConfigInvalid."""
    return _Loader(TomlSource(path or shipped_definitions())).load()


def _normal(where: Filters) -> Filters:
    """Return the filters with sorted, different values, whole numbers as integers.

    1 equals 1.0, but neither equals true or "1": their JSON texts differ.
    """
    normal = []
    for attribute, allowed in where:
        values = {}
        for value in allowed:
            whole = isinstance(value, float) and value.is_integer()
            same = int(value) if whole else value
            values[json.dumps(same)] = same
        normal.append((attribute, tuple(values[text] for text in sorted(values))))
    return tuple(normal)


class _Loader:
    """Loads a file in one pass, in the order in which the tables refer to each other."""

    def __init__(self, source: TomlSource) -> None:
        self.source = source
        self.entities: dict[str, str] = {}
        self.events: dict[str, tuple[str, ...]] = {}
        self.features: dict[str, Feature] = {}
        self.derived: dict[str, Derived] = {}
        self.rings: dict[tuple[str, str], set[tuple[str, str]]] = {}

    def load(self) -> Definitions:
        top = TomlTable(
            self.source,
            (),
            self.source.tree,
            ("namespace", "version", "dedup", "entities", "events", "features", "derived", "sets"),
        )
        namespace = top.text("namespace")
        top.check_name(namespace, "namespace")
        self.version = top.integer("version", high=_MAX_VERSION, default=1)
        dedup = top.table("dedup", ("ring", "horizon"))
        # Of earlier versions, which remembered a number of ids: accepted, without effect.
        dedup.integer("ring", high=_MAX_KEPT_IDS, default=1)
        horizon_ms = dedup.duration("horizon") or DEFAULT_HORIZON_MS
        self._read_entities(top.table("entities"))
        self._read_events(top.table("events"))
        for name, table in top.tables("features", _FEATURE_KEYS):
            self._read_feature(name, table)
        self.features = _share_states(self.features)
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
            dedup_horizon_ms=horizon_ms,
        )

    def _read_entities(self, table: TomlTable) -> None:
        for name in table.tree:
            table.check_name(name)
            self.entities[name] = table.text(name)
        if not self.entities:
            table.fail("", 'defines no entity; add for example account = "account"')

    def _read_events(self, table: TomlTable) -> None:
        for name in table.tree:
            table.check_name(name)
            event = table.table(name, ("keys", "description"))
            keys = event.texts("keys")
            for key in keys:
                if key not in self.entities:
                    event.fail("keys", unknown("entity", key, self.entities))
            self.events[name] = keys

    def _read_feature(self, name: str, table: TomlTable) -> None:
        event = table.text("on")
        if event not in self.events:
            table.fail("on", unknown("event", event, self.events))
        state = self._read_state(event, table)
        windows = table.texts("windows")
        default = table.number("default")
        max_age_ms = table.duration("max_age")
        for window in windows:
            window_ms = self._read_window(window, table)
            full_name = f"{name}_{window}"
            if full_name in self.features:
                table.fail("windows", f"{full_name} is defined twice")
            self._count_ring(state, ring_for(window_ms), table)
            self.features[full_name] = Feature(
                name=full_name,
                entity=state.entity,
                event=event,
                aggregation=table.tree["agg"],
                window_ms=window_ms,
                state=state,
                default=default,
                max_age_ms=max_age_ms,
                version=table.integer("version", high=_MAX_VERSION, default=self.version),
                description=table.text("description", default=""),
            )

    def _read_state(self, event: str, table: TomlTable) -> State:
        name = table.text("agg")
        if name not in AGGREGATIONS:
            table.fail("agg", unknown("aggregation", name, AGGREGATIONS))
        entity = table.text("entity", default="account")
        if entity not in self.entities:
            table.fail("entity", unknown("entity", entity, self.entities))
        if entity not in self.events[event]:
            keys = ", ".join(self.events[event])
            table.fail("entity", f"event {event!r} has no key {entity!r}; its keys are {keys}")
        aggregation = AGGREGATIONS[name]
        if not aggregation.takes_value and "value" in table.tree:
            table.fail("value", f"{name} takes no value; remove it, or filter with where")
        value = table.text("value") if aggregation.takes_value else ""
        if name != "distinct" and "cap" in table.tree:
            table.fail("cap", "only distinct has a cap; remove it")
        cap = table.integer("cap", high=MAX_CAP, default=DEFAULT_CAP)
        where = table.filters("where")
        kind = aggregation.kind
        if value in self.entities.values() and kind is not StateKind.DISTINCT:
            table.fail(
                "value",
                f"{value!r} is the field of an entity, whose id is a text, and {name} takes "
                "numbers; name a numeric attribute, or use distinct",
            )
        of_time = name.startswith("age_of_")
        own_version = table.integer("version", high=_MAX_VERSION, default=0)

        def digest(where: Filters) -> str:
            return state_digest(json.dumps([event, kind.name, value, of_time, where, own_version]))

        return State(
            entity, event, kind, value, of_time, where, cap, digest(where), digest(_normal(where))
        )

    def _count_ring(self, state: State, ring: Ring, table: TomlTable) -> None:
        """Count a ring among those that an event of the state's type updates."""
        rings = self.rings.setdefault((state.event, state.entity), set())
        rings.add((state.digest, ring.letter))
        if len(rings) > MAX_RINGS_PER_EVENT:
            table.fail(
                "windows",
                f"with this feature an event of type {state.event!r} would update more than "
                f"{MAX_RINGS_PER_EVENT:,} rings of one {state.entity}; use fewer features or "
                "windows (windows up to 6m, 6h, 7d and 90d share a ring)",
            )

    def _read_window(self, text: str, table: TomlTable) -> int:
        if text == "lifetime":
            return LIFETIME_MS
        window_ms = table.parse_duration("windows", text)
        if not SHORTEST_WINDOW_MS <= window_ms <= LONGEST_WINDOW_MS:
            table.fail("windows", f"{text!r} is not between 1m and 90d; use lifetime for more")
        return window_ms

    def _read_derived(self, table: TomlTable) -> None:
        for name, body in table.tree.items():
            table.check_name(name)
            if name in self.features:
                table.fail(name, "a windowed feature has this name; choose another")
            if isinstance(body, dict):
                detail = table.table(name, ("expression", "default", "version", "description"))
                text = detail.text("expression")
            else:
                detail = TomlTable(self.source, (*table.path, name), {}, ())
                text = table.text(name)
            try:
                expression = parse_expression(text, self._check_feature)
            except ExpressionError as exc:
                table.fail(name, str(exc))
            entities = {self.features[feature].entity for feature in expression.features}
            if len(entities) != 1:
                used = ", ".join(sorted(entities)) or "none"
                table.fail(name, f"must use features of exactly one entity; it uses {used}")
            self.derived[name] = Derived(
                name=name,
                entity=entities.pop(),
                expression=expression,
                default=detail.number("default"),
                version=detail.integer("version", high=_MAX_VERSION, default=self.version),
                description=detail.text("description", default=""),
            )

    def _check_feature(self, name: str) -> str | None:
        return None if name in self.features else unknown("feature", name, self.features)

    def _read_sets(self, table: TomlTable) -> dict[str, tuple[str, ...]]:
        sets = {}
        known = {**self.features, **self.derived}
        for name in table.tree:
            table.check_name(name)
            sets[name] = table.texts(name)
            for feature in sets[name]:
                if feature not in known:
                    table.fail(name, unknown("feature", feature, known))
        return sets
