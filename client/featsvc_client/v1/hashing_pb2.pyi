from featsvc_client.v1 import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class HashRequest(_message.Message):
    __slots__ = ("content", "algorithms", "decode", "dihedral")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    DIHEDRAL_FIELD_NUMBER: _ClassVar[int]
    content: _types_pb2.Content
    algorithms: _containers.RepeatedScalarFieldContainer[str]
    decode: _types_pb2.DecodeOptions
    dihedral: bool
    def __init__(self, content: _Optional[_Union[_types_pb2.Content, _Mapping]] = ..., algorithms: _Optional[_Iterable[str]] = ..., decode: _Optional[_Union[_types_pb2.DecodeOptions, _Mapping]] = ..., dihedral: _Optional[bool] = ...) -> None: ...

class HashResponse(_message.Message):
    __slots__ = ("outcome", "outcome_reason", "media", "signals", "timings")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_REASON_FIELD_NUMBER: _ClassVar[int]
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    TIMINGS_FIELD_NUMBER: _ClassVar[int]
    outcome: _types_pb2.Outcome
    outcome_reason: str
    media: _types_pb2.MediaInfo
    signals: _containers.RepeatedCompositeFieldContainer[_types_pb2.Signal]
    timings: HashTimings
    def __init__(self, outcome: _Optional[_Union[_types_pb2.Outcome, str]] = ..., outcome_reason: _Optional[str] = ..., media: _Optional[_Union[_types_pb2.MediaInfo, _Mapping]] = ..., signals: _Optional[_Iterable[_Union[_types_pb2.Signal, _Mapping]]] = ..., timings: _Optional[_Union[HashTimings, _Mapping]] = ...) -> None: ...

class HashTimings(_message.Message):
    __slots__ = ("decode_us", "hash_us")
    DECODE_US_FIELD_NUMBER: _ClassVar[int]
    HASH_US_FIELD_NUMBER: _ClassVar[int]
    decode_us: int
    hash_us: int
    def __init__(self, decode_us: _Optional[int] = ..., hash_us: _Optional[int] = ...) -> None: ...

class EmbedRequest(_message.Message):
    __slots__ = ("content", "models", "decode")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    MODELS_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    content: _types_pb2.Content
    models: _containers.RepeatedScalarFieldContainer[str]
    decode: _types_pb2.DecodeOptions
    def __init__(self, content: _Optional[_Union[_types_pb2.Content, _Mapping]] = ..., models: _Optional[_Iterable[str]] = ..., decode: _Optional[_Union[_types_pb2.DecodeOptions, _Mapping]] = ...) -> None: ...

class EmbedResponse(_message.Message):
    __slots__ = ("outcome", "outcome_reason", "media", "embeddings", "scores")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_REASON_FIELD_NUMBER: _ClassVar[int]
    MEDIA_FIELD_NUMBER: _ClassVar[int]
    EMBEDDINGS_FIELD_NUMBER: _ClassVar[int]
    SCORES_FIELD_NUMBER: _ClassVar[int]
    outcome: _types_pb2.Outcome
    outcome_reason: str
    media: _types_pb2.MediaInfo
    embeddings: _containers.RepeatedCompositeFieldContainer[Embedding]
    scores: _containers.RepeatedCompositeFieldContainer[_types_pb2.Score]
    def __init__(self, outcome: _Optional[_Union[_types_pb2.Outcome, str]] = ..., outcome_reason: _Optional[str] = ..., media: _Optional[_Union[_types_pb2.MediaInfo, _Mapping]] = ..., embeddings: _Optional[_Iterable[_Union[Embedding, _Mapping]]] = ..., scores: _Optional[_Iterable[_Union[_types_pb2.Score, _Mapping]]] = ...) -> None: ...

class Embedding(_message.Message):
    __slots__ = ("model", "values")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    model: str
    values: _containers.RepeatedScalarFieldContainer[float]
    def __init__(self, model: _Optional[str] = ..., values: _Optional[_Iterable[float]] = ...) -> None: ...

class CompareRequest(_message.Message):
    __slots__ = ("a", "b", "algorithms", "decode")
    class Side(_message.Message):
        __slots__ = ("content", "signal")
        CONTENT_FIELD_NUMBER: _ClassVar[int]
        SIGNAL_FIELD_NUMBER: _ClassVar[int]
        content: _types_pb2.Content
        signal: _types_pb2.Signal
        def __init__(self, content: _Optional[_Union[_types_pb2.Content, _Mapping]] = ..., signal: _Optional[_Union[_types_pb2.Signal, _Mapping]] = ...) -> None: ...
    A_FIELD_NUMBER: _ClassVar[int]
    B_FIELD_NUMBER: _ClassVar[int]
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    DECODE_FIELD_NUMBER: _ClassVar[int]
    a: CompareRequest.Side
    b: CompareRequest.Side
    algorithms: _containers.RepeatedScalarFieldContainer[str]
    decode: _types_pb2.DecodeOptions
    def __init__(self, a: _Optional[_Union[CompareRequest.Side, _Mapping]] = ..., b: _Optional[_Union[CompareRequest.Side, _Mapping]] = ..., algorithms: _Optional[_Iterable[str]] = ..., decode: _Optional[_Union[_types_pb2.DecodeOptions, _Mapping]] = ...) -> None: ...

