import datetime

from featsvc_client.v1 import features_pb2 as _features_pb2
from featsvc_client.v1 import types_pb2 as _types_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScreenRequest(_message.Message):
    __slots__ = ("request_id", "content", "entities", "selection", "algorithms", "decode", "options", "record_event", "models")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    ENTITIES_FIELD_NUMBER: _ClassVar[int]
    SELECTION_FIELD_NUMBER: _ClassVar[int]
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    RECORD_EVENT_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    content: _types_pb2.Content
    entities: _containers.RepeatedCompositeFieldContainer[_types_pb2.EntityRef]
    selection: _features_pb2.FeatureSelection
    algorithms: _containers.RepeatedScalarFieldContainer[str]
    decode: _types_pb2.DecodeOptions
    options: _types_pb2.MatchOptions
    record_event: _features_pb2.Event
    models: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, request_id: _Optional[str] = ..., content: _Optional[_Union[_types_pb2.Content, _Mapping]] = ..., entities: _Optional[_Iterable[_Union[_types_pb2.EntityRef, _Mapping]]] = ..., selection: _Optional[_Union[_features_pb2.FeatureSelection, _Mapping]] = ..., algorithms: _Optional[_Iterable[str]] = ..., decode: _Optional[_Union[_types_pb2.DecodeOptions, _Mapping]] = ..., options: _Optional[_Union[_types_pb2.MatchOptions, _Mapping]] = ..., record_event: _Optional[_Union[_features_pb2.Event, _Mapping]] = ..., models: _Optional[_Iterable[str]] = ...) -> None: ...

class ScreenResponse(_message.Message):
    __slots__ = ("request_id", "content_outcome", "content_outcome_reason", "media", "signals", "matches", "matches_truncated", "watermark", "features_outcome", "features_outcome_reason", "features", "scores", "event_result", "timings", "searched")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CONTENT_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    CONTENT_OUTCOME_REASON_FIELD_NUMBER: _ClassVar[int]
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    MATCHES_TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    FEATURES_OUTCOME_FIELD_NUMBER: _ClassVar[int]
    FEATURES_OUTCOME_REASON_FIELD_NUMBER: _ClassVar[int]
    FEATURES_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    EVENT_RESULT_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    content_outcome: _types_pb2.Outcome
    content_outcome_reason: str
    media: _types_pb2.MediaInfo
    signals: _containers.RepeatedCompositeFieldContainer[_types_pb2.Signal]
    matches: _containers.RepeatedCompositeFieldContainer[_types_pb2.Match]
    matches_truncated: bool
    watermark: _types_pb2.Watermark
    features_outcome: _types_pb2.Outcome
    features_outcome_reason: str
    features: _features_pb2.FeatureTable
    scores: _containers.RepeatedCompositeFieldContainer[_types_pb2.Score]
    event_result: _features_pb2.EventResult
    timings: ScreenTimings
    searched: _types_pb2.Searched
    def __init__(self, request_id: _Optional[str] = ..., content_outcome: _Optional[_Union[_types_pb2.Outcome, str]] = ..., content_outcome_reason: _Optional[str] = ..., media: _Optional[_Union[_types_pb2.MediaInfo, _Mapping]] = ..., signals: _Optional[_Iterable[_Union[_types_pb2.Signal, _Mapping]]] = ..., matches: _Optional[_Iterable[_Union[_types_pb2.Match, _Mapping]]] = ..., matches_truncated: _Optional[bool] = ..., watermark: _Optional[_Union[_types_pb2.Watermark, _Mapping]] = ..., features_outcome: _Optional[_Union[_types_pb2.Outcome, str]] = ..., features_outcome_reason: _Optional[str] = ..., features: _Optional[_Union[_features_pb2.FeatureTable, _Mapping]] = ..., scores: _Optional[_Iterable[_Union[_types_pb2.Score, _Mapping]]] = ..., event_result: _Optional[_Union[_features_pb2.EventResult, _Mapping]] = ..., timings: _Optional[_Union[ScreenTimings, _Mapping]] = ..., searched: _Optional[_Union[_types_pb2.Searched, _Mapping]] = ...) -> None: ...

class ScreenTimings(_message.Message):
    __slots__ = ("queue_us", "decode_us", "hash_us", "match_us", "features_us", "total_us")
    QUEUE_US_FIELD_NUMBER: _ClassVar[int]
    DECODE_US_FIELD_NUMBER: _ClassVar[int]
    HASH_US_FIELD_NUMBER: _ClassVar[int]
    MATCH_US_FIELD_NUMBER: _ClassVar[int]
    FEATURES_US_FIELD_NUMBER: _ClassVar[int]
    TOTAL_US_FIELD_NUMBER: _ClassVar[int]
    queue_us: int
    decode_us: int
    hash_us: int
    match_us: int
    features_us: int
    total_us: int
    def __init__(self, queue_us: _Optional[int] = ..., decode_us: _Optional[int] = ..., hash_us: _Optional[int] = ..., match_us: _Optional[int] = ..., features_us: _Optional[int] = ..., total_us: _Optional[int] = ...) -> None: ...

class ScreenStreamResponse(_message.Message):
    __slots__ = ("request_id", "response", "error")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    response: ScreenResponse
    error: ScreenError
    def __init__(self, request_id: _Optional[str] = ..., response: _Optional[_Union[ScreenResponse, _Mapping]] = ..., error: _Optional[_Union[ScreenError, _Mapping]] = ...) -> None: ...

class ScreenError(_message.Message):
    __slots__ = ("code", "reason", "message", "field", "retry_delay", "metadata")
    class MetadataEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    CODE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    RETRY_DELAY_FIELD_NUMBER: _ClassVar[int]
    METADATA_FIELD_NUMBER: _ClassVar[int]
    code: int
    reason: str
    message: str
    field: str
    retry_delay: _duration_pb2.Duration
    metadata: _containers.ScalarMap[str, str]
    def __init__(self, code: _Optional[int] = ..., reason: _Optional[str] = ..., message: _Optional[str] = ..., field: _Optional[str] = ..., retry_delay: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., metadata: _Optional[_Mapping[str, str]] = ...) -> None: ...
