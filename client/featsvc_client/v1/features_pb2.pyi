import datetime

from featsvc_client.v1 import types_pb2 as _types_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class FeatureStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    FEATURE_STATUS_UNSPECIFIED: _ClassVar[FeatureStatus]
    FEATURE_STATUS_PRESENT: _ClassVar[FeatureStatus]
    FEATURE_STATUS_NULL_VALUE: _ClassVar[FeatureStatus]
    FEATURE_STATUS_NOT_FOUND: _ClassVar[FeatureStatus]
    FEATURE_STATUS_OUTSIDE_MAX_AGE: _ClassVar[FeatureStatus]
    FEATURE_STATUS_SATURATED: _ClassVar[FeatureStatus]
    FEATURE_STATUS_DEGRADED: _ClassVar[FeatureStatus]
    FEATURE_STATUS_NOT_RETAINED: _ClassVar[FeatureStatus]
    FEATURE_STATUS_WARMING: _ClassVar[FeatureStatus]
    FEATURE_STATUS_DAMAGED: _ClassVar[FeatureStatus]
FEATURE_STATUS_UNSPECIFIED: FeatureStatus
FEATURE_STATUS_PRESENT: FeatureStatus
FEATURE_STATUS_NULL_VALUE: FeatureStatus
FEATURE_STATUS_NOT_FOUND: FeatureStatus
FEATURE_STATUS_OUTSIDE_MAX_AGE: FeatureStatus
FEATURE_STATUS_SATURATED: FeatureStatus
FEATURE_STATUS_DEGRADED: FeatureStatus
FEATURE_STATUS_NOT_RETAINED: FeatureStatus
FEATURE_STATUS_WARMING: FeatureStatus
FEATURE_STATUS_DAMAGED: FeatureStatus

class AttributeValue(_message.Message):
    __slots__ = ("number", "text", "flag", "integer")
    NUMBER_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    FLAG_FIELD_NUMBER: _ClassVar[int]
    INTEGER_FIELD_NUMBER: _ClassVar[int]
    number: float
    text: str
    flag: bool
    integer: int
    def __init__(self, number: _Optional[float] = ..., text: _Optional[str] = ..., flag: _Optional[bool] = ..., integer: _Optional[int] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("event_id", "type", "time", "entities", "attributes")
    class EntitiesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class AttributesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: AttributeValue
        def __init__(self, key: _Optional[str] = ..., value: _Optional[_Union[AttributeValue, _Mapping]] = ...) -> None: ...
    EVENT_ID_FIELD_NUMBER: _ClassVar[int]
    TYPE_FIELD_NUMBER: _ClassVar[int]
    TIME_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    ATTRIBUTES_FIELD_NUMBER: _ClassVar[int]
    event_id: str
    type: str
    time: _timestamp_pb2.Timestamp
    entities: _containers.ScalarMap[str, str]
    attributes: _containers.MessageMap[str, AttributeValue]
    def __init__(self, event_id: _Optional[str] = ..., type: _Optional[str] = ..., time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., entities: _Optional[_Mapping[str, str]] = ..., attributes: _Optional[_Mapping[str, AttributeValue]] = ...) -> None: ...

class IngestEventsRequest(_message.Message):
    __slots__ = ("events", "tag", "backfill")
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    BACKFILL_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[Event]
    tag: str
    backfill: Backfill
    def __init__(self, events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., tag: _Optional[str] = ..., backfill: _Optional[_Union[Backfill, _Mapping]] = ...) -> None: ...

class Backfill(_message.Message):
    __slots__ = ("source", "positions")
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    POSITIONS_FIELD_NUMBER: _ClassVar[int]
    source: str
    positions: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, source: _Optional[str] = ..., positions: _Optional[_Iterable[int]] = ...) -> None: ...

class IngestEventsResponse(_message.Message):
    __slots__ = ("results", "tag")
    RESULTS_FIELD_NUMBER: _ClassVar[int]
    TAG_FIELD_NUMBER: _ClassVar[int]
    results: _containers.RepeatedCompositeFieldContainer[EventResult]
    tag: str
    def __init__(self, results: _Optional[_Iterable[_Union[EventResult, _Mapping]]] = ..., tag: _Optional[str] = ...) -> None: ...

