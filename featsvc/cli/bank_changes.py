"""Words for what changed: settings of a bank, fields of entries."""

import json
from collections.abc import Iterable, Mapping
from typing import Protocol

from featsvc_client.v1 import banks_pb2

from featsvc.signals.variants import DEFAULT_QUERY_VARIANTS

_MAX_CHARS = 40
_NAMES = {"query_variants": "variants", "display_name": "display name"}
_TEXTS = ("display_name", "description")
_WORDS = {"": "none", "true": "yes", "false": "no"}


class _Changed(Protocol):
    """A message that says which settings changed."""

    @property
    def setting_changes(self) -> Iterable[banks_pb2.SettingChange]: ...

    @property
    def settings_unknown(self) -> bool: ...


def describe_settings(changed: _Changed) -> str:
    """Return `mode shadow -> enforce, threshold pdq default -> 28`; "" if no setting changed.

    Older versions of the service did not record them.
    """
    if changed.settings_unknown:
        return "settings not recorded"
    return ", ".join(map(_describe, changed.setting_changes))


def _describe(change: banks_pb2.SettingChange) -> str:
    name, _, algorithm = change.name.rstrip("]").partition("[")
    shown = f"threshold {algorithm}" if algorithm else _NAMES.get(name, name)
    new = _value(name, change.new)
    if not change.HasField("old"):
        return f"{shown} {new}"
    return f"{shown} {_value(name, change.old)} -> {new}"


def _value(name: str, text: str) -> str:
    if name in _TEXTS and text:
        cut = text if len(text) <= _MAX_CHARS else f"{text[:_MAX_CHARS]}..."
        return json.dumps(cut, ensure_ascii=False)
    if name == "query_variants" and text == ", ".join(DEFAULT_QUERY_VARIANTS):
        return "default"
    return _WORDS.get(text, text)


def describe_fields(counts: Mapping[str, int]) -> str:
    """Return `labels of 2, note of 1` for the entries in which each field changes."""
    return ", ".join(f"{name.replace('_', ' ')} of {count:,}" for name, count in counts.items())
