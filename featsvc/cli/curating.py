"""What the bank commands share: who and why, asking first, entries and banks as text and JSON."""

import getpass
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any, TypeVar

import click
from featsvc_client import Client
from featsvc_client.v1 import banks_pb2, types_pb2

from featsvc.cli import output

F = TypeVar("F", bound=Callable[..., Any])

PAGE = 1000
_SHOWN_CHARS = 64


def bank_argument(command: F) -> F:
    return click.argument("bank_id", metavar="BANK")(command)


def reason_option(command: F) -> F:
    return click.option("--reason", default="", help="Why, for the log.")(command)


def variants_option(command: F) -> F:
    return click.option(
        "--variants",
        metavar="none|default|all|NAME,...",
        help="Turns and parts of an uploaded picture that are tried besides itself.",
    )(command)


def variant_names(text: str) -> list[str]:
    """`a,b` to names."""
    return [name.strip() for name in text.split(",") if name.strip()]


def yes_option(command: F) -> F:
    return click.option("--yes", "-y", is_flag=True, help="Do not ask first.")(command)


def change_context(reason: str) -> banks_pb2.ChangeContext:
    """Who changes something: the user of this machine."""
    try:
        actor = getpass.getuser()
    except (KeyError, OSError):
        actor = f"uid {os.getuid()}"
    return banks_pb2.ChangeContext(actor=actor, reason=reason)


def ask(question: str, yes: bool) -> None:
    """Go on only where the user says so, or said so with --yes."""
    click.echo(question, err=True)
    if yes:
        return
    try:
        agreed = click.confirm("Do it?", err=True)
    except click.Abort:
        agreed = False
        click.echo(err=True)
    if not agreed:
        raise click.ClickException("nothing was changed; answer y, or pass --yes")


def bank_name(bank_id: str) -> str:
    return f"banks/{bank_id}"


def last_part(name: str) -> str:
    return name.rpartition("/")[2]


def get_bank(client: Client, bank_id: str) -> banks_pb2.Bank:
    found: banks_pb2.Bank = client.banks.GetBank(banks_pb2.GetBankRequest(name=bank_name(bank_id)))
    return found


def all_banks(client: Client) -> Iterator[banks_pb2.Bank]:
    token = ""
    while True:
        page = client.banks.ListBanks(banks_pb2.ListBanksRequest(page_size=PAGE, page_token=token))
        yield from page.banks
        token = page.next_page_token
        if not token:
            return


def mode_name(message: banks_pb2.Bank) -> str:
    return output.enum_name(types_pb2.BankMode, message.mode, "BANK_MODE_")


def bank_json(message: banks_pb2.Bank) -> dict[str, object]:
    return {
        "bank": last_part(message.name),
        "mode": mode_name(message),
        "safe": message.safe,
        "description": message.description,
        "thresholds": dict(message.thresholds),
        "variants": list(message.query_variants),
        "entries": message.entry_count,
        "signals": dict(message.signal_counts),
        "revision": message.revision,
        "etag": message.etag,
    }


def show_bank(message: banks_pb2.Bank, as_json: bool) -> None:
    values = bank_json(message)
    if as_json:
        output.json_line(values)
        return
    for name, value in values.items():
        shown: object = value
        if isinstance(value, dict):
            shown = ", ".join(f"{k} {v:g}" for k, v in value.items())
        elif isinstance(value, list):
            shown = ", ".join(value) or "none"
        click.echo(f"{name:<12} {shown}")


def opinion_name(message: banks_pb2.Entry) -> str:
    name = output.enum_name(banks_pb2.Opinion, message.opinion, "OPINION_").lower()
    return "" if name == "unspecified" else name


def entry_json(message: banks_pb2.Entry) -> dict[str, object]:
    expires = message.expire_time.ToJsonString() if message.HasField("expire_time") else None
    return {
        "bank": message.name.split("/")[1],
        "entry_id": last_part(message.name),
        "external_id": message.external_id,
        "signals": [
            {
                "algorithm": s.algorithm,
                "signal": s.value,
                "variant": s.variant,
                **({"quality": s.quality} if s.HasField("quality") else {}),
            }
            for s in message.signals
        ],
        "vectors": [
            {"model": v.model, "dimensions": len(v.values), "variant": v.variant}
            for v in message.vectors
        ],
        "labels": list(message.labels),
        "source": message.source,
        "opinion": opinion_name(message),
        "note": message.note,
        "expire_time": expires,
        "added_revision": message.added_revision,
        "removed_revision": message.removed_revision or None,
        "quarantined": message.quarantined,
    }


def show_entries(
    entries: Iterable[banks_pb2.Entry], extra: str = "", values: Iterable[object] = ()
) -> None:
    """A table of entries, with one more column at its left where one is named."""
    first = iter(values)
    output.table(
        (*([extra] if extra else []), "entry", "external id", "signals", "labels", "source", ""),
        (
            (
                *([next(first)] if extra else []),
                last_part(m.name),
                m.external_id,
                _signals_text(m),
                ", ".join(m.labels),
                m.source,
                _state(m),
            )
            for m in entries
        ),
    )


def _signals_text(message: banks_pb2.Entry) -> str:
    """One a line; variants of the picture are only counted."""
    own = [s for s in message.signals if s.variant == "original"]
    # The grams of a text are not shown: nobody reads them.
    lines = [f"{s.algorithm}:{_short(s.value)}" if s.value else s.algorithm for s in own]
    lines += [f"{v.model}: {len(v.values)} dimensions" for v in message.vectors]
    if len(own) < len(message.signals):
        lines.append(f"and {len(message.signals) - len(own)} variants")
    return "\n".join(lines)


def _short(value: str) -> str:
    """Signals of any size that a table can hold whole are shown whole."""
    return value if len(value) <= _SHOWN_CHARS else value[: _SHOWN_CHARS - 3] + "..."


def _state(message: banks_pb2.Entry) -> str:
    if message.removed_revision:
        return f"withdrawn at {message.removed_revision}"
    return "quarantined" if message.quarantined else ""
