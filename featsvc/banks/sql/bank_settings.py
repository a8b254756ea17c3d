"""The history of the settings of banks: what they were at a revision, and what a revision changed.

A bank of an older schema has settings since the last change before the upgrade. Whatever would need
earlier ones is `unknown`, never guessed.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace

from sqlalchemy import Connection, func, insert, select, update

from featsvc.banks.records import SAME_SETTINGS, Revision, SettingChange, SettingsDifference
from featsvc.banks.sql.schema import bank_settings, banks, revisions
from featsvc.banks.sql.stored import StoredRow

SETTING_COLUMNS = (
    *("mode", "safe", "thresholds", "query_variants"),
    *("engine", "display_name", "description"),
)
_ABSENT_DEFAULTS = {"safe": "false", "engine": "auto"}
"""Not worth a word for a bank that is new: the mode always is, empty texts never are."""
_DEFAULT_THRESHOLD = "default"
_CHANGING_ACTIONS = ("create", "update")
"""What changed settings before their history was kept."""
_UNKNOWN = SettingsDifference(unknown=True)


def write_settings(
    connection: Connection, bank_key: int, revision: int, time_us: int, values: Mapping[str, object]
) -> None:
    """Give a bank new settings: its columns, and the next row of their history."""
    connection.execute(
        update(banks)
        .where(banks.c.key == bank_key)
        .values(**values, settings_revision=revision, revision=revision, update_time=time_us)
    )
    keep_settings(connection, bank_key, revision, values)


def keep_settings(
    connection: Connection, bank_key: int, revision: int, values: Mapping[str, object]
) -> None:
    """Write the settings of a bank from a revision on into their history."""
    row = {"revision": revision, "bank_key": bank_key, **values}
    connection.execute(insert(bank_settings).values(row))


def settings_at(connection: Connection, bank_key: int, revision: int) -> StoredRow | None:
    """Return the settings of a bank at a revision; None if not known, or there was no bank."""
    history = bank_settings.c
    return connection.execute(
        select(bank_settings)
        .where(history.bank_key == bank_key, history.revision <= revision)
        .order_by(history.revision.desc())
        .limit(1)
    ).first()


def existed_at(connection: Connection, bank: StoredRow, revision: int) -> bool:
    """Return whether a bank that is not deleted was there at a revision."""
    log = revisions.c
    created = connection.scalar(
        select(func.max(log.revision)).where(log.bank_id == bank.id, log.action == "create")
    )
    return created is None or created <= revision


def difference(
    connection: Connection, bank: StoredRow, older: int, newer: int
) -> SettingsDifference:
    """Return the settings of a bank, which is not deleted, that differ between two revisions."""
    sides = []
    for revision in (older, newer):
        row = settings_at(connection, bank.key, revision)
        if row is None and existed_at(connection, bank, revision):
            return _UNKNOWN
        sides.append(row)
    return SettingsDifference(setting_changes(*sides))


def setting_changes(old: StoredRow | None, new: StoredRow | None) -> tuple[SettingChange, ...]:
    """Return the settings that differ between rows; None stands for no bank.

    Beside no bank they are the mode, and what is not the default of a setting.
    """
    before, after = _texts(old), _texts(new)
    if old is None or new is None:
        known = {**before, **after}
        names = [n for n, text in known.items() if text not in ("", _ABSENT_DEFAULTS.get(n))]
        return tuple(SettingChange(n, before.get(n), after.get(n)) for n in names)
    # The default of a threshold is only in one of the two.
    changes = (
        SettingChange(n, before.get(n, _DEFAULT_THRESHOLD), after.get(n, _DEFAULT_THRESHOLD))
        for n in {**before, **after}
    )
    return tuple(change for change in changes if change.old != change.new)


def _texts(row: StoredRow | None) -> dict[str, str]:
    """Return each setting as text, thresholds one by one; nothing for None."""
    texts: dict[str, str] = {}
    if row is None:
        return texts
    for name in SETTING_COLUMNS:
        value = getattr(row, name)
        if name == "thresholds":
            thresholds = sorted(json.loads(value).items())
            texts |= {f"thresholds[{key}]": _number(number) for key, number in thresholds}
        elif name == "query_variants":
            texts[name] = ", ".join(json.loads(value))
        else:
            texts[name] = str(value).lower() if name == "safe" else value
    return texts


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(value)


def with_setting_changes(connection: Connection, log: Sequence[Revision]) -> tuple[Revision, ...]:
    """Return lines of the log with the settings that each of them changed."""
    older = bank_settings.alias("older")
    # One step in an index for each line: neither reads the history of a bank.
    previous = select(func.max(older.c.revision)).where(
        older.c.bank_key == bank_settings.c.bank_key, older.c.revision < bank_settings.c.revision
    )
    changed = bank_settings.c.revision.in_([line.revision for line in log])
    pairs = select(bank_settings.c.revision, previous.label("previous")).where(changed)
    previous_of = {row.revision: row.previous for row in connection.execute(pairs)}
    numbers = {*previous_of, *previous_of.values()} - {None}
    read = select(bank_settings).where(bank_settings.c.revision.in_(numbers))
    rows = {row.revision: row for row in connection.execute(read)}
    return tuple(
        replace(
            line,
            settings=_changes_of(
                line.action, rows.get(line.revision), rows.get(previous_of.get(line.revision))
            ),
        )
        for line in log
    )


def _changes_of(action: str, now: StoredRow | None, before: StoredRow | None) -> SettingsDifference:
    """Return what a revision changed, given the settings since then and those before."""
    known = before is not None or action == "create"
    if now is not None and known:
        return SettingsDifference(setting_changes(before, now))
    return _UNKNOWN if now is not None or action in _CHANGING_ACTIONS else SAME_SETTINGS
