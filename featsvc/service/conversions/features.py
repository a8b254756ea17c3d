"""Conversions of events, entities, features and feature tables."""

from collections.abc import Sequence

from featsvc_client.v1 import features_pb2, types_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from featsvc.accounts import (
    ALL,
    Attribute,
    Backfill,
    Derived,
    EntityRef,
    Event,
    EventResult,
    EventStatus,
    Feature,
    FeatureTable,
    Selection,
    check_backfill,
)
from featsvc.errors import InvalidInput


def entity_refs(messages: Sequence[types_pb2.EntityRef]) -> list[EntityRef]:
    return [EntityRef(m.entity, m.id) for m in messages]


def selection(message: features_pb2.FeatureSelection) -> Selection:
    """Raises InvalidInput for both a list of features and a set."""
    if not message.features and not message.set:
        return ALL
    return Selection(names=tuple(message.features), set=message.set)


def as_of_ms(request: features_pb2.GetFeaturesRequest) -> int | None:
    """Raises InvalidInput for a malformed Timestamp."""
    return _milliseconds(request.as_of, "as_of") if request.HasField("as_of") else None


def _milliseconds(time: Timestamp, field: str) -> int:
    """Return Unix milliseconds. Raises InvalidInput for a Timestamp that the protocol forbids."""
    try:
        return time.ToMilliseconds()
    except ValueError:
        raise InvalidInput.at(
            field,
            "not a valid Timestamp: seconds must be within the years 1 to 9999 and nanos 0 to "
            f"999,999,999, not {time.seconds} and {time.nanos}",
        ) from None


def event(message: features_pb2.Event) -> Event | EventResult:
    """Return the event, or the REJECTED result of one whose time is malformed.

    Further checks are the store's, which checks each event of a batch for itself.
    """
    attributes: dict[str, Attribute] = {}
    for name, value in message.attributes.items():
        kind = value.WhichOneof("kind")
        if kind is not None:
            attributes[name] = getattr(value, kind)
    try:
        # A missing time becomes 1970, which the store rejects.
        time_ms = _milliseconds(message.time, "time")
    except InvalidInput as exc:
        return EventResult(EventStatus.REJECTED, str(exc))
    return Event(message.event_id, message.type, time_ms, dict(message.entities), attributes)


def backfill(request: features_pb2.IngestEventsRequest) -> Backfill | None:
    """Raises InvalidInput for positions that do not match the events."""
    if not request.HasField("backfill"):
        return None
    given = Backfill(request.backfill.source, request.backfill.positions)
    check_backfill(given, len(request.events))
    return given


def event_result(result: EventResult) -> features_pb2.EventResult:
    return features_pb2.EventResult(
        status=f"STATUS_{result.status.name}",  # domain and wire share the names
        reason=result.reason,
    )


def feature_table(table: FeatureTable) -> features_pb2.FeatureTable:
    as_of = Timestamp()
    as_of.FromMilliseconds(table.as_of_ms)
    # Domain and wire share the numbers of the statuses.
    columns = [
        features_pb2.FeatureColumn(name=name, values=values, statuses=statuses)
        for name, values, statuses in zip(
            table.names, table.values.tolist(), table.statuses.tolist(), strict=True
        )
    ]
    freshness = [ms * 1000 if ms >= 0 else -1 for ms in table.freshness_ms.tolist()]
    return features_pb2.FeatureTable(columns=columns, freshness_us=freshness, as_of=as_of)


def definition(
    feature: Feature | Derived, sets: Sequence[str], complete_since_ms: int | None
) -> features_pb2.FeatureDefinition:
    message = features_pb2.FeatureDefinition(
        name=feature.name,
        entity=feature.entity,
        default=feature.default,
        version=feature.version,
        description=feature.description,
        sets=sets,
    )
    if isinstance(feature, Derived):
        message.aggregation = "derived"
        message.expression = feature.expression.text
        return message
    message.aggregation = feature.aggregation
    message.event_type = feature.event
    for target, milliseconds in (
        (message.window, feature.window_ms),
        (message.bucket, feature.ring.width_ms),
        (message.max_age, feature.max_age_ms),
    ):
        if milliseconds:
            target.FromMilliseconds(milliseconds)
    if complete_since_ms:
        message.complete_since.FromMilliseconds(complete_since_ms)
    return message
