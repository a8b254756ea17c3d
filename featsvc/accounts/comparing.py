"""What a change of definitions does to stored values: `featsvc features diff`.

It says what holds for services that share the register (featsvc/accounts/register.py).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain

from featsvc.accounts.definitions import Definitions, Derived, Feature, State
from featsvc.accounts.register import ring_name


class Change(StrEnum):
    """What happens to a feature.

    KEPT and RESPELLED (the filter is written differently) keep their values; RENAMED keeps those of
    the old name. NEW has no state yet, NEW_WINDOW has state but not for so long a window. RESTARTED
    has another meaning than before and begins without values. REMOVED is no longer computed, and
    its values are no longer updated. CHANGED is a derived feature with another expression.
    """

    KEPT = "kept"
    RESPELLED = "respelled"
    RENAMED = "renamed"
    CHANGED = "changed"
    NEW = "new"
    NEW_WINDOW = "new_window"
    RESTARTED = "restarted"
    REMOVED = "removed"


@dataclass(frozen=True, slots=True)
class FeatureChange:
    """The change of one feature.

    `was` is the name of an old feature that has the same values, if it is another. `reasons` are
    the keys that changed. `warming_ms` is how long the feature is WARMING for entities that exist
    already: None not at all, 0 (a lifetime) for good.
    """

    name: str
    change: Change
    was: str = ""
    reasons: tuple[str, ...] = ()
    warming_ms: int | None = None

    @property
    def loses_state(self) -> bool:
        """Whether values that were served no longer are."""
        return self.change in (Change.RESTARTED, Change.REMOVED)


def compare_definitions(old: Definitions, new: Definitions) -> list[FeatureChange]:
    """Return the changes of all features, in the order of the new file; removed ones are last."""
    windowed = list(_windowed(old, new))
    by_name = {change.name: change for change in windowed}
    derived = [_derived(name, old, new, by_name) for name in new.derived]
    renamed = {change.was for change in windowed if change.change is Change.RENAMED}
    removed = [
        FeatureChange(name, Change.REMOVED)
        for name in chain(old.features, old.derived)
        if name not in new.features and name not in new.derived and name not in renamed
    ]
    return windowed + derived + removed


_Ring = tuple[str, str, str]


def _ring(feature: Feature) -> _Ring:
    """Return what a feature reads: entity, meaning of the state, ring."""
    return feature.state.entity, feature.state.canonical, ring_name(feature)


def _windowed(old: Definitions, new: Definitions) -> Iterator[FeatureChange]:
    known = old.features if old.namespace == new.namespace else {}
    states = {(f.state.entity, f.state.canonical) for f in known.values()}
    by_ring: dict[_Ring, list[Feature]] = {}
    for feature in known.values():
        by_ring.setdefault(_ring(feature), []).append(feature)
    for name, feature in new.features.items():
        served = by_ring.get(_ring(feature), [])
        before = old.features.get(name)
        if before in served:
            respelled = before.state.digest != feature.state.digest
            change = Change.RESPELLED if respelled else Change.KEPT
            yield FeatureChange(name, change, "", _settings(before, feature, old, new))
            continue
        warming_ms = None if served else feature.window_ms
        if before:
            reasons = _meaning(before, feature, old, new)
            yield FeatureChange(name, Change.RESTARTED, _first(served), reasons, warming_ms)
            continue
        gone = [
            f
            for f in served
            if (f.window_ms, f.aggregation) == (feature.window_ms, feature.aggregation)
            and f.name not in new.features
        ]
        if gone:
            reasons = _settings(gone[0], feature, old, new)
            yield FeatureChange(name, Change.RENAMED, gone[0].name, reasons)
        elif (feature.state.entity, feature.state.canonical) in states:
            yield FeatureChange(name, Change.NEW_WINDOW, _first(served), (), warming_ms)
        else:
            yield FeatureChange(name, Change.NEW, "", (), warming_ms)


def _first(features: list[Feature]) -> str:
    return features[0].name if features else ""


def _settings(
    before: Feature, after: Feature, old: Definitions, new: Definitions
) -> tuple[str, ...]:
    """Return the keys that change what is served, but not what is stored."""
    changed = {
        "agg": before.aggregation != after.aggregation,
        "cap": before.state.cap != after.state.cap,
        "default": before.default != after.default,
        "max_age": before.max_age_ms != after.max_age_ms,
        # From now on other ids are counted, under the same state.
        f"entities.{after.entity}": old.entities[before.entity] != new.entities[after.entity],
    }
    return tuple(key for key, differs in changed.items() if differs)


def _meaning(
    before: Feature, after: Feature, old: Definitions, new: Definitions
) -> tuple[str, ...]:
    """Return the keys that give a feature another state."""
    a, b = before.state, after.state
    changed = {
        "namespace": old.namespace != new.namespace,
        "entity": a.entity != b.entity,
        "on": a.event != b.event,
        "agg": (a.kind, a.of_time) != (b.kind, b.of_time),
        "value": a.value != b.value,
        "where": _filters(a) != _filters(b),
    }
    # What is left of a meaning is its version.
    return tuple(key for key, differs in changed.items() if differs) or ("version",)


def _filters(state: State) -> dict[str, set[tuple[bool, object]]]:
    return {name: {(isinstance(v, bool), v) for v in allowed} for name, allowed in state.where}


def _derived(
    name: str, old: Definitions, new: Definitions, windowed: dict[str, FeatureChange]
) -> FeatureChange:
    """Return the change of a derived feature; it is WARMING as long as any of its inputs."""
    after = new.derived[name]
    inputs = [windowed[feature].warming_ms for feature in after.expression.features]
    warming = [ms for ms in inputs if ms is not None]
    warming_ms = None
    if warming:
        warming_ms = 0 if 0 in warming else max(warming)
    before = old.derived.get(name)
    if before is None:
        return FeatureChange(name, Change.NEW, warming_ms=warming_ms)
    reasons = _derived_settings(before, after)
    change = Change.CHANGED if "expression" in reasons else Change.KEPT
    return FeatureChange(name, change, "", reasons, warming_ms)


def _derived_settings(before: Derived, after: Derived) -> tuple[str, ...]:
    changed = {
        "expression": before.expression.text != after.expression.text,
        "default": before.default != after.default,
    }
    return tuple(key for key, differs in changed.items() if differs)
