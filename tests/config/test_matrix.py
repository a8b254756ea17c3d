"""Every key, each kind of wrong value, through each source: refused by name, no secret repeated.

The same for right values: every source takes them, and gives the same configuration.
"""

import json
import math
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from featsvc.config import DEFAULTS, Configured, read_config
from featsvc.config.keys import Config
from featsvc.config.reading import _OPTIONS
from featsvc.config.variables import variable_of
from featsvc.errors import ConfigInvalid

SECRET = "hunter2"  # noqa: S105 - made up
HUGE = 10**30
POSTGRESQL = "postgresql+psycopg://u:hunter2@db:5432/featsvc"

WRONG_TEXTS: dict[str, list[str]] = {
    "data_dir": ["~/data", "${DATA}/x", "file:///data", "/etc/passwd/data"],
    "server.listen": [
        *("localhost", ":50051", "localhost:", "50051", "localhost:65536", "localhost:-1"),
        *("localhost:99999999999", "localhost:5005l", "localhost:٣", "http://localhost:50051"),
        *("::1:50051", "[::1]", "[::1:50051", "[::g]:50051", "999.1.1.1:1", "a b:1", "a,b:1"),
        *("-a:1", "u:hunter2@h:1", "localhost:1:2", "localhost:+1", "localhost:1.0"),
    ],
    "banks.url": [
        *("postgresql://u:hunter2@db/featsvc", "postgres://u:hunter2@db/featsvc"),
        *("postgresql+psycopg2://u:hunter2@db/f", "postgresql+asyncpg://u:hunter2@db/f"),
        *("mysql://u:hunter2@db/f", "mysql+pymysql://u:hunter2@db/f", "oracle://u:hunter2@db/f"),
        *("redis://:hunter2@h:6379/0", "embedded", "banks.db", "/data/banks.db", "hunter2"),
        *("sqlite://", "sqlite:///", "sqlite:///:memory:", "sqlite:///banks.db"),
        *("sqlite://data/banks.db", "sqlite:////data/banks.db?mode=ro", "sqlite:////etc"),
        *("sqlite+aiosqlite:////b.db", "sqlite+pysqlcipher://:hunter2@/b.db", "sqlite:////a\0"),
        *(POSTGRESQL.replace("5432", p) for p in ("0", "65536", "x", "-1", "")),
        *(f"{POSTGRESQL}?{q}" for q in ("sslmod=require", "x=1", "password_=hunter2")),
        *("postgresql+psycopg://u:a@hunter2@db/f", "postgresql+psycopg://u:p@d b/f"),
        *("postgresql+psycopg://u:hunter2@d:b:1/f", "postgresql+psycopg:/u:hunter2@db/f"),
        *("POSTGRESQL+PSYCOPG://u:hunter2@db/f", "postgresql+psycopg//u:hunter2@db/f"),
    ],
    "redis.url": [
        *(
            "http://h",
            "redis:h",
            "h:6379",
            "localhost",
            "Embedded",
            "embedded!",
            "redis",
            "redi://h",
        ),
        *("redis://", "redis:///0", "redis://:6379", "redis://:hunter2@", "rediss://:hunter2@/0"),
        *("redis://h:0", "redis://h:65536", "redis://h:x", "redis://:hunter2@h:x", "redis://h:"),
        *("redis://h/x", "redis://h/-1", "redis://h/1/2", "redis://h/1.0", "redis://h?db=x"),
        *("redis://h?x=1", "redis://h?socket_timeout=x", "redis://a,b", "redis://h#hunter2"),
        *("redis://:hun#ter2@h", "redis://:hunter2/x@h", "redis://:a@hunter2@h:x", "redis://a b"),
        *("unix://", "unix:///", "unix://run/x.sock", "unix://h/run/x.sock", "unix+cluster:///x"),
        *("redis+sentinel://a", "redis+sentinel://:hunter2@a?service=", "redis+cluster://a/1"),
        *("redis+cluster://a,,b", "redis+cluster://a,b:0", "redis+x://a", "redis+://a"),
        *("rediss+unix://a", "redis+sentinel+cluster://a?service=m", "redis://[::1", "redis://[x]"),
    ],
    "features.file": ["/none.toml", "/", "~/f.toml", "file:///f.toml", "${F}"],
    "features.stream": [],
    "features.stream_group": [],
    "embed.models_file": ["/none.toml", "/", "~/m.toml", "https://u:hunter2@h/m.toml"],
}
WRONG_TEXTS["metrics.listen"] = [*WRONG_TEXTS["server.listen"], "localhost:0", "[::1]:0"]
RIGHT_TEXTS: dict[str, list[str]] = {
    "data_dir": ["elsewhere", "/x", "a b/ü"],
    "server.listen": ["0.0.0.0:0", "[::]:50051", "[::1]:65535", "host.example_1:1", "localhost:80"],
    "banks.url": [
        *("sqlite:////tmp/x/banks.db", "sqlite+pysqlite:////tmp/b", POSTGRESQL),
        *("postgresql+psycopg://db/featsvc", "postgresql+psycopg://u:%40%2F@[::1]:1/f"),
        *(f"{POSTGRESQL}?sslmode=require&connect_timeout=20", "postgresql+psycopg:///f"),
        "postgresql+psycopg:///f?host=/run/postgresql",
        "postgresql+psycopg://u:p@/f?host=a:1&host=b:2",
    ],
    "redis.url": [
        *("embedded", "redis://h", "redis://h:1/3", "rediss://u:p%40@h", "redis://[::1]:6380"),
        *("unix:///run/a%20b?db=2", "unix://u:p@/run/x", "redis+cluster://u:p@a:1,b:2"),
        *("redis+sentinel://u:p@a,b:7/4?service=m&sentinel_password=s", "redis://h/?db=3"),
    ],
    "features.stream": ["events"],
    "features.stream_group": ["g"],
    "metrics.listen": ["127.0.0.1:9090", "[::1]:9090", "0.0.0.0:1"],
}
ANY_TEXT_WRONG = [
    " x",
    "x ",
    "\tx",
    "x\n",
    '"x"',
    "'x'",
    '"x',
    "x'",
    "a\0b",
    "a\nb",
    "\x1b[1m",
    " ",
]
NO_TEXT = [5, 0, True, 1.5, [], ["x"], {"x": 1}]


