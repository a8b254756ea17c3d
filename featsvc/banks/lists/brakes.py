"""Brakes: a change that looks like a mistake is refused, unless its caller allows it by an option.

An import may withdraw 10 % of the bank's live entries, or 100 if that is more, whether by `replace`
or by rows that withdraw, and with `replace` nothing by a list without an entry. `allow_withdrawn`
sets another number: that of a dry run, so that a list that has changed since is refused again.

An entry of an external id keeps at least one of its signals, unless `allow_replaced` is set: a row
with other signals only is other content of the same id, such as a second file named image.jpg, and
what the entry found would no longer be found.

Nothing has changed after a refusal. A dry run is never refused; its summary has the refusals.
"""

from sqlalchemy import Connection, and_, func, select

from featsvc.banks.results import ImportOptions, ImportSummary
from featsvc.banks.sql.changes import EntryCounts
from featsvc.banks.sql.lookups import look_up
from featsvc.banks.sql.schema import entry_signals
from featsvc.banks.sql.temporary import import_details, import_rows, row_number, row_ordinal
from featsvc.errors import Refused, shown

MIN_ALLOWED = 100
ALLOWED_PERCENT = 10
_MAX_IDS = 20
_MAX_IDS_CHARS = 500


def allowed_withdrawals(live_entries: int) -> int:
    """Return how many entries an import may withdraw by default."""
    return max(MIN_ALLOWED, live_entries * ALLOWED_PERCENT // 100)


def withdrawal_refusals(summary: ImportSummary, options: ImportOptions) -> list[Refused]:
    """Return the reasons to refuse what an import withdraws."""
    withdrawn, live = summary.withdrawn_entries, summary.bank_entries
    allowed = options.allow_withdrawn
    found = []
    held = sum(
        (
            summary.new_entries,
            summary.changed_entries,
            summary.unchanged_entries,
            summary.kept_withdrawn,
        )
    )
    if options.replace and withdrawn and not held and allowed is None:
        found.append(
            _refused(
                "EMPTY_LIST",
                f"the list holds no entry, and would withdraw {withdrawn:,} of the bank's "
                f"{live:,} live entries. Is it the right file?",
                summary,
                allowed=0,
            )
        )
    elif withdrawn > (limit := allowed_withdrawals(live) if allowed is None else allowed):
        default = f" ({ALLOWED_PERCENT} %, or {MIN_ALLOWED} if that is more)"
        found.append(
            _refused(
                "TOO_MANY_WITHDRAWN",
                f"the import would withdraw {withdrawn:,} of the bank's {live:,} live entries; "
                f"{limit:,} are allowed{default if allowed is None else ''}. A dry run lists them.",
                summary,
                allowed=limit,
            )
        )
    return found


def _refused(reason: str, problem: str, summary: ImportSummary, *, allowed: int) -> Refused:
    withdrawn = summary.withdrawn_entries
    return Refused(
        f"{problem} If they are to go, set allow_withdrawn (--allow-withdraw) to {withdrawn}; "
        "nothing was changed",
        reason=reason,
        field="options.allow_withdrawn",
        metadata={
            "withdrawn_entries": str(withdrawn),
            "bank_entries": str(summary.bank_entries),
            "allowed": str(allowed),
        },
    )


def check_replaced(connection: Connection, counts: EntryCounts, allowed: bool) -> None:
    """Raise Refused for added entries that `replacement_refusals` names, unless `allowed`."""
    if counts.changed and not allowed:
        for refused in replacement_refusals(connection, "allow_replaced"):
            raise refused


def replacement_refusals(connection: Connection, field: str) -> list[Refused]:
    """Return the reason to refuse planned rows with none of the signals of their live entries.

    `field` is the option that allows them.
    """
    staged, details = import_rows.c, import_details.c
    live = and_(staged.old_version.is_not(None), staged.decided_withdrawn.is_not(True))
    changed = and_(live, ~staged.unchanged)
    # By the primary key of `entry_signals`: linear in the changed rows.
    equal = (
        entry_signals.c.version == staged.old_version,
        entry_signals.c.algorithm == details.algorithm,
        entry_signals.c.value == staged.value,
    )
    rows = import_rows.join(import_details, details.key == staged.details)
    source, _ = look_up(connection, rows, entry_signals, *equal)
    common = select(row_number).select_from(source).where(changed)
    others = select(row_number.label("number")).where(row_ordinal == 0, changed).except_(common)
    replaced = others.subquery()
    count = connection.scalar(select(func.count()).select_from(replaced)) or 0
    if not count:
        return []
    first = select(replaced.c.number).order_by(replaced.c.number).limit(_MAX_IDS)
    named = connection.execute(
        select(staged.external_id, details.source)
        .join(import_details, details.key == staged.details)
        .where(row_ordinal == 0, row_number.in_(list(connection.scalars(first))))
        .order_by(staged.row)
    )
    ids = _fitting([f"{shown(row.external_id)!r}{_origin(row.source)}" for row in named])
    more = f" and {count - len(ids):,} more" if count > len(ids) else ""
    what = "1 live entry" if count == 1 else f"{count:,} live entries"
    return [
        Refused(
            f"{what} would be replaced by other content of the same external id, which shares no "
            "signal with it. Give other content another source (--source) or external id "
            "(--external-id). If what these ids stand for has changed, set allow_replaced "
            f"(--allow-replaced). Nothing was changed: {', '.join(ids)}{more}",
            reason="WOULD_REPLACE",
            field=field,
            metadata={"replaced_entries": str(count)},
        )
    ]


def _origin(source: str) -> str:
    return f" from {shown(source)!r}" if source else ""


def _fitting(ids: list[str]) -> list[str]:
    """Return as many ids as a message has room for, at least one."""
    chars = 0
    for number, text in enumerate(ids):
        chars += len(text)
        if number and chars > _MAX_IDS_CHARS:
            return ids[:number]
    return ids
