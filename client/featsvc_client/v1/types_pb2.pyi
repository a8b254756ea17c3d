import datetime

from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_OK: _ClassVar[Outcome]
    OUTCOME_LOW_QUALITY: _ClassVar[Outcome]
    OUTCOME_UNSUPPORTED_MEDIA: _ClassVar[Outcome]
    OUTCOME_DEGRADED: _ClassVar[Outcome]
    OUTCOME_NOT_SEARCHED: _ClassVar[Outcome]
    OUTCOME_CORRUPT_MEDIA: _ClassVar[Outcome]
    OUTCOME_UNSTABLE: _ClassVar[Outcome]
    OUTCOME_TOO_LARGE_MEDIA: _ClassVar[Outcome]

class BankMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    BANK_MODE_UNSPECIFIED: _ClassVar[BankMode]
    BANK_MODE_ENFORCE: _ClassVar[BankMode]
    BANK_MODE_SHADOW: _ClassVar[BankMode]
    BANK_MODE_OFF: _ClassVar[BankMode]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_OK: Outcome
OUTCOME_LOW_QUALITY: Outcome
OUTCOME_UNSUPPORTED_MEDIA: Outcome
OUTCOME_DEGRADED: Outcome
OUTCOME_NOT_SEARCHED: Outcome
OUTCOME_CORRUPT_MEDIA: Outcome
OUTCOME_UNSTABLE: Outcome
OUTCOME_TOO_LARGE_MEDIA: Outcome
BANK_MODE_UNSPECIFIED: BankMode
BANK_MODE_ENFORCE: BankMode
BANK_MODE_SHADOW: BankMode
BANK_MODE_OFF: BankMode

class Content(_message.Message):
    __slots__ = ("data", "text")
    DATA_FIELD_NUMBER: _ClassVar[int]
    TEXT_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    text: str
    def __init__(self, data: _Optional[bytes] = ..., text: _Optional[str] = ...) -> None: ...

