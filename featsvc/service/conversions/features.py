"""Events, entities and feature tables between the wire and the domain."""

from collections.abc import Sequence

from featsvc_client.v1 import features_pb2, types_pb2
from google.protobuf.timestamp_pb2 import Timestamp

from featsvc import errors
from featsvc.accounts import (
    EntityRef,
    Event,
    EventResult,
    FeatureInfo,
    FeatureTable,
    Selection,
)


def entity_refs(messages: Sequence[types_pb2.EntityRef]) -> list[EntityRef]:
    return [EntityRef(m.entity, m.id) for m in messages]


def selection(message: features_pb2.FeatureSelection) -> Selection:
    """Raises InvalidInput where both a list and a set are named."""
    if message.features and message.set:
        raise errors.InvalidInput(
            "selection: name features or a set, not both", field="selection.set"
        )
    return Selection(names=tuple(message.features), set=message.set)


def as_of_ms(request: features_pb2.GetFeaturesRequest) -> int | None:
    return request.as_of.ToMilliseconds() if request.HasField("as_of") else None


def event(message: features_pb2.Event) -> Event:
    """An event as sent; whether it makes sense is for the store to say, event by event."""
    attributes: dict[str, float | str | bool] = {}
    for name, value in message.attributes.items():
        kind = value.WhichOneof("kind")
        if kind is not None:
            attributes[name] = getattr(value, kind)
    # No time is 1970, which the store refuses by name.
    time_ms = message.time.ToMilliseconds()
    return Event(message.event_id, message.type, time_ms, dict(message.entities), attributes)


def event_result(result: EventResult) -> features_pb2.EventResult:
    return features_pb2.EventResult(
        status=f"STATUS_{result.status.name}",  # the names are the wire's too
        reason=result.reason,
    )


def feature_table(table: FeatureTable) -> features_pb2.FeatureTable:
    as_of = Timestamp()
    as_of.FromMilliseconds(table.as_of_ms)
    # The domain numbers its statuses as the wire does.
    columns = [
        features_pb2.FeatureColumn(name=name, values=values, statuses=statuses)
        for name, values, statuses in zip(
            table.names, table.values.tolist(), table.statuses.tolist(), strict=True
        )
    ]
    freshness = [ms * 1000 if ms >= 0 else -1 for ms in table.freshness_ms.tolist()]
    return features_pb2.FeatureTable(columns=columns, freshness_us=freshness, as_of=as_of)


def definition(feature: FeatureInfo) -> features_pb2.FeatureDefinition:
    message = features_pb2.FeatureDefinition(
        name=feature.name,
        entity=feature.entity,
        aggregation=feature.aggregation,
        event_type=feature.event_type,
        default=feature.default,
        version=feature.version,
        expression=feature.expression,
        description=feature.description,
        sets=feature.sets,
    )
    for target, milliseconds in (
        (message.window, feature.window_ms),
        (message.bucket, feature.bucket_ms),
        (message.max_age, feature.max_age_ms),
    ):
        if milliseconds:
            target.FromMilliseconds(milliseconds)
    return message
