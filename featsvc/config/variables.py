"""The names of `FEATSVC_*` variables: those that set a key, and those that are no settings.

A name that is none of them is refused: `FEATSVC_BANK_URL` for `FEATSVC_BANKS_URL` would otherwise
leave a service with an empty store, which passes everything.
"""

import difflib
import re
from collections.abc import Collection, Iterable, Iterator, Mapping

PREFIX = "FEATSVC_"
CONFIG_FILE = "FEATSVC_CONFIG"
CLIENT: Mapping[str, str] = {
    "FEATSVC_SERVER": "the server to call",
    "FEATSVC_TOKEN": "the token that calls carry",
    "FEATSVC_TLS_CA_FILE": "the authorities that the client trusts",
    "FEATSVC_TLS_CERTIFICATE_FILE": "the certificate of the client",
    "FEATSVC_TLS_KEY_FILE": "the key of that certificate",
}
"""Variables of the client and of commands that call a server, and what they are."""
NOT_SETTINGS: Mapping[str, str] = {
    CONFIG_FILE: "the configuration file",
    **CLIENT,
}
"""Variables that set no key, and what they are."""

# Kubernetes sets these for every service of the namespace. With the name F they begin with F,
# where "featsvc-redis" is FEATSVC_REDIS.
_LINK = re.compile(
    r"FEATSVC(?:_[A-Z0-9_]+)?_(?:SERVICE_HOST|SERVICE_PORT(?:_[A-Z0-9_]+)?"
    r"|PORT_[0-9]+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
# Of these the value tells, because people expect such a setting.
_LINK_TO_PORT = re.compile(r"FEATSVC(?:_[A-Z0-9_]+)?_PORT")
_LINK_URL = re.compile(r"(?:tcp|udp|sctp)://.+:[0-9]+")


def is_service_link(variable: str, value: str) -> bool:
    """Return whether Kubernetes sets such a variable for a service called featsvc or featsvc-*."""
    if _LINK.fullmatch(variable):
        return True
    return bool(_LINK_TO_PORT.fullmatch(variable) and _LINK_URL.fullmatch(value))


def variable_of(key: str) -> str:
    """Return the variable that sets a key, "section.key" or "key"."""
    return PREFIX + key.replace(".", "_").upper()


def unknown_variables(environ: Mapping[str, str], keys: Iterable[str]) -> Iterator[str]:
    """Yield a line for each variable that is meant for featsvc and that nothing reads.

    Also for one of the client that is empty, which would mean another server, or no TLS.
    """
    known = {*map(variable_of, keys), *NOT_SETTINGS}
    for name, value in environ.items():
        if not value and (name in CLIENT or name == CONFIG_FILE):
            yield f"{name}: is set, but empty; give a value, or do not set it"
        if name in known or is_service_link(name, value):
            continue
        if name.startswith(PREFIX):
            yield f"{name}: no such setting; {nearest(name, known)}"
        elif meant := _meant(name, known):
            yield f"{name}: no such setting; did you mean {meant}?"


def nearest(name: str, known: Collection[str]) -> str:
    """Return `did you mean NAME?`, or where every name is documented if none is near."""
    if meant := _one_edit_from(name, known):
        return f"did you mean {meant}?"
    # Without the prefix, or any two variables would be near each other.
    by_rest = {other.removeprefix(PREFIX): other for other in sorted(known)}
    close = difflib.get_close_matches(name.removeprefix(PREFIX), by_rest, 1)
    return (
        f"did you mean {by_rest[close[0]]}?"
        if close
        else "featsvc serve --example-config prints every key"
    )


def _meant(name: str, known: Collection[str]) -> str:
    """Return the known variable that a name with another prefix is: in lower case, or misspelt."""
    if name.upper() in known:
        return name.upper()
    # With a digit it may be another program's on purpose, such as FEATSVC2_BANKS_URL.
    if not re.fullmatch("[A-Z_]+", name):
        return ""
    return _one_edit_from(name, known)


def _one_edit_from(name: str, known: Collection[str]) -> str:
    near = (other for other in known if abs(len(other) - len(name)) <= 1)
    return next((other for other in sorted(near) if is_one_edit(name, other)), "")


def is_one_edit(a: str, b: str) -> bool:
    """Return whether a letter more, less or changed, or two exchanged, make one the other."""
    start = 0
    while start < min(len(a), len(b)) and a[start] == b[start]:
        start += 1
    a, b = a[start:], b[start:]
    while a and b and a[-1] == b[-1]:
        a, b = a[:-1], b[:-1]
    return max(len(a), len(b)) <= 1 or (len(a) == 2 and a == b[::-1])  # noqa: PLR2004
