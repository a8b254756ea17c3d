"""Reads the configuration: the file, the variables and the options, each value with its origin."""

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import msgspec

from featsvc.config.checks import check_text, check_value, find_conflicts
from featsvc.config.keys import DEFAULTS, SECTIONS, Config, Configured, expected
from featsvc.config.variables import CONFIG_FILE, nearest, unknown_variables, variable_of
from featsvc.errors import ConfigInvalid

# Options that are not called as their keys are.
_OPTIONS = {"redis.url": "--redis", "features.file": "--features"}


class _Setting(NamedTuple):
    """A value from one source; `as_text`: a variable or an option, which are never empty."""

    key: str
    value: object
    origin: str
    as_text: bool


@dataclass(slots=True)
class _Reading:
    """The settings that are right, in the order of their sources, and what is wrong."""

    settings: list[_Setting] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def add(self, setting: _Setting) -> None:
        try:
            _check(setting)
        except ValueError as exc:
            self.problems.append(f"{setting.origin}: {setting.key} {exc}")
        else:
            self.settings.append(setting)


def load_config(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Config:
    """Read and validate the configuration; see `read_config`."""
    return read_config(path, environ=environ, overrides=overrides).config


def read_config(
    path: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Configured:
    """Read and validate the configuration, with the origin of each value.

    `path` is a TOML file; None means `FEATSVC_CONFIG`, or no file. `environ` replaces the
    environment of the process. `overrides` has keys "section.key" or "data_dir"; None values are
    skipped. Raises ConfigInvalid, which names everything that is wrong, each with the file,
    variable or option and the key. It repeats no value of a URL.
    """
    environ = os.environ if environ is None else environ
    reading = _Reading()
    reading.problems += unknown_variables(environ, DEFAULTS)
    if path is None and environ.get(CONFIG_FILE):
        path = Path(environ[CONFIG_FILE])
    if path is not None:
        _read_file(path, reading)
    for key in DEFAULTS:
        if (variable := variable_of(key)) in environ:
            reading.add(_Setting(key, environ[variable], variable, as_text=True))
    for key, value in (overrides or {}).items():
        if value is not None:
            option = _OPTIONS.get(key, f"--{key.rpartition('.')[2].replace('_', '-')}")
            reading.add(_Setting(key, value, option, as_text=True))
    configured = _configured(reading.settings)
    reading.problems += find_conflicts(configured)
    if reading.problems:
        raise ConfigInvalid(_listed(reading.problems))
    return configured


def check_variables(environ: Mapping[str, str]) -> None:
    """Raise ConfigInvalid for names that nothing reads, for commands that read no settings."""
    if problems := list(unknown_variables(environ, DEFAULTS)):
        raise ConfigInvalid(_listed(problems))


def _listed(problems: list[str]) -> str:
    if len(problems) == 1:
        return f"{problems[0]} (see featsvc serve --example-config)"
    lines = "".join(f"\n  {problem}" for problem in problems)
    return f"{len(problems)} settings are wrong (see featsvc serve --example-config):{lines}"


def _read_file(path: Path, reading: _Reading) -> None:
    """Add the keys of a TOML file."""
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as exc:
        reading.problems.append(f"{path}: cannot be read: {exc}")
        return
    for name, value in tree.items():
        if name in DEFAULTS:
            reading.add(_Setting(name, value, str(path), as_text=False))
        elif name in SECTIONS and isinstance(value, dict):
            _read_section(name, value, str(path), reading)
        elif name in SECTIONS:
            reading.problems.append(f"{path}: {name} is a section; write [{name}] and its keys")
        elif isinstance(value, dict):
            hint = nearest(name, SECTIONS)
            reading.problems.append(f"{path}: [{name}]: no such section; {hint}")
        else:
            reading.problems.append(f"{path}: {name}: no such key; {nearest(name, DEFAULTS)}")


def _read_section(section: str, keys: Mapping[str, object], origin: str, reading: _Reading) -> None:
    for leaf, value in keys.items():
        if (key := f"{section}.{leaf}") in DEFAULTS:
            reading.add(_Setting(key, value, origin, as_text=False))
        else:
            reading.problems.append(f"{origin}: {key}: no such key; {nearest(key, DEFAULTS)}")


def _configured(settings: list[_Setting]) -> Configured:
    tree: dict[str, Any] = {}
    origins: dict[str, str] = {}
    for setting in settings:
        section, _, leaf = setting.key.rpartition(".")
        target: dict[str, Any] = tree.setdefault(section, {}) if section else tree
        target[leaf] = setting.value
        origins[setting.key] = setting.origin
    return Configured(msgspec.convert(tree, Config, strict=False), MappingProxyType(origins))


def _check(setting: _Setting) -> None:
    """Raise ValueError, whose text follows the key, for a value that can never be right."""
    key, value = setting.key, setting.value
    if isinstance(value, str):
        check_text(value, may_be_empty=not setting.as_text)
    section, _, leaf = key.rpartition(".")
    tree = {section: {leaf: value}} if section else {leaf: value}
    try:
        msgspec.convert(tree, Config, strict=not setting.as_text)
    except msgspec.ValidationError:
        # Its message would speak of types in Python.
        raise ValueError(f"must be {expected(key)}") from None
    if isinstance(value, str) and value != DEFAULTS[key]:
        check_value(key, value)