class EventResult(_message.Message):
    __slots__ = ("status", "reason")
    class Status(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        STATUS_UNSPECIFIED: _ClassVar[EventResult.Status]
        STATUS_APPLIED: _ClassVar[EventResult.Status]
        STATUS_DUPLICATE: _ClassVar[EventResult.Status]
        STATUS_TOO_LATE: _ClassVar[EventResult.Status]
        STATUS_REJECTED: _ClassVar[EventResult.Status]
        STATUS_IGNORED: _ClassVar[EventResult.Status]
        STATUS_INCOMPLETE: _ClassVar[EventResult.Status]
        STATUS_BEYOND_HORIZON: _ClassVar[EventResult.Status]
    STATUS_UNSPECIFIED: EventResult.Status
    STATUS_APPLIED: EventResult.Status
    STATUS_DUPLICATE: EventResult.Status
    STATUS_TOO_LATE: EventResult.Status
    STATUS_REJECTED: EventResult.Status
    STATUS_IGNORED: EventResult.Status
    STATUS_INCOMPLETE: EventResult.Status
    STATUS_BEYOND_HORIZON: EventResult.Status
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    status: EventResult.Status
    reason: str
    def __init__(self, status: _Optional[_Union[EventResult.Status, str]] = ..., reason: _Optional[str] = ...) -> None: ...

class FeatureSelection(_message.Message):
    __slots__ = ("features", "set")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    SET_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedScalarFieldContainer[str]
    set: str
    def __init__(self, features: _Optional[_Iterable[str]] = ..., set: _Optional[str] = ...) -> None: ...

class GetFeaturesRequest(_message.Message):
    __slots__ = ("entities", "selection", "as_of")
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    entities: _containers.RepeatedCompositeFieldContainer[_types_pb2.EntityRef]
    selection: FeatureSelection
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, entities: _Optional[_Iterable[_Union[_types_pb2.EntityRef, _Mapping]]] = ..., selection: _Optional[_Union[FeatureSelection, _Mapping]] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class GetFeaturesResponse(_message.Message):
    __slots__ = ("features",)
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    features: FeatureTable
    def __init__(self, features: _Optional[_Union[FeatureTable, _Mapping]] = ...) -> None: ...

class FeatureTable(_message.Message):
    __slots__ = ("columns", "freshness_us", "as_of")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    FRESHNESS_US_FIELD_NUMBER: _ClassVar[int]
    AS_OF_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[FeatureColumn]
    freshness_us: _containers.RepeatedScalarFieldContainer[int]
    as_of: _timestamp_pb2.Timestamp
    def __init__(self, columns: _Optional[_Iterable[_Union[FeatureColumn, _Mapping]]] = ..., freshness_us: _Optional[_Iterable[int]] = ..., as_of: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class FeatureColumn(_message.Message):
    __slots__ = ("name", "values", "statuses")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    name: str
    values: _containers.RepeatedScalarFieldContainer[float]
    statuses: _containers.RepeatedScalarFieldContainer[FeatureStatus]
    def __init__(self, name: _Optional[str] = ..., values: _Optional[_Iterable[float]] = ..., statuses: _Optional[_Iterable[_Union[FeatureStatus, str]]] = ...) -> None: ...

class ListFeaturesRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListFeaturesResponse(_message.Message):
    __slots__ = ("features", "next_page_token")
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    features: _containers.RepeatedCompositeFieldContainer[FeatureDefinition]
    next_page_token: str
    def __init__(self, features: _Optional[_Iterable[_Union[FeatureDefinition, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class FeatureDefinition(_message.Message):
    __slots__ = ("name", "entity", "aggregation", "window", "bucket", "event_type", "default", "version", "max_age", "expression", "description", "sets", "complete_since")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    AGGREGATION_FIELD_NUMBER: _ClassVar[int]
    WINDOW_FIELD_NUMBER: _ClassVar[int]
    BUCKET_FIELD_NUMBER: _ClassVar[int]
    EVENT_TYPE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    MAX_AGE_FIELD_NUMBER: _ClassVar[int]
    EXPRESSION_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    SETS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_SINCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    entity: str
    aggregation: str
    window: _duration_pb2.Duration
    bucket: _duration_pb2.Duration
    event_type: str
    default: float
    version: int
    max_age: _duration_pb2.Duration
    expression: str
    description: str
    sets: _containers.RepeatedScalarFieldContainer[str]
    complete_since: _timestamp_pb2.Timestamp
    def __init__(self, name: _Optional[str] = ..., entity: _Optional[str] = ..., aggregation: _Optional[str] = ..., window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., bucket: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., event_type: _Optional[str] = ..., default: _Optional[float] = ..., version: _Optional[int] = ..., max_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., expression: _Optional[str] = ..., description: _Optional[str] = ..., sets: _Optional[_Iterable[str]] = ..., complete_since: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class DeleteEntityRequest(_message.Message):
    __slots__ = ("entity",)
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    entity: _types_pb2.EntityRef
    def __init__(self, entity: _Optional[_Union[_types_pb2.EntityRef, _Mapping]] = ...) -> None: ...

class DeleteEntityResponse(_message.Message):
    __slots__ = ("deleted",)
    DELETED_FIELD_NUMBER: _ClassVar[int]
    deleted: bool
    def __init__(self, deleted: _Optional[bool] = ...) -> None: ...