class CompareResponse(_message.Message):
    __slots__ = ("distances",)
    class Distance(_message.Message):
        __slots__ = ("algorithm", "distance", "threshold", "match", "outcome", "outcome_reason")
        ALGORITHM_FIELD_NUMBER: _ClassVar[int]
        DISTANCE_FIELD_NUMBER: _ClassVar[int]
        THRESHOLD_FIELD_NUMBER: _ClassVar[int]
        MATCH_FIELD_NUMBER: _ClassVar[int]
        OUTCOME_FIELD_NUMBER: _ClassVar[int]
        OUTCOME_REASON_FIELD_NUMBER: _ClassVar[int]
        algorithm: str
        distance: float
        threshold: float
        match: bool
        outcome: _types_pb2.Outcome
        outcome_reason: str
        def __init__(self, algorithm: _Optional[str] = ..., distance: _Optional[float] = ..., threshold: _Optional[float] = ..., match: _Optional[bool] = ..., outcome: _Optional[_Union[_types_pb2.Outcome, str]] = ..., outcome_reason: _Optional[str] = ...) -> None: ...
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    distances: _containers.RepeatedCompositeFieldContainer[CompareResponse.Distance]
    def __init__(self, distances: _Optional[_Iterable[_Union[CompareResponse.Distance, _Mapping]]] = ...) -> None: ...

class ListAlgorithmsRequest(_message.Message):
    __slots__ = ("algorithms",)
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    algorithms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, algorithms: _Optional[_Iterable[str]] = ...) -> None: ...

class ListAlgorithmsResponse(_message.Message):
    __slots__ = ("algorithms",)
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    algorithms: _containers.RepeatedCompositeFieldContainer[Algorithm]
    def __init__(self, algorithms: _Optional[_Iterable[_Union[Algorithm, _Mapping]]] = ...) -> None: ...

class Algorithm(_message.Message):
    __slots__ = ("name", "bits", "distance", "default_threshold", "quality_floor", "version", "computed", "matched", "dimensions", "description", "input")
    class Distance(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        DISTANCE_UNSPECIFIED: _ClassVar[Algorithm.Distance]
        DISTANCE_HAMMING: _ClassVar[Algorithm.Distance]
        DISTANCE_EQUALITY: _ClassVar[Algorithm.Distance]
        DISTANCE_COSINE: _ClassVar[Algorithm.Distance]
        DISTANCE_SEGMENTS: _ClassVar[Algorithm.Distance]
        DISTANCE_CONTAINMENT: _ClassVar[Algorithm.Distance]
        DISTANCE_TLSH: _ClassVar[Algorithm.Distance]
    DISTANCE_UNSPECIFIED: Algorithm.Distance
    DISTANCE_HAMMING: Algorithm.Distance
    DISTANCE_EQUALITY: Algorithm.Distance
    DISTANCE_COSINE: Algorithm.Distance
    DISTANCE_SEGMENTS: Algorithm.Distance
    DISTANCE_CONTAINMENT: Algorithm.Distance
    DISTANCE_TLSH: Algorithm.Distance
    class Input(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        INPUT_UNSPECIFIED: _ClassVar[Algorithm.Input]
        INPUT_PICTURE: _ClassVar[Algorithm.Input]
        INPUT_BYTES: _ClassVar[Algorithm.Input]
        INPUT_TEXT: _ClassVar[Algorithm.Input]
        INPUT_NONE: _ClassVar[Algorithm.Input]
    INPUT_UNSPECIFIED: Algorithm.Input
    INPUT_PICTURE: Algorithm.Input
    INPUT_BYTES: Algorithm.Input
    INPUT_TEXT: Algorithm.Input
    INPUT_NONE: Algorithm.Input
    NAME_FIELD_NUMBER: _ClassVar[int]
    BITS_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    DEFAULT_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FLOOR_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COMPUTED_FIELD_NUMBER: _ClassVar[int]
    MATCHED_FIELD_NUMBER: _ClassVar[int]
    DIMENSIONS_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    name: str
    bits: int
    distance: Algorithm.Distance
    default_threshold: float
    quality_floor: int
    version: int
    computed: bool
    matched: bool
    dimensions: int
    description: str
    input: Algorithm.Input
    def __init__(self, name: _Optional[str] = ..., bits: _Optional[int] = ..., distance: _Optional[_Union[Algorithm.Distance, str]] = ..., default_threshold: _Optional[float] = ..., quality_floor: _Optional[int] = ..., version: _Optional[int] = ..., computed: _Optional[bool] = ..., matched: _Optional[bool] = ..., dimensions: _Optional[int] = ..., description: _Optional[str] = ..., input: _Optional[_Union[Algorithm.Input, str]] = ...) -> None: ...
