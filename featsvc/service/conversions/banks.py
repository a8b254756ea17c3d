"""Conversions of banks, entries and revisions to and from messages."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

import numpy as np
from featsvc_client.v1 import banks_pb2 as pb
from featsvc_client.v1 import types_pb2

from featsvc import errors
from featsvc.banks.curating.settings import SETTINGS
from featsvc.banks.lists.formats.rows import ImportRow, algorithm_of, parse_listed_signal
from featsvc.banks.records import (
    MAX_QUALITY,
    Bank,
    BankMode,
    BankSettings,
    ChangeContext,
    Entry,
    EntryEdit,
    EntrySignal,
    ListedValues,
    Opinion,
    Revision,
    SettingsDifference,
    check_variant,
    parse_number,
)
from featsvc.banks.results import ChangeKind, EntryChange, EntryFilter
from featsvc.service.conversions.signals import (
    MODE,
    check_version,
    choose,
    shown_value,
    timestamp,
)
from featsvc.signals.algorithms import Kind, get_algorithm
from featsvc.signals.signal import Signal
from featsvc.signals.variants import DEFAULT_QUERY_VARIANTS, ORIGINAL, query_variants
from featsvc.signals.vectors import vector_of, vector_value

_MODE = {
    types_pb2.BANK_MODE_UNSPECIFIED: BankMode.ENFORCE,
    **{wire: mode for mode, wire in MODE.items()},
}
OPINION = {
    Opinion.UNSPECIFIED: pb.OPINION_UNSPECIFIED,
    Opinion.POSITIVE: pb.OPINION_POSITIVE,
    Opinion.NEGATIVE: pb.OPINION_NEGATIVE,
    Opinion.DISPUTED: pb.OPINION_DISPUTED,
}


def bank_id(name: str, field: str = "name") -> str:
    """Return the id in `banks/{bank}`. Raises InvalidInput."""
    collection, _, identity = name.partition("/")
    if collection != "banks" or not identity or "/" in identity:
        raise errors.InvalidInput.at(field, f"must be banks/BANK, not {name[:80]!r}")
    return identity


def entry_id(name: str) -> tuple[str, int]:
    """Return the ids in `banks/{bank}/entries/{entry}`. Raises InvalidInput."""
    match name.split("/"):
        case ["banks", bank, "entries", text] if (number := parse_number(text)) is not None:
            return bank, number
    raise errors.InvalidInput.at("name", f"must be banks/BANK/entries/NUMBER, not {name[:80]!r}")


def settings(message: pb.Bank) -> BankSettings:
    """Raises InvalidInput, naming the field."""
    return BankSettings(
        display_name=message.display_name,
        description=message.description,
        mode=choose(_MODE, message.mode, "bank.mode"),
        safe=message.safe,
        thresholds=dict(message.thresholds),
        query_variants=query_variants(message.query_variants, field="bank.query_variants"),
        engine=message.engine or "auto",
    )


def new_settings(message: pb.Bank) -> BankSettings:
    """Return the settings of a new bank, with the default variants if it names none.

    Raises InvalidInput, naming the field.
    """
    given = settings(message)
    if message.query_variants:
        return given
    return replace(given, query_variants=DEFAULT_QUERY_VARIANTS)


def context(message: pb.ChangeContext) -> ChangeContext:
    return ChangeContext(message.actor, message.reason, message.request_id)


def bank_message(bank: Bank) -> pb.Bank:
    return pb.Bank(
        name=f"banks/{bank.id}",
        display_name=bank.display_name,
        description=bank.description,
        mode=MODE[bank.mode],
        safe=bank.safe,
        thresholds=bank.thresholds,
        query_variants=bank.query_variants,
        engine=bank.engine,
        entry_count=bank.entry_count,
        signal_count=bank.signal_count,
        signal_counts=bank.signal_counts,
        import_map=bank.import_map,
        revision=bank.revision,
        create_time=timestamp(bank.create_time),
        update_time=timestamp(bank.update_time),
        etag=bank.etag,
        expired_entries=bank.expired_entries,
    )


def entry_message(entry: Entry, *, whole: bool = False) -> pb.Entry:
    """`whole` includes the grams of texts, with which a page of entries would be megabytes."""
    return pb.Entry(
        name=f"banks/{entry.bank_id}/entries/{entry.id}",
        external_id=entry.external_id,
        signals=[
            pb.EntrySignal(
                algorithm=s.algorithm,
                value=s.text if whole else shown_value(get_algorithm(s.algorithm), s.value),
                variant=s.variant,
                quality=s.quality,
                algorithm_version=s.version or get_algorithm(s.algorithm).version,
            )
            for s in entry.signals
            if get_algorithm(s.algorithm).kind is not Kind.VECTOR
        ],
        vectors=[
            pb.EntryVector(
                model=s.algorithm,
                values=vector_of(s.value).tolist(),
                variant=s.variant,
                quality=s.quality,
            )
            for s in entry.signals
            if get_algorithm(s.algorithm).kind is Kind.VECTOR
        ],
        labels=entry.labels,
        source=entry.source,
        opinion=OPINION[entry.opinion],
        note=entry.note,
        expire_time=timestamp(entry.expire_time),
        added_revision=entry.added_revision,
        removed_revision=entry.removed_revision,
        create_time=timestamp(entry.create_time),
        quarantined=entry.quarantined,
        decided_fields=entry.decided_fields,
        listed=None if entry.listed is None else _listed_message(entry.listed),
    )


def _listed_message(listed: ListedValues) -> pb.ListedValues:
    return pb.ListedValues(
        labels=listed.labels,
        note=listed.note,
        opinion=OPINION[listed.opinion],
        expire_time=timestamp(listed.expire_time),
    )


def entry_edit(message: pb.EditEntriesRequest) -> EntryEdit:
    """Raises InvalidInput, naming the field."""
    opinion = None
    if message.HasField("opinion"):
        opinion = choose(_OPINION_OF, message.opinion, "opinion")
    return EntryEdit(
        add_labels=tuple(dict.fromkeys(message.add_labels)),
        remove_labels=tuple(dict.fromkeys(message.remove_labels)),
        note=message.note.strip() if message.HasField("note") else None,
        opinion=opinion,
        expire_time=_expiry(message, "expire_time"),
        never_expires=message.never_expires,
        reset=tuple(message.reset),
    )


def _expiry(message: pb.Entry | pb.EditEntriesRequest, where: str) -> datetime | None:
    """Raises InvalidInput for a time that is not within the years 1 to 9999."""
    if not message.HasField("expire_time"):
        return None
    try:
        return message.expire_time.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise errors.InvalidInput.at(where, "is not within the years 1 to 9999") from None


def setting_changes(message: pb.UpdateBankRequest) -> dict[str, object]:
    """Return the settings that the mask names. Raises InvalidInput for an empty or wrong mask."""
    given = settings(message.bank)
    paths = [path.removeprefix("bank.") for path in message.update_mask.paths]
    if not paths:
        raise errors.InvalidInput.at(
            "update_mask", f"must name at least one of {', '.join(SETTINGS)}"
        )
    for path in paths:
        if path not in SETTINGS:
            raise errors.InvalidInput.at(
                "update_mask",
                f"must name some of {', '.join(SETTINGS)}, not {errors.shown(path)!r}",
            )
    return {path: getattr(given, path) for path in paths}


def listed_signal(message: types_pb2.Signal, field: str) -> EntrySignal:
    """Return a signal as entries have it. Raises InvalidInput, InvalidSignal, UnknownAlgorithm."""
    algorithm = algorithm_of(message.algorithm, field=f"{field}.algorithm")
    check_version(get_algorithm(algorithm), message.algorithm_version, field)
    return parse_listed_signal(algorithm, message.value, field=f"{field}.value")


def entry_filter(message: pb.ListEntriesRequest) -> EntryFilter:
    """Raises InvalidInput, InvalidSignal, UnknownAlgorithm."""
    near = listed_signal(message.near, "near") if message.HasField("near") else None
    return EntryFilter(
        external_id=message.external_id,
        labels=tuple(message.labels),
        source=message.source,
        near=near,
        max_distance=message.max_distance,
        revision=message.revision,
        show_withdrawn=message.show_withdrawn,
        expired=message.expired if message.HasField("expired") else None,
        decided=message.decided,
    )


def new_entry(index: int, message: pb.Entry, hashed: Sequence[Signal]) -> ImportRow:
    """Return the row of an entry to add, with the signals of its content. Raises InvalidInput."""
    where = f"entries[{index}]"
    signals = [_hash(s, f"{where}.signals[{i}]") for i, s in enumerate(message.signals)]
    signals += [_vector(v, f"{where}.vectors[{i}]") for i, v in enumerate(message.vectors)]
    signals += [EntrySignal(s.algorithm.name, s.value, s.variant, s.quality) for s in hashed]
    return ImportRow(
        index,
        tuple(dict.fromkeys(signals)),
        message.external_id.strip(),
        tuple(dict.fromkeys(message.labels)),
        message.source.strip(),
        choose(_OPINION_OF, message.opinion, f"{where}.opinion"),
        message.note.strip(),
        _expiry(message, f"{where}.expire_time"),
    )


def _hash(message: pb.EntrySignal, where: str) -> EntrySignal:
    """Raises UnknownAlgorithm, InvalidSignal, InvalidInput."""
    algorithm = algorithm_of(message.algorithm, field=f"{where}.algorithm")
    check_version(get_algorithm(algorithm), message.algorithm_version, where)
    variant, quality = _variant(message, where)
    return parse_listed_signal(
        algorithm, message.value, field=f"{where}.value", variant=variant, quality=quality
    )


def _vector(message: pb.EntryVector, where: str) -> EntrySignal:
    """Raises UnknownAlgorithm, InvalidSignal, InvalidInput for a model without a version."""
    kind = get_algorithm(message.model.strip().lower(), field=f"{where}.model")
    if kind.kind is not Kind.VECTOR:
        raise errors.InvalidInput.at(
            f"{where}.model",
            f"{kind.name} is not a model of vectors; write model and version as in pdqf@1",
        )
    value = vector_value(kind, np.array(message.values, np.float32), field=f"{where}.values")
    return EntrySignal(kind.name, value, *_variant(message, where))


def _variant(message: pb.EntrySignal | pb.EntryVector, where: str) -> tuple[str, int | None]:
    """Return variant and quality. Raises InvalidInput, also for a signal of a frame."""
    if message.frame or message.HasField("time_us"):
        name = "time_us" if message.HasField("time_us") else "frame"
        raise errors.InvalidInput.at(
            f"{where}.{name}",
            "this version does not store signals of frames; leave out frame and time_us",
        )
    variant = check_variant(message.variant.strip() or ORIGINAL, field=f"{where}.variant")
    quality = message.quality if message.HasField("quality") else None
    if quality is not None and quality > MAX_QUALITY:
        raise errors.InvalidInput.at(
            f"{where}.quality", f"must be 0 to {MAX_QUALITY}, not {quality}"
        )
    return variant, quality


def entry_ids(parent: str, names: Iterable[str]) -> list[int]:
    """Return the ids in names of entries of the bank `parent`. Raises InvalidInput."""
    ids = []
    for name in names:
        bank, number = entry_id(name)
        if bank != parent:
            raise errors.InvalidInput(f"names: {name[:80]!r} is not an entry of bank {parent!r}")
        ids.append(number)
    return ids


def revision_message(revision: Revision) -> pb.Revision:
    return pb.Revision(
        revision=revision.revision,
        commit_time=timestamp(revision.commit_time),
        bank=f"banks/{revision.bank_id}" if revision.bank_id else "",
        action=revision.action,
        actor=revision.actor,
        reason=revision.reason,
        file_name=revision.file_name,
        file_sha256=revision.file_sha256,
        added_entries=revision.added_entries,
        withdrawn_entries=revision.withdrawn_entries,
        changed_entries=revision.changed_entries,
        setting_changes=setting_change_messages(revision.settings),
        settings_unknown=revision.settings.unknown,
    )


def setting_change_messages(settings: SettingsDifference) -> list[pb.SettingChange]:
    return [pb.SettingChange(name=c.name, old=c.old, new=c.new) for c in settings.changes]


def change_message(change: EntryChange) -> pb.DiffRevisionsResponse.Change:
    return pb.DiffRevisionsResponse.Change(
        kind=_CHANGE[change.kind],
        entry=entry_message(change.entry),
        changed_fields=change.changed_fields,
        older=None if change.older is None else entry_message(change.older),
    )


_OPINION_OF = {wire: opinion for opinion, wire in OPINION.items()}
_CHANGE = {
    ChangeKind.ADDED: pb.DiffRevisionsResponse.Change.KIND_ADDED,
    ChangeKind.WITHDRAWN: pb.DiffRevisionsResponse.Change.KIND_WITHDRAWN,
    ChangeKind.CHANGED: pb.DiffRevisionsResponse.Change.KIND_CHANGED,
}
