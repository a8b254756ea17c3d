import datetime

from featsvc_client.v1 import types_pb2 as _types_pb2
from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class MatchRequest(_message.Message):
    __slots__ = ("content", "signal", "algorithms", "decode", "options")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    content: _types_pb2.Content
    signal: _types_pb2.Signal
    algorithms: _containers.RepeatedScalarFieldContainer[str]
    decode: _types_pb2.DecodeOptions
    options: _types_pb2.MatchOptions
    def __init__(self, content: _Optional[_Union[_types_pb2.Content, _Mapping]] = ..., signal: _Optional[_Union[_types_pb2.Signal, _Mapping]] = ..., algorithms: _Optional[_Iterable[str]] = ..., decode: _Optional[_Union[_types_pb2.DecodeOptions, _Mapping]] = ..., options: _Optional[_Union[_types_pb2.MatchOptions, _Mapping]] = ...) -> None: ...

class MatchResponse(_message.Message):
    __slots__ = ("outcome", "outcome_reason", "matches", "truncated", "watermark", "signals", "searched")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_REASON_FIELD_NUMBER: _ClassVar[int]
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_FIELD_NUMBER: _ClassVar[int]
    outcome: _types_pb2.Outcome
    outcome_reason: str
    matches: _containers.RepeatedCompositeFieldContainer[_types_pb2.Match]
    truncated: bool
    watermark: _types_pb2.Watermark
    signals: _containers.RepeatedCompositeFieldContainer[_types_pb2.Signal]
    searched: _types_pb2.Searched
    def __init__(self, outcome: _Optional[_Union[_types_pb2.Outcome, str]] = ..., outcome_reason: _Optional[str] = ..., matches: _Optional[_Iterable[_Union[_types_pb2.Match, _Mapping]]] = ..., truncated: _Optional[bool] = ..., watermark: _Optional[_Union[_types_pb2.Watermark, _Mapping]] = ..., signals: _Optional[_Iterable[_Union[_types_pb2.Signal, _Mapping]]] = ..., searched: _Optional[_Union[_types_pb2.Searched, _Mapping]] = ...) -> None: ...

class MatchBatchRequest(_message.Message):
    __slots__ = ("algorithm", "dimensions", "signals", "options", "qualities", "count", "unstable_queries")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    QUALITIES_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    UNSTABLE_QUERIES_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    dimensions: int
    signals: bytes
    options: _types_pb2.MatchOptions
    qualities: _containers.RepeatedScalarFieldContainer[int]
    count: int
    unstable_queries: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, algorithm: _Optional[str] = ..., dimensions: _Optional[int] = ..., signals: _Optional[bytes] = ..., options: _Optional[_Union[_types_pb2.MatchOptions, _Mapping]] = ..., qualities: _Optional[_Iterable[int]] = ..., count: _Optional[int] = ..., unstable_queries: _Optional[_Iterable[int]] = ...) -> None: ...

class MatchBatchResponse(_message.Message):
    __slots__ = ("offsets", "distances", "fractional_distances", "entry_index", "entries", "truncated_queries", "watermark", "outcomes", "outcome_reason", "searched")
    OFFSETS_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    FRACTIONAL_DISTANCES_FIELD_NUMBER: _ClassVar[int]
    ENTRY_INDEX_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    TRUNCATED_QUERIES_FIELD_NUMBER: _ClassVar[int]
    WATERMARK_FIELD_NUMBER: _ClassVar[int]
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_REASON_FIELD_NUMBER: _ClassVar[int]
    SEARCHED_FIELD_NUMBER: _ClassVar[int]
    offsets: _containers.RepeatedScalarFieldContainer[int]
    distances: _containers.RepeatedScalarFieldContainer[int]
    fractional_distances: _containers.RepeatedScalarFieldContainer[float]
    entry_index: _containers.RepeatedScalarFieldContainer[int]
    entries: _containers.RepeatedCompositeFieldContainer[_types_pb2.Match]
    truncated_queries: _containers.RepeatedScalarFieldContainer[int]
    watermark: _types_pb2.Watermark
    outcomes: _containers.RepeatedScalarFieldContainer[_types_pb2.Outcome]
    outcome_reason: str
    searched: _types_pb2.Searched
    def __init__(self, offsets: _Optional[_Iterable[int]] = ..., distances: _Optional[_Iterable[int]] = ..., fractional_distances: _Optional[_Iterable[float]] = ..., entry_index: _Optional[_Iterable[int]] = ..., entries: _Optional[_Iterable[_Union[_types_pb2.Match, _Mapping]]] = ..., truncated_queries: _Optional[_Iterable[int]] = ..., watermark: _Optional[_Union[_types_pb2.Watermark, _Mapping]] = ..., outcomes: _Optional[_Iterable[_Union[_types_pb2.Outcome, str]]] = ..., outcome_reason: _Optional[str] = ..., searched: _Optional[_Union[_types_pb2.Searched, _Mapping]] = ...) -> None: ...

class GetIndexStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetIndexStatusResponse(_message.Message):
    __slots__ = ("algorithms", "served_revision", "committed_revision", "staleness", "last_contact", "worker", "set_aside", "failure")
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    SERVED_REVISION_FIELD_NUMBER: _ClassVar[int]
    COMMITTED_REVISION_FIELD_NUMBER: _ClassVar[int]
    STALENESS_FIELD_NUMBER: _ClassVar[int]
    LAST_CONTACT_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    SET_ASIDE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    algorithms: _containers.RepeatedCompositeFieldContainer[AlgorithmIndex]
    served_revision: int
    committed_revision: int
    staleness: _duration_pb2.Duration
    last_contact: _timestamp_pb2.Timestamp
    worker: int
    set_aside: _containers.RepeatedCompositeFieldContainer[SetAsideSignals]
    failure: str
    def __init__(self, algorithms: _Optional[_Iterable[_Union[AlgorithmIndex, _Mapping]]] = ..., served_revision: _Optional[int] = ..., committed_revision: _Optional[int] = ..., staleness: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., last_contact: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., worker: _Optional[int] = ..., set_aside: _Optional[_Iterable[_Union[SetAsideSignals, _Mapping]]] = ..., failure: _Optional[str] = ...) -> None: ...

class SetAsideSignals(_message.Message):
    __slots__ = ("algorithm", "reason", "signals", "entries")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    reason: str
    signals: int
    entries: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, algorithm: _Optional[str] = ..., reason: _Optional[str] = ..., signals: _Optional[int] = ..., entries: _Optional[_Iterable[str]] = ...) -> None: ...

class AlgorithmIndex(_message.Message):
    __slots__ = ("algorithm", "entries", "signals", "engine", "segment_revision", "delta_signals", "withdrawn_signals", "bytes_mapped", "built_at")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    SEGMENT_REVISION_FIELD_NUMBER: _ClassVar[int]
    DELTA_SIGNALS_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_SIGNALS_FIELD_NUMBER: _ClassVar[int]
    BYTES_MAPPED_FIELD_NUMBER: _ClassVar[int]
    BUILT_AT_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    entries: int
    signals: int
    engine: str
    segment_revision: int
    delta_signals: int
    withdrawn_signals: int
    bytes_mapped: int
    built_at: _timestamp_pb2.Timestamp
    def __init__(self, algorithm: _Optional[str] = ..., entries: _Optional[int] = ..., signals: _Optional[int] = ..., engine: _Optional[str] = ..., segment_revision: _Optional[int] = ..., delta_signals: _Optional[int] = ..., withdrawn_signals: _Optional[int] = ..., bytes_mapped: _Optional[int] = ..., built_at: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...