# Those of URLs take a second.
KEYS = [pytest.param(k, marks=[pytest.mark.slow] * k.endswith(".url"), id=k) for k in DEFAULTS]


def kind_of(key: str) -> Any:
    """msgspec's description of the type of a key, with its bounds."""
    section, _, leaf = key.rpartition(".")
    struct = type(getattr(Config(), section)) if section else Config
    fields = {f.name: f.type for f in msgspec.structs.fields(struct)}
    return msgspec.inspect.type_info(fields[leaf])


def wrong_values(key: str) -> Iterator[object]:
    """Values of the types that TOML has."""
    kind, default = kind_of(key), DEFAULTS[key]
    if isinstance(default, bool):
        yield from ["true", "yes", "", 0, 1, 2, 1.0, [], [True], {"x": True}]
    elif isinstance(default, str):
        yield from [*NO_TEXT, *ANY_TEXT_WRONG, *WRONG_TEXTS[key], *([""] if default else [])]
    else:
        assert kind.le is not None, f"{key} has no upper bound"
        least = kind.ge if kind.ge is not None else kind.gt
        assert least is not None, f"{key} has no lower bound"
        yield from [least - 1, -1, -0.5, kind.le + 1, HUGE, -HUGE, math.nan, math.inf, -math.inf]
        yield from ["x", "", str(default), True, False, [], [default], {"x": default}]
        yield from [default + 0.5] if isinstance(default, int) else []
        yield from [kind.gt] if kind.ge is None else []


def wrong_texts(key: str) -> Iterator[str]:
    """Texts of variables and options, which have no types."""
    default = DEFAULTS[key]
    yield from ["", " ", *ANY_TEXT_WRONG]
    if isinstance(default, bool):
        yield from ["yes", "no", "on", "off", "2", "-1", "t", "null", "none", SECRET]
    elif isinstance(default, str):
        yield from WRONG_TEXTS[key]
    else:
        yield from ["x", "0x10", "1_0", "1,0", "1 0", "+1", f"{default} ", f" {default}", SECRET]
        yield from [f'"{default}"', f"{default}ms", "nan", "inf", "-inf", "true", "null", "٣", "[]"]
        bounds = [v for v in wrong_values(key) if isinstance(v, int | float) and v is not True]
        yield from (str(v) for v in bounds if v is not False)


def right_values(key: str) -> Iterator[object]:
    kind, default = kind_of(key), DEFAULTS[key]
    if isinstance(default, bool):
        yield from [True, False]
    elif isinstance(default, str):
        yield from RIGHT_TEXTS.get(key, [])
    else:
        number = type(default)
        yield from [default, number(kind.le)]
        yield number(kind.ge) if kind.ge is not None else kind.gt + 0.5


def toml(value: object) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{k} = {toml(v)}" for k, v in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value)
    return str(value).lower()  # true, nan, inf, 1e+30


def of_file(folder: Path, key: str, value: object) -> tuple[str, Callable[[], Configured]]:
    path = folder / "featsvc.toml"
    section, _, leaf = key.rpartition(".")
    head = f"[{section}]\n" if section else ""
    path.write_text(f"{head}{leaf} = {toml(value)}\n", encoding="utf-8")
    return str(path), lambda: read_config(path, environ={})


def of_variable(key: str, text: str) -> tuple[str, Callable[[], Configured]]:
    variable = variable_of(key)
    return variable, lambda: read_config(environ={variable: text})


def of_option(key: str, value: object) -> tuple[str, Callable[[], Configured]]:
    option = _OPTIONS.get(key, "--" + key.rpartition(".")[2].replace("_", "-"))
    return option, lambda: read_config(environ={}, overrides={key: value})


def check_refused(source: tuple[str, Callable[[], Configured]], key: str, value: object) -> None:
    origin, read = source
    with pytest.raises(ConfigInvalid) as caught:
        read()
    told = "".join(traceback.format_exception(caught.value))
    assert f"ConfigInvalid: {origin}: {key}" in told, f"{value!r}: {told}"
    assert SECRET not in told, told


def sources(
    folder: Path, key: str
) -> Iterator[tuple[tuple[str, Callable[[], Configured]], object]]:
    for value in wrong_values(key):
        yield of_file(folder, key, value), value
    for text in wrong_texts(key):
        yield of_variable(key, text), text
        yield of_option(key, text), text


@pytest.mark.parametrize("key", KEYS)
def test_every_wrong_value_is_refused_by_name(key: str, tmp_path: Path) -> None:
    tried = 0
    for source, value in sources(tmp_path, key):
        check_refused(source, key, value)
        tried += 1
    assert tried > 30


@pytest.mark.parametrize("key", DEFAULTS)
def test_every_right_value_is_taken_from_each_source(key: str, tmp_path: Path) -> None:
    for value in right_values(key):
        text = str(value).lower() if isinstance(value, bool) else str(value)
        for origin, read in (
            of_file(tmp_path, key, value),
            of_variable(key, text),
            of_option(key, text),
            of_option(key, value),
        ):
            configured = read()
            assert configured.config.value(key) == value
            assert configured.origins == {key: origin}