class DecodeOptions(_message.Message):
    __slots__ = ("fidelity", "alpha", "frames", "ignore_orientation")
    class Fidelity(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FIDELITY_UNSPECIFIED: _ClassVar[DecodeOptions.Fidelity]
        FIDELITY_EXACT: _ClassVar[DecodeOptions.Fidelity]
        FIDELITY_FAST: _ClassVar[DecodeOptions.Fidelity]
    FIDELITY_UNSPECIFIED: DecodeOptions.Fidelity
    FIDELITY_EXACT: DecodeOptions.Fidelity
    FIDELITY_FAST: DecodeOptions.Fidelity
    class Alpha(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        ALPHA_UNSPECIFIED: _ClassVar[DecodeOptions.Alpha]
        ALPHA_WHITE: _ClassVar[DecodeOptions.Alpha]
        ALPHA_BLACK: _ClassVar[DecodeOptions.Alpha]
        ALPHA_IGNORE: _ClassVar[DecodeOptions.Alpha]
    ALPHA_UNSPECIFIED: DecodeOptions.Alpha
    ALPHA_WHITE: DecodeOptions.Alpha
    ALPHA_BLACK: DecodeOptions.Alpha
    ALPHA_IGNORE: DecodeOptions.Alpha
    class Frames(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        FRAMES_UNSPECIFIED: _ClassVar[DecodeOptions.Frames]
        FRAMES_FIRST: _ClassVar[DecodeOptions.Frames]
        FRAMES_ALL: _ClassVar[DecodeOptions.Frames]
    FRAMES_UNSPECIFIED: DecodeOptions.Frames
    FRAMES_FIRST: DecodeOptions.Frames
    FRAMES_ALL: DecodeOptions.Frames
    FIDELITY_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    IGNORE_ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    fidelity: DecodeOptions.Fidelity
    alpha: DecodeOptions.Alpha
    frames: DecodeOptions.Frames
    ignore_orientation: bool
    def __init__(self, fidelity: _Optional[_Union[DecodeOptions.Fidelity, str]] = ..., alpha: _Optional[_Union[DecodeOptions.Alpha, str]] = ..., frames: _Optional[_Union[DecodeOptions.Frames, str]] = ..., ignore_orientation: _Optional[bool] = ...) -> None: ...

class Provenance(_message.Message):
    __slots__ = ("orientation", "orientation_applied", "fidelity", "alpha", "luma_plane", "scale_denominator")
    ORIENTATION_FIELD_NUMBER: _ClassVar[int]
    ORIENTATION_APPLIED_FIELD_NUMBER: _ClassVar[int]
    FIDELITY_FIELD_NUMBER: _ClassVar[int]
    ALPHA_FIELD_NUMBER: _ClassVar[int]
    LUMA_PLANE_FIELD_NUMBER: _ClassVar[int]
    SCALE_DENOMINATOR_FIELD_NUMBER: _ClassVar[int]
    orientation: int
    orientation_applied: bool
    fidelity: DecodeOptions.Fidelity
    alpha: DecodeOptions.Alpha
    luma_plane: bool
    scale_denominator: int
    def __init__(self, orientation: _Optional[int] = ..., orientation_applied: _Optional[bool] = ..., fidelity: _Optional[_Union[DecodeOptions.Fidelity, str]] = ..., alpha: _Optional[_Union[DecodeOptions.Alpha, str]] = ..., luma_plane: _Optional[bool] = ..., scale_denominator: _Optional[int] = ...) -> None: ...

class Signal(_message.Message):
    __slots__ = ("algorithm", "value", "quality", "outcome", "variant", "algorithm_version", "frame", "time_us", "provenance")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_VERSION_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    PROVENANCE_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    value: str
    quality: int
    outcome: Outcome
    variant: str
    algorithm_version: int
    frame: int
    time_us: int
    provenance: Provenance
    def __init__(self, algorithm: _Optional[str] = ..., value: _Optional[str] = ..., quality: _Optional[int] = ..., outcome: _Optional[_Union[Outcome, str]] = ..., variant: _Optional[str] = ..., algorithm_version: _Optional[int] = ..., frame: _Optional[int] = ..., time_us: _Optional[int] = ..., provenance: _Optional[_Union[Provenance, _Mapping]] = ...) -> None: ...

class MediaInfo(_message.Message):
    __slots__ = ("media_type", "width", "height", "frames")
    MEDIA_TYPE_FIELD_NUMBER: _ClassVar[int]
    WIDTH_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_FIELD_NUMBER: _ClassVar[int]
    FRAMES_FIELD_NUMBER: _ClassVar[int]
    media_type: str
    width: int
    height: int
    frames: int
    def __init__(self, media_type: _Optional[str] = ..., width: _Optional[int] = ..., height: _Optional[int] = ..., frames: _Optional[int] = ...) -> None: ...

class Score(_message.Message):
    __slots__ = ("model", "label", "score")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    SCORE_FIELD_NUMBER: _ClassVar[int]
    model: str
    label: str
    score: float
    def __init__(self, model: _Optional[str] = ..., label: _Optional[str] = ..., score: _Optional[float] = ...) -> None: ...

class ThresholdOverride(_message.Message):
    __slots__ = ("algorithm", "threshold")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    threshold: float
    def __init__(self, algorithm: _Optional[str] = ..., threshold: _Optional[float] = ...) -> None: ...

class MatchOptions(_message.Message):
    __slots__ = ("banks", "labels", "thresholds", "max_results", "match_low_quality", "variants", "top_k", "ignore_safe_lists")
    class Variants(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        VARIANTS_UNSPECIFIED: _ClassVar[MatchOptions.Variants]
        VARIANTS_NONE: _ClassVar[MatchOptions.Variants]
        VARIANTS_DEFAULT: _ClassVar[MatchOptions.Variants]
        VARIANTS_ALL: _ClassVar[MatchOptions.Variants]
    VARIANTS_UNSPECIFIED: MatchOptions.Variants
    VARIANTS_NONE: MatchOptions.Variants
    VARIANTS_DEFAULT: MatchOptions.Variants
    VARIANTS_ALL: MatchOptions.Variants
    BANKS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    MAX_RESULTS_FIELD_NUMBER: _ClassVar[int]
    MATCH_LOW_QUALITY_FIELD_NUMBER: _ClassVar[int]
    VARIANTS_FIELD_NUMBER: _ClassVar[int]
    TOP_K_FIELD_NUMBER: _ClassVar[int]
    IGNORE_SAFE_LISTS_FIELD_NUMBER: _ClassVar[int]
    banks: _containers.RepeatedScalarFieldContainer[str]
    labels: _containers.RepeatedScalarFieldContainer[str]
    thresholds: _containers.RepeatedCompositeFieldContainer[ThresholdOverride]
    max_results: int
    match_low_quality: bool
    variants: MatchOptions.Variants
    top_k: int
    ignore_safe_lists: bool
    def __init__(self, banks: _Optional[_Iterable[str]] = ..., labels: _Optional[_Iterable[str]] = ..., thresholds: _Optional[_Iterable[_Union[ThresholdOverride, _Mapping]]] = ..., max_results: _Optional[int] = ..., match_low_quality: _Optional[bool] = ..., variants: _Optional[_Union[MatchOptions.Variants, str]] = ..., top_k: _Optional[int] = ..., ignore_safe_lists: _Optional[bool] = ...) -> None: ...

class Match(_message.Message):
    __slots__ = ("bank", "entry", "external_id", "source", "labels", "mode", "safe", "suppressed", "algorithm", "distance", "threshold", "threshold_overridden", "query_signal", "query_variant", "frame", "time_us", "entry_signal", "entry_variant", "entry_frame", "entry_time_us", "evidence")
    BANK_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SAFE_FIELD_NUMBER: _ClassVar[int]
    SUPPRESSED_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_OVERRIDDEN_FIELD_NUMBER: _ClassVar[int]
    QUERY_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    QUERY_VARIANT_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    ENTRY_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    ENTRY_VARIANT_FIELD_NUMBER: _ClassVar[int]
    ENTRY_FRAME_FIELD_NUMBER: _ClassVar[int]
    ENTRY_TIME_US_FIELD_NUMBER: _ClassVar[int]
    EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    bank: str
    entry: str
    external_id: str
    source: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    mode: BankMode
    safe: bool
    suppressed: bool
    algorithm: str
    distance: float
    threshold: float
    threshold_overridden: bool
    query_signal: str
    query_variant: str
    frame: int
    time_us: int
    entry_signal: str
    entry_variant: str
    entry_frame: int
    entry_time_us: int
    evidence: _containers.RepeatedCompositeFieldContainer[Evidence]
    def __init__(self, bank: _Optional[str] = ..., entry: _Optional[str] = ..., external_id: _Optional[str] = ..., source: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., mode: _Optional[_Union[BankMode, str]] = ..., safe: _Optional[bool] = ..., suppressed: _Optional[bool] = ..., algorithm: _Optional[str] = ..., distance: _Optional[float] = ..., threshold: _Optional[float] = ..., threshold_overridden: _Optional[bool] = ..., query_signal: _Optional[str] = ..., query_variant: _Optional[str] = ..., frame: _Optional[int] = ..., time_us: _Optional[int] = ..., entry_signal: _Optional[str] = ..., entry_variant: _Optional[str] = ..., entry_frame: _Optional[int] = ..., entry_time_us: _Optional[int] = ..., evidence: _Optional[_Iterable[_Union[Evidence, _Mapping]]] = ...) -> None: ...

class Evidence(_message.Message):
    __slots__ = ("algorithm", "distance", "threshold", "query_variant", "entry_variant", "entry_signal")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    DISTANCE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    QUERY_VARIANT_FIELD_NUMBER: _ClassVar[int]
    ENTRY_VARIANT_FIELD_NUMBER: _ClassVar[int]
    ENTRY_SIGNAL_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    distance: float
    threshold: float
    query_variant: str
    entry_variant: str
    entry_signal: str
    def __init__(self, algorithm: _Optional[str] = ..., distance: _Optional[float] = ..., threshold: _Optional[float] = ..., query_variant: _Optional[str] = ..., entry_variant: _Optional[str] = ..., entry_signal: _Optional[str] = ...) -> None: ...

class Searched(_message.Message):
    __slots__ = ("algorithms", "safe_lists", "safe_list_count")
    ALGORITHMS_FIELD_NUMBER: _ClassVar[int]
    SAFE_LISTS_FIELD_NUMBER: _ClassVar[int]
    SAFE_LIST_COUNT_FIELD_NUMBER: _ClassVar[int]
    algorithms: _containers.RepeatedCompositeFieldContainer[SearchedAlgorithm]
    safe_lists: _containers.RepeatedScalarFieldContainer[str]
    safe_list_count: int
    def __init__(self, algorithms: _Optional[_Iterable[_Union[SearchedAlgorithm, _Mapping]]] = ..., safe_lists: _Optional[_Iterable[str]] = ..., safe_list_count: _Optional[int] = ...) -> None: ...

class SearchedAlgorithm(_message.Message):
    __slots__ = ("algorithm", "banks", "bank_count", "entries", "signals", "query_variants", "set_aside_signals")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    BANKS_FIELD_NUMBER: _ClassVar[int]
    BANK_COUNT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    QUERY_VARIANTS_FIELD_NUMBER: _ClassVar[int]
    SET_ASIDE_SIGNALS_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    banks: _containers.RepeatedScalarFieldContainer[str]
    bank_count: int
    entries: int
    signals: int
    query_variants: _containers.RepeatedScalarFieldContainer[str]
    set_aside_signals: int
    def __init__(self, algorithm: _Optional[str] = ..., banks: _Optional[_Iterable[str]] = ..., bank_count: _Optional[int] = ..., entries: _Optional[int] = ..., signals: _Optional[int] = ..., query_variants: _Optional[_Iterable[str]] = ..., set_aside_signals: _Optional[int] = ...) -> None: ...

class Watermark(_message.Message):
    __slots__ = ("revision", "commit_time")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    COMMIT_TIME_FIELD_NUMBER: _ClassVar[int]
    revision: int
    commit_time: _timestamp_pb2.Timestamp
    def __init__(self, revision: _Optional[int] = ..., commit_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class EntityRef(_message.Message):
    __slots__ = ("entity", "id")
    ENTITY_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    entity: str
    id: str
    def __init__(self, entity: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...
