import datetime

from featsvc_client.v1 import types_pb2 as _types_pb2
from google.protobuf import field_mask_pb2 as _field_mask_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Opinion(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OPINION_UNSPECIFIED: _ClassVar[Opinion]
    OPINION_POSITIVE: _ClassVar[Opinion]
    OPINION_NEGATIVE: _ClassVar[Opinion]
    OPINION_DISPUTED: _ClassVar[Opinion]
OPINION_UNSPECIFIED: Opinion
OPINION_POSITIVE: Opinion
OPINION_NEGATIVE: Opinion
OPINION_DISPUTED: Opinion

class Bank(_message.Message):
    __slots__ = ("name", "display_name", "description", "mode", "safe", "thresholds", "query_variants", "engine", "entry_count", "signal_count", "signal_counts", "revision", "create_time", "update_time", "etag", "expired_entries", "import_map")
    class ThresholdsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    class SignalCountsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class ImportMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAME_FIELD_NUMBER: _ClassVar[int]
    DISPLAY_NAME_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    SAFE_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    QUERY_VARIANTS_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_COUNT_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_COUNTS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    UPDATE_TIME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    IMPORT_MAP_FIELD_NUMBER: _ClassVar[int]
    name: str
    display_name: str
    description: str
    mode: _types_pb2.BankMode
    safe: bool
    thresholds: _containers.ScalarMap[str, float]
    query_variants: _containers.RepeatedScalarFieldContainer[str]
    engine: str
    entry_count: int
    signal_count: int
    signal_counts: _containers.ScalarMap[str, int]
    revision: int
    create_time: _timestamp_pb2.Timestamp
    update_time: _timestamp_pb2.Timestamp
    etag: str
    expired_entries: int
    import_map: _containers.ScalarMap[str, str]
    def __init__(self, name: _Optional[str] = ..., display_name: _Optional[str] = ..., description: _Optional[str] = ..., mode: _Optional[_Union[_types_pb2.BankMode, str]] = ..., safe: _Optional[bool] = ..., thresholds: _Optional[_Mapping[str, float]] = ..., query_variants: _Optional[_Iterable[str]] = ..., engine: _Optional[str] = ..., entry_count: _Optional[int] = ..., signal_count: _Optional[int] = ..., signal_counts: _Optional[_Mapping[str, int]] = ..., revision: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., update_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., etag: _Optional[str] = ..., expired_entries: _Optional[int] = ..., import_map: _Optional[_Mapping[str, str]] = ...) -> None: ...

class EntrySignal(_message.Message):
    __slots__ = ("algorithm", "value", "variant", "quality", "algorithm_version", "frame", "time_us")
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_VERSION_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    algorithm: str
    value: str
    variant: str
    quality: int
    algorithm_version: int
    frame: int
    time_us: int
    def __init__(self, algorithm: _Optional[str] = ..., value: _Optional[str] = ..., variant: _Optional[str] = ..., quality: _Optional[int] = ..., algorithm_version: _Optional[int] = ..., frame: _Optional[int] = ..., time_us: _Optional[int] = ...) -> None: ...

class EntryVector(_message.Message):
    __slots__ = ("model", "values", "variant", "quality", "frame", "time_us")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    VALUES_FIELD_NUMBER: _ClassVar[int]
    VARIANT_FIELD_NUMBER: _ClassVar[int]
    QUALITY_FIELD_NUMBER: _ClassVar[int]
    FRAME_FIELD_NUMBER: _ClassVar[int]
    TIME_US_FIELD_NUMBER: _ClassVar[int]
    model: str
    values: _containers.RepeatedScalarFieldContainer[float]
    variant: str
    quality: int
    frame: int
    time_us: int
    def __init__(self, model: _Optional[str] = ..., values: _Optional[_Iterable[float]] = ..., variant: _Optional[str] = ..., quality: _Optional[int] = ..., frame: _Optional[int] = ..., time_us: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("name", "external_id", "signals", "vectors", "labels", "source", "opinion", "note", "expire_time", "added_revision", "removed_revision", "create_time", "quarantined", "decided_fields", "listed")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    VECTORS_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    OPINION_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    ADDED_REVISION_FIELD_NUMBER: _ClassVar[int]
    REMOVED_REVISION_FIELD_NUMBER: _ClassVar[int]
    CREATE_TIME_FIELD_NUMBER: _ClassVar[int]
    QUARANTINED_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    LISTED_FIELD_NUMBER: _ClassVar[int]
    name: str
    external_id: str
    signals: _containers.RepeatedCompositeFieldContainer[EntrySignal]
    vectors: _containers.RepeatedCompositeFieldContainer[EntryVector]
    labels: _containers.RepeatedScalarFieldContainer[str]
    source: str
    opinion: Opinion
    note: str
    expire_time: _timestamp_pb2.Timestamp
    added_revision: int
    removed_revision: int
    create_time: _timestamp_pb2.Timestamp
    quarantined: bool
    decided_fields: _containers.RepeatedScalarFieldContainer[str]
    listed: ListedValues
    def __init__(self, name: _Optional[str] = ..., external_id: _Optional[str] = ..., signals: _Optional[_Iterable[_Union[EntrySignal, _Mapping]]] = ..., vectors: _Optional[_Iterable[_Union[EntryVector, _Mapping]]] = ..., labels: _Optional[_Iterable[str]] = ..., source: _Optional[str] = ..., opinion: _Optional[_Union[Opinion, str]] = ..., note: _Optional[str] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., added_revision: _Optional[int] = ..., removed_revision: _Optional[int] = ..., create_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., quarantined: _Optional[bool] = ..., decided_fields: _Optional[_Iterable[str]] = ..., listed: _Optional[_Union[ListedValues, _Mapping]] = ...) -> None: ...

class ListedValues(_message.Message):
    __slots__ = ("labels", "note", "opinion", "expire_time")
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    OPINION_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    labels: _containers.RepeatedScalarFieldContainer[str]
    note: str
    opinion: Opinion
    expire_time: _timestamp_pb2.Timestamp
    def __init__(self, labels: _Optional[_Iterable[str]] = ..., note: _Optional[str] = ..., opinion: _Optional[_Union[Opinion, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ...) -> None: ...

class ChangeContext(_message.Message):
    __slots__ = ("actor", "reason", "request_id")
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    actor: str
    reason: str
    request_id: str
    def __init__(self, actor: _Optional[str] = ..., reason: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class CreateBankRequest(_message.Message):
    __slots__ = ("bank_id", "bank", "context")
    BANK_ID_FIELD_NUMBER: _ClassVar[int]
    BANK_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    bank_id: str
    bank: Bank
    context: ChangeContext
    def __init__(self, bank_id: _Optional[str] = ..., bank: _Optional[_Union[Bank, _Mapping]] = ..., context: _Optional[_Union[ChangeContext, _Mapping]] = ...) -> None: ...

class GetBankRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListBanksRequest(_message.Message):
    __slots__ = ("page_size", "page_token")
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    page_size: int
    page_token: str
    def __init__(self, page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListBanksResponse(_message.Message):
    __slots__ = ("banks", "next_page_token")
    BANKS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    banks: _containers.RepeatedCompositeFieldContainer[Bank]
    next_page_token: str
    def __init__(self, banks: _Optional[_Iterable[_Union[Bank, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class UpdateBankRequest(_message.Message):
    __slots__ = ("bank", "update_mask", "context")
    BANK_FIELD_NUMBER: _ClassVar[int]
    UPDATE_MASK_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    bank: Bank
    update_mask: _field_mask_pb2.FieldMask
    context: ChangeContext
    def __init__(self, bank: _Optional[_Union[Bank, _Mapping]] = ..., update_mask: _Optional[_Union[_field_mask_pb2.FieldMask, _Mapping]] = ..., context: _Optional[_Union[ChangeContext, _Mapping]] = ...) -> None: ...

class DeleteBankRequest(_message.Message):
    __slots__ = ("name", "etag", "force", "context")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    FORCE_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    name: str
    etag: str
    force: bool
    context: ChangeContext
    def __init__(self, name: _Optional[str] = ..., etag: _Optional[str] = ..., force: _Optional[bool] = ..., context: _Optional[_Union[ChangeContext, _Mapping]] = ...) -> None: ...

class DeleteBankResponse(_message.Message):
    __slots__ = ("revision", "withdrawn_entries")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    revision: int
    withdrawn_entries: int
    def __init__(self, revision: _Optional[int] = ..., withdrawn_entries: _Optional[int] = ...) -> None: ...

class ImportOptions(_message.Message):
    __slots__ = ("parent", "format", "source", "labels", "dry_run", "skip_bad", "replace", "file_name", "file_bytes", "etag", "context", "algorithm", "column_map", "ignored_columns", "allow_withdrawn", "allow_replaced")
    class ColumnMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    SKIP_BAD_FIELD_NUMBER: _ClassVar[int]
    REPLACE_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    FILE_BYTES_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    COLUMN_MAP_FIELD_NUMBER: _ClassVar[int]
    IGNORED_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ALLOW_WITHDRAWN_FIELD_NUMBER: _ClassVar[int]
    ALLOW_REPLACED_FIELD_NUMBER: _ClassVar[int]
    parent: str
    format: str
    source: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    dry_run: bool
    skip_bad: bool
    replace: bool
    file_name: str
    file_bytes: int
    etag: str
    context: ChangeContext
    algorithm: str
    column_map: _containers.ScalarMap[str, str]
    ignored_columns: _containers.RepeatedScalarFieldContainer[str]
    allow_withdrawn: int
    allow_replaced: bool
    def __init__(self, parent: _Optional[str] = ..., format: _Optional[str] = ..., source: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., dry_run: _Optional[bool] = ..., skip_bad: _Optional[bool] = ..., replace: _Optional[bool] = ..., file_name: _Optional[str] = ..., file_bytes: _Optional[int] = ..., etag: _Optional[str] = ..., context: _Optional[_Union[ChangeContext, _Mapping]] = ..., algorithm: _Optional[str] = ..., column_map: _Optional[_Mapping[str, str]] = ..., ignored_columns: _Optional[_Iterable[str]] = ..., allow_withdrawn: _Optional[int] = ..., allow_replaced: _Optional[bool] = ...) -> None: ...

class ImportEntriesRequest(_message.Message):
    __slots__ = ("options", "chunk")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    options: ImportOptions
    chunk: bytes
    def __init__(self, options: _Optional[_Union[ImportOptions, _Mapping]] = ..., chunk: _Optional[bytes] = ...) -> None: ...

class BadRow(_message.Message):
    __slots__ = ("line", "column", "reason", "row")
    LINE_FIELD_NUMBER: _ClassVar[int]
    COLUMN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    ROW_FIELD_NUMBER: _ClassVar[int]
    line: int
    column: str
    reason: str
    row: str
    def __init__(self, line: _Optional[int] = ..., column: _Optional[str] = ..., reason: _Optional[str] = ..., row: _Optional[str] = ...) -> None: ...

class WithdrawnEntry(_message.Message):
    __slots__ = ("name", "external_id", "source", "line")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_ID_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    name: str
    external_id: str
    source: str
    line: int
    def __init__(self, name: _Optional[str] = ..., external_id: _Optional[str] = ..., source: _Optional[str] = ..., line: _Optional[int] = ...) -> None: ...

class UnknownWithdrawal(_message.Message):
    __slots__ = ("line", "external_id", "signal")
    LINE_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_ID_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    line: int
    external_id: str
    signal: _types_pb2.Signal
    def __init__(self, line: _Optional[int] = ..., external_id: _Optional[str] = ..., signal: _Optional[_Union[_types_pb2.Signal, _Mapping]] = ...) -> None: ...

class ImportRefusal(_message.Message):
    __slots__ = ("reason", "message")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    reason: str
    message: str
    def __init__(self, reason: _Optional[str] = ..., message: _Optional[str] = ...) -> None: ...

class ImportSummary(_message.Message):
    __slots__ = ("rows", "new_entries", "changed_entries", "unchanged_entries", "withdrawn_entries", "duplicate_rows", "bad_rows", "in_other_banks", "in_safe_lists", "low_information", "unmatchable_signals", "bad", "unstable_signals", "kept_withdrawn", "left_out", "changed_fields", "expired_entries", "bank_entries", "unknown_withdrawals", "withdrawn", "unknown", "signals", "sources", "source_count", "refusals")
    class LeftOutEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class ChangedFieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    class SignalsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    ROWS_FIELD_NUMBER: _ClassVar[int]
    NEW_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CHANGED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    UNCHANGED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DUPLICATE_ROWS_FIELD_NUMBER: _ClassVar[int]
    BAD_ROWS_FIELD_NUMBER: _ClassVar[int]
    IN_OTHER_BANKS_FIELD_NUMBER: _ClassVar[int]
    IN_SAFE_LISTS_FIELD_NUMBER: _ClassVar[int]
    LOW_INFORMATION_FIELD_NUMBER: _ClassVar[int]
    UNMATCHABLE_SIGNALS_FIELD_NUMBER: _ClassVar[int]
    BAD_FIELD_NUMBER: _ClassVar[int]
    UNSTABLE_SIGNALS_FIELD_NUMBER: _ClassVar[int]
    KEPT_WITHDRAWN_FIELD_NUMBER: _ClassVar[int]
    LEFT_OUT_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    BANK_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_WITHDRAWALS_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_FIELD_NUMBER: _ClassVar[int]
    UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    SOURCES_FIELD_NUMBER: _ClassVar[int]
    SOURCE_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    rows: int
    new_entries: int
    changed_entries: int
    unchanged_entries: int
    withdrawn_entries: int
    duplicate_rows: int
    bad_rows: int
    in_other_banks: int
    in_safe_lists: int
    low_information: int
    unmatchable_signals: int
    bad: _containers.RepeatedCompositeFieldContainer[BadRow]
    unstable_signals: int
    kept_withdrawn: int
    left_out: _containers.ScalarMap[str, int]
    changed_fields: _containers.ScalarMap[str, int]
    expired_entries: int
    bank_entries: int
    unknown_withdrawals: int
    withdrawn: _containers.RepeatedCompositeFieldContainer[WithdrawnEntry]
    unknown: _containers.RepeatedCompositeFieldContainer[UnknownWithdrawal]
    signals: _containers.ScalarMap[str, int]
    sources: _containers.RepeatedScalarFieldContainer[str]
    source_count: int
    refusals: _containers.RepeatedCompositeFieldContainer[ImportRefusal]
    def __init__(self, rows: _Optional[int] = ..., new_entries: _Optional[int] = ..., changed_entries: _Optional[int] = ..., unchanged_entries: _Optional[int] = ..., withdrawn_entries: _Optional[int] = ..., duplicate_rows: _Optional[int] = ..., bad_rows: _Optional[int] = ..., in_other_banks: _Optional[int] = ..., in_safe_lists: _Optional[int] = ..., low_information: _Optional[int] = ..., unmatchable_signals: _Optional[int] = ..., bad: _Optional[_Iterable[_Union[BadRow, _Mapping]]] = ..., unstable_signals: _Optional[int] = ..., kept_withdrawn: _Optional[int] = ..., left_out: _Optional[_Mapping[str, int]] = ..., changed_fields: _Optional[_Mapping[str, int]] = ..., expired_entries: _Optional[int] = ..., bank_entries: _Optional[int] = ..., unknown_withdrawals: _Optional[int] = ..., withdrawn: _Optional[_Iterable[_Union[WithdrawnEntry, _Mapping]]] = ..., unknown: _Optional[_Iterable[_Union[UnknownWithdrawal, _Mapping]]] = ..., signals: _Optional[_Mapping[str, int]] = ..., sources: _Optional[_Iterable[str]] = ..., source_count: _Optional[int] = ..., refusals: _Optional[_Iterable[_Union[ImportRefusal, _Mapping]]] = ...) -> None: ...

class ImportEntriesResponse(_message.Message):
    __slots__ = ("bytes_read", "rows_read", "summary", "revision", "format", "sha256", "bad", "served", "column_map", "map_remembered", "unread_columns", "planned")
    class ColumnMapEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    BYTES_READ_FIELD_NUMBER: _ClassVar[int]
    ROWS_READ_FIELD_NUMBER: _ClassVar[int]
    SUMMARY_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    SHA256_FIELD_NUMBER: _ClassVar[int]
    BAD_FIELD_NUMBER: _ClassVar[int]
    SERVED_FIELD_NUMBER: _ClassVar[int]
    COLUMN_MAP_FIELD_NUMBER: _ClassVar[int]
    MAP_REMEMBERED_FIELD_NUMBER: _ClassVar[int]
    UNREAD_COLUMNS_FIELD_NUMBER: _ClassVar[int]
    PLANNED_FIELD_NUMBER: _ClassVar[int]
    bytes_read: int
    rows_read: int
    summary: ImportSummary
    revision: int
    format: str
    sha256: str
    bad: _containers.RepeatedCompositeFieldContainer[BadRow]
    served: bool
    column_map: _containers.ScalarMap[str, str]
    map_remembered: bool
    unread_columns: _containers.RepeatedScalarFieldContainer[str]
    planned: ImportSummary
    def __init__(self, bytes_read: _Optional[int] = ..., rows_read: _Optional[int] = ..., summary: _Optional[_Union[ImportSummary, _Mapping]] = ..., revision: _Optional[int] = ..., format: _Optional[str] = ..., sha256: _Optional[str] = ..., bad: _Optional[_Iterable[_Union[BadRow, _Mapping]]] = ..., served: _Optional[bool] = ..., column_map: _Optional[_Mapping[str, str]] = ..., map_remembered: _Optional[bool] = ..., unread_columns: _Optional[_Iterable[str]] = ..., planned: _Optional[_Union[ImportSummary, _Mapping]] = ...) -> None: ...

class AddEntriesRequest(_message.Message):
    __slots__ = ("parent", "entries", "contents", "entry_variants", "vector_models", "context", "allow_replaced")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CONTENTS_FIELD_NUMBER: _ClassVar[int]
    ENTRY_VARIANTS_FIELD_NUMBER: _ClassVar[int]
    VECTOR_MODELS_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    ALLOW_REPLACED_FIELD_NUMBER: _ClassVar[int]
    parent: str
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    contents: _containers.RepeatedCompositeFieldContainer[_types_pb2.Content]
    entry_variants: bool
    vector_models: _containers.RepeatedScalarFieldContainer[str]
    context: ChangeContext
    allow_replaced: bool
    def __init__(self, parent: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., contents: _Optional[_Iterable[_Union[_types_pb2.Content, _Mapping]]] = ..., entry_variants: _Optional[bool] = ..., vector_models: _Optional[_Iterable[str]] = ..., context: _Optional[_Union[ChangeContext, _Mapping]] = ..., allow_replaced: _Optional[bool] = ...) -> None: ...

class AddEntriesResponse(_message.Message):
    __slots__ = ("entries", "revision", "unstable_contents")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    UNSTABLE_CONTENTS_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    revision: int
    unstable_contents: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., revision: _Optional[int] = ..., unstable_contents: _Optional[_Iterable[int]] = ...) -> None: ...

class WithdrawEntriesRequest(_message.Message):
    __slots__ = ("parent", "names", "external_ids", "source", "dry_run", "context", "signals", "until_listed")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_IDS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SIGNALS_FIELD_NUMBER: _ClassVar[int]
    UNTIL_LISTED_FIELD_NUMBER: _ClassVar[int]
    parent: str
    names: _containers.RepeatedScalarFieldContainer[str]
    external_ids: _containers.RepeatedScalarFieldContainer[str]
    source: str
    dry_run: bool
    context: ChangeContext
    signals: _containers.RepeatedCompositeFieldContainer[_types_pb2.Signal]
    until_listed: bool
    def __init__(self, parent: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., external_ids: _Optional[_Iterable[str]] = ..., source: _Optional[str] = ..., dry_run: _Optional[bool] = ..., context: _Optional[_Union[ChangeContext, _Mapping]] = ..., signals: _Optional[_Iterable[_Union[_types_pb2.Signal, _Mapping]]] = ..., until_listed: _Optional[bool] = ...) -> None: ...

class WithdrawEntriesResponse(_message.Message):
    __slots__ = ("withdrawn_entries", "withdrawn_signals", "revision", "withdrawn")
    WITHDRAWN_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_SIGNALS_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_FIELD_NUMBER: _ClassVar[int]
    withdrawn_entries: int
    withdrawn_signals: int
    revision: int
    withdrawn: _containers.RepeatedCompositeFieldContainer[WithdrawnEntry]
    def __init__(self, withdrawn_entries: _Optional[int] = ..., withdrawn_signals: _Optional[int] = ..., revision: _Optional[int] = ..., withdrawn: _Optional[_Iterable[_Union[WithdrawnEntry, _Mapping]]] = ...) -> None: ...

class GetEntryRequest(_message.Message):
    __slots__ = ("name",)
    NAME_FIELD_NUMBER: _ClassVar[int]
    name: str
    def __init__(self, name: _Optional[str] = ...) -> None: ...

class ListEntriesRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token", "external_id", "labels", "near", "max_distance", "source", "revision", "show_withdrawn", "expired", "decided")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    EXTERNAL_ID_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    NEAR_FIELD_NUMBER: _ClassVar[int]
    MAX_DISTANCE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    SHOW_WITHDRAWN_FIELD_NUMBER: _ClassVar[int]
    EXPIRED_FIELD_NUMBER: _ClassVar[int]
    DECIDED_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    external_id: str
    labels: _containers.RepeatedScalarFieldContainer[str]
    near: _types_pb2.Signal
    max_distance: float
    source: str
    revision: int
    show_withdrawn: bool
    expired: bool
    decided: bool
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ..., external_id: _Optional[str] = ..., labels: _Optional[_Iterable[str]] = ..., near: _Optional[_Union[_types_pb2.Signal, _Mapping]] = ..., max_distance: _Optional[float] = ..., source: _Optional[str] = ..., revision: _Optional[int] = ..., show_withdrawn: _Optional[bool] = ..., expired: _Optional[bool] = ..., decided: _Optional[bool] = ...) -> None: ...

class ListEntriesResponse(_message.Message):
    __slots__ = ("entries", "distances", "next_page_token", "total_entries")
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    DISTANCES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[Entry]
    distances: _containers.RepeatedScalarFieldContainer[float]
    next_page_token: str
    total_entries: int
    def __init__(self, entries: _Optional[_Iterable[_Union[Entry, _Mapping]]] = ..., distances: _Optional[_Iterable[float]] = ..., next_page_token: _Optional[str] = ..., total_entries: _Optional[int] = ...) -> None: ...

class ExportEntriesRequest(_message.Message):
    __slots__ = ("parent", "format", "revision")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    parent: str
    format: str
    revision: int
    def __init__(self, parent: _Optional[str] = ..., format: _Optional[str] = ..., revision: _Optional[int] = ...) -> None: ...

class ExportEntriesResponse(_message.Message):
    __slots__ = ("chunk", "dropped_fields")
    CHUNK_FIELD_NUMBER: _ClassVar[int]
    DROPPED_FIELDS_FIELD_NUMBER: _ClassVar[int]
    chunk: bytes
    dropped_fields: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, chunk: _Optional[bytes] = ..., dropped_fields: _Optional[_Iterable[str]] = ...) -> None: ...

class SettingChange(_message.Message):
    __slots__ = ("name", "old", "new")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OLD_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    name: str
    old: str
    new: str
    def __init__(self, name: _Optional[str] = ..., old: _Optional[str] = ..., new: _Optional[str] = ...) -> None: ...

class Revision(_message.Message):
    __slots__ = ("revision", "commit_time", "bank", "action", "actor", "reason", "file_name", "file_sha256", "added_entries", "withdrawn_entries", "changed_entries", "setting_changes", "settings_unknown")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    COMMIT_TIME_FIELD_NUMBER: _ClassVar[int]
    BANK_FIELD_NUMBER: _ClassVar[int]
    ACTION_FIELD_NUMBER: _ClassVar[int]
    ACTOR_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FILE_NAME_FIELD_NUMBER: _ClassVar[int]
    FILE_SHA256_FIELD_NUMBER: _ClassVar[int]
    ADDED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    CHANGED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SETTING_CHANGES_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    revision: int
    commit_time: _timestamp_pb2.Timestamp
    bank: str
    action: str
    actor: str
    reason: str
    file_name: str
    file_sha256: str
    added_entries: int
    withdrawn_entries: int
    changed_entries: int
    setting_changes: _containers.RepeatedCompositeFieldContainer[SettingChange]
    settings_unknown: bool
    def __init__(self, revision: _Optional[int] = ..., commit_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., bank: _Optional[str] = ..., action: _Optional[str] = ..., actor: _Optional[str] = ..., reason: _Optional[str] = ..., file_name: _Optional[str] = ..., file_sha256: _Optional[str] = ..., added_entries: _Optional[int] = ..., withdrawn_entries: _Optional[int] = ..., changed_entries: _Optional[int] = ..., setting_changes: _Optional[_Iterable[_Union[SettingChange, _Mapping]]] = ..., settings_unknown: _Optional[bool] = ...) -> None: ...

class ListRevisionsRequest(_message.Message):
    __slots__ = ("parent", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListRevisionsResponse(_message.Message):
    __slots__ = ("revisions", "next_page_token")
    REVISIONS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    revisions: _containers.RepeatedCompositeFieldContainer[Revision]
    next_page_token: str
    def __init__(self, revisions: _Optional[_Iterable[_Union[Revision, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class DiffRevisionsRequest(_message.Message):
    __slots__ = ("parent", "from_revision", "to_revision", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FROM_REVISION_FIELD_NUMBER: _ClassVar[int]
    TO_REVISION_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    from_revision: int
    to_revision: int
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., from_revision: _Optional[int] = ..., to_revision: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class DiffRevisionsResponse(_message.Message):
    __slots__ = ("changes", "next_page_token", "total_changes", "setting_changes", "settings_unknown")
    class Change(_message.Message):
        __slots__ = ("kind", "entry", "changed_fields", "older")
        class Kind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
            __slots__ = ()
            KIND_UNSPECIFIED: _ClassVar[DiffRevisionsResponse.Change.Kind]
            KIND_ADDED: _ClassVar[DiffRevisionsResponse.Change.Kind]
            KIND_WITHDRAWN: _ClassVar[DiffRevisionsResponse.Change.Kind]
            KIND_CHANGED: _ClassVar[DiffRevisionsResponse.Change.Kind]
        KIND_UNSPECIFIED: DiffRevisionsResponse.Change.Kind
        KIND_ADDED: DiffRevisionsResponse.Change.Kind
        KIND_WITHDRAWN: DiffRevisionsResponse.Change.Kind
        KIND_CHANGED: DiffRevisionsResponse.Change.Kind
        KIND_FIELD_NUMBER: _ClassVar[int]
        ENTRY_FIELD_NUMBER: _ClassVar[int]
        CHANGED_FIELDS_FIELD_NUMBER: _ClassVar[int]
        OLDER_FIELD_NUMBER: _ClassVar[int]
        kind: DiffRevisionsResponse.Change.Kind
        entry: Entry
        changed_fields: _containers.RepeatedScalarFieldContainer[str]
        older: Entry
        def __init__(self, kind: _Optional[_Union[DiffRevisionsResponse.Change.Kind, str]] = ..., entry: _Optional[_Union[Entry, _Mapping]] = ..., changed_fields: _Optional[_Iterable[str]] = ..., older: _Optional[_Union[Entry, _Mapping]] = ...) -> None: ...
    CHANGES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    TOTAL_CHANGES_FIELD_NUMBER: _ClassVar[int]
    SETTING_CHANGES_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    changes: _containers.RepeatedCompositeFieldContainer[DiffRevisionsResponse.Change]
    next_page_token: str
    total_changes: int
    setting_changes: _containers.RepeatedCompositeFieldContainer[SettingChange]
    settings_unknown: bool
    def __init__(self, changes: _Optional[_Iterable[_Union[DiffRevisionsResponse.Change, _Mapping]]] = ..., next_page_token: _Optional[str] = ..., total_changes: _Optional[int] = ..., setting_changes: _Optional[_Iterable[_Union[SettingChange, _Mapping]]] = ..., settings_unknown: _Optional[bool] = ...) -> None: ...

class RollbackBankRequest(_message.Message):
    __slots__ = ("name", "revision", "dry_run", "etag", "context")
    NAME_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    DRY_RUN_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    name: str
    revision: int
    dry_run: bool
    etag: str
    context: ChangeContext
    def __init__(self, name: _Optional[str] = ..., revision: _Optional[int] = ..., dry_run: _Optional[bool] = ..., etag: _Optional[str] = ..., context: _Optional[_Union[ChangeContext, _Mapping]] = ...) -> None: ...

class RollbackBankResponse(_message.Message):
    __slots__ = ("revision", "restored_entries", "withdrawn_entries", "setting_changes", "settings_unknown")
    REVISION_FIELD_NUMBER: _ClassVar[int]
    RESTORED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SETTING_CHANGES_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_UNKNOWN_FIELD_NUMBER: _ClassVar[int]
    revision: int
    restored_entries: int
    withdrawn_entries: int
    setting_changes: _containers.RepeatedCompositeFieldContainer[SettingChange]
    settings_unknown: bool
    def __init__(self, revision: _Optional[int] = ..., restored_entries: _Optional[int] = ..., withdrawn_entries: _Optional[int] = ..., setting_changes: _Optional[_Iterable[_Union[SettingChange, _Mapping]]] = ..., settings_unknown: _Optional[bool] = ...) -> None: ...

class EvaluateOptions(_message.Message):
    __slots__ = ("name", "algorithm", "max_false_match_rate", "max_noisy_entries")
    NAME_FIELD_NUMBER: _ClassVar[int]
    ALGORITHM_FIELD_NUMBER: _ClassVar[int]
    MAX_FALSE_MATCH_RATE_FIELD_NUMBER: _ClassVar[int]
    MAX_NOISY_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    name: str
    algorithm: str
    max_false_match_rate: float
    max_noisy_entries: int
    def __init__(self, name: _Optional[str] = ..., algorithm: _Optional[str] = ..., max_false_match_rate: _Optional[float] = ..., max_noisy_entries: _Optional[int] = ...) -> None: ...

class Sample(_message.Message):
    __slots__ = ("content", "signal", "positive")
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    POSITIVE_FIELD_NUMBER: _ClassVar[int]
    content: _types_pb2.Content
    signal: _types_pb2.Signal
    positive: bool
    def __init__(self, content: _Optional[_Union[_types_pb2.Content, _Mapping]] = ..., signal: _Optional[_Union[_types_pb2.Signal, _Mapping]] = ..., positive: _Optional[bool] = ...) -> None: ...

class EvaluateBankRequest(_message.Message):
    __slots__ = ("options", "sample")
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    SAMPLE_FIELD_NUMBER: _ClassVar[int]
    options: EvaluateOptions
    sample: Sample
    def __init__(self, options: _Optional[_Union[EvaluateOptions, _Mapping]] = ..., sample: _Optional[_Union[Sample, _Mapping]] = ...) -> None: ...

class EvaluateBankResponse(_message.Message):
    __slots__ = ("positive_histogram", "negative_histogram", "step", "thresholds", "suggested_threshold", "bank_threshold", "noisy_entries", "unreadable_samples", "low_quality_samples", "noisy_entry_count")
    class Threshold(_message.Message):
        __slots__ = ("threshold", "recall", "recall_low", "recall_high", "false_match_rate", "false_match_rate_low", "false_match_rate_high")
        THRESHOLD_FIELD_NUMBER: _ClassVar[int]
        RECALL_FIELD_NUMBER: _ClassVar[int]
        RECALL_LOW_FIELD_NUMBER: _ClassVar[int]
        RECALL_HIGH_FIELD_NUMBER: _ClassVar[int]
        FALSE_MATCH_RATE_FIELD_NUMBER: _ClassVar[int]
        FALSE_MATCH_RATE_LOW_FIELD_NUMBER: _ClassVar[int]
        FALSE_MATCH_RATE_HIGH_FIELD_NUMBER: _ClassVar[int]
        threshold: float
        recall: float
        recall_low: float
        recall_high: float
        false_match_rate: float
        false_match_rate_low: float
        false_match_rate_high: float
        def __init__(self, threshold: _Optional[float] = ..., recall: _Optional[float] = ..., recall_low: _Optional[float] = ..., recall_high: _Optional[float] = ..., false_match_rate: _Optional[float] = ..., false_match_rate_low: _Optional[float] = ..., false_match_rate_high: _Optional[float] = ...) -> None: ...
    class NoisyEntry(_message.Message):
        __slots__ = ("entry", "matches")
        ENTRY_FIELD_NUMBER: _ClassVar[int]
        MATCHES_FIELD_NUMBER: _ClassVar[int]
        entry: Entry
        matches: int
        def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., matches: _Optional[int] = ...) -> None: ...
    POSITIVE_HISTOGRAM_FIELD_NUMBER: _ClassVar[int]
    NEGATIVE_HISTOGRAM_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    THRESHOLDS_FIELD_NUMBER: _ClassVar[int]
    SUGGESTED_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    BANK_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    NOISY_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    UNREADABLE_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    LOW_QUALITY_SAMPLES_FIELD_NUMBER: _ClassVar[int]
    NOISY_ENTRY_COUNT_FIELD_NUMBER: _ClassVar[int]
    positive_histogram: _containers.RepeatedScalarFieldContainer[int]
    negative_histogram: _containers.RepeatedScalarFieldContainer[int]
    step: float
    thresholds: _containers.RepeatedCompositeFieldContainer[EvaluateBankResponse.Threshold]
    suggested_threshold: float
    bank_threshold: float
    noisy_entries: _containers.RepeatedCompositeFieldContainer[EvaluateBankResponse.NoisyEntry]
    unreadable_samples: int
    low_quality_samples: int
    noisy_entry_count: int
    def __init__(self, positive_histogram: _Optional[_Iterable[int]] = ..., negative_histogram: _Optional[_Iterable[int]] = ..., step: _Optional[float] = ..., thresholds: _Optional[_Iterable[_Union[EvaluateBankResponse.Threshold, _Mapping]]] = ..., suggested_threshold: _Optional[float] = ..., bank_threshold: _Optional[float] = ..., noisy_entries: _Optional[_Iterable[_Union[EvaluateBankResponse.NoisyEntry, _Mapping]]] = ..., unreadable_samples: _Optional[int] = ..., low_quality_samples: _Optional[int] = ..., noisy_entry_count: _Optional[int] = ...) -> None: ...

class CompareBanksRequest(_message.Message):
    __slots__ = ("name", "other", "max_pairs", "page_token")
    NAME_FIELD_NUMBER: _ClassVar[int]
    OTHER_FIELD_NUMBER: _ClassVar[int]
    MAX_PAIRS_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    name: str
    other: str
    max_pairs: int
    page_token: str
    def __init__(self, name: _Optional[str] = ..., other: _Optional[str] = ..., max_pairs: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class CompareBanksResponse(_message.Message):
    __slots__ = ("entries", "shared_entries", "other_entries", "pairs", "next_page_token")
    class Pair(_message.Message):
        __slots__ = ("entry", "other")
        ENTRY_FIELD_NUMBER: _ClassVar[int]
        OTHER_FIELD_NUMBER: _ClassVar[int]
        entry: Entry
        other: Entry
        def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., other: _Optional[_Union[Entry, _Mapping]] = ...) -> None: ...
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    SHARED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    OTHER_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    PAIRS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    entries: int
    shared_entries: int
    other_entries: int
    pairs: _containers.RepeatedCompositeFieldContainer[CompareBanksResponse.Pair]
    next_page_token: str
    def __init__(self, entries: _Optional[int] = ..., shared_entries: _Optional[int] = ..., other_entries: _Optional[int] = ..., pairs: _Optional[_Iterable[_Union[CompareBanksResponse.Pair, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class QuarantineEntriesRequest(_message.Message):
    __slots__ = ("parent", "names", "context")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    parent: str
    names: _containers.RepeatedScalarFieldContainer[str]
    context: ChangeContext
    def __init__(self, parent: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., context: _Optional[_Union[ChangeContext, _Mapping]] = ...) -> None: ...

class QuarantineEntriesResponse(_message.Message):
    __slots__ = ("changed_entries", "revision")
    CHANGED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    changed_entries: int
    revision: int
    def __init__(self, changed_entries: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class ReleaseEntriesRequest(_message.Message):
    __slots__ = ("parent", "names", "context")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    parent: str
    names: _containers.RepeatedScalarFieldContainer[str]
    context: ChangeContext
    def __init__(self, parent: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., context: _Optional[_Union[ChangeContext, _Mapping]] = ...) -> None: ...

class ReleaseEntriesResponse(_message.Message):
    __slots__ = ("changed_entries", "revision")
    CHANGED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    changed_entries: int
    revision: int
    def __init__(self, changed_entries: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class RestoreEntriesRequest(_message.Message):
    __slots__ = ("parent", "names", "context")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    parent: str
    names: _containers.RepeatedScalarFieldContainer[str]
    context: ChangeContext
    def __init__(self, parent: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., context: _Optional[_Union[ChangeContext, _Mapping]] = ...) -> None: ...

class RestoreEntriesResponse(_message.Message):
    __slots__ = ("restored_entries", "unlisted_entries", "revision")
    RESTORED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    UNLISTED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    restored_entries: int
    unlisted_entries: int
    revision: int
    def __init__(self, restored_entries: _Optional[int] = ..., unlisted_entries: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class EditEntriesRequest(_message.Message):
    __slots__ = ("parent", "names", "add_labels", "remove_labels", "note", "opinion", "expire_time", "never_expires", "reset", "context")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    ADD_LABELS_FIELD_NUMBER: _ClassVar[int]
    REMOVE_LABELS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    OPINION_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    NEVER_EXPIRES_FIELD_NUMBER: _ClassVar[int]
    RESET_FIELD_NUMBER: _ClassVar[int]
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    parent: str
    names: _containers.RepeatedScalarFieldContainer[str]
    add_labels: _containers.RepeatedScalarFieldContainer[str]
    remove_labels: _containers.RepeatedScalarFieldContainer[str]
    note: str
    opinion: Opinion
    expire_time: _timestamp_pb2.Timestamp
    never_expires: bool
    reset: _containers.RepeatedScalarFieldContainer[str]
    context: ChangeContext
    def __init__(self, parent: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ..., add_labels: _Optional[_Iterable[str]] = ..., remove_labels: _Optional[_Iterable[str]] = ..., note: _Optional[str] = ..., opinion: _Optional[_Union[Opinion, str]] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., never_expires: _Optional[bool] = ..., reset: _Optional[_Iterable[str]] = ..., context: _Optional[_Union[ChangeContext, _Mapping]] = ...) -> None: ...

class EditEntriesResponse(_message.Message):
    __slots__ = ("edited_entries", "revision")
    EDITED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    edited_entries: int
    revision: int
    def __init__(self, edited_entries: _Optional[int] = ..., revision: _Optional[int] = ...) -> None: ...

class ListMatchCountsRequest(_message.Message):
    __slots__ = ("parent", "days", "max_entries", "page_size", "page_token")
    PARENT_FIELD_NUMBER: _ClassVar[int]
    DAYS_FIELD_NUMBER: _ClassVar[int]
    MAX_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    PAGE_SIZE_FIELD_NUMBER: _ClassVar[int]
    PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    parent: str
    days: int
    max_entries: int
    page_size: int
    page_token: str
    def __init__(self, parent: _Optional[str] = ..., days: _Optional[int] = ..., max_entries: _Optional[int] = ..., page_size: _Optional[int] = ..., page_token: _Optional[str] = ...) -> None: ...

class ListMatchCountsResponse(_message.Message):
    __slots__ = ("matches", "matched_entries", "median_matches", "entries", "next_page_token")
    class Count(_message.Message):
        __slots__ = ("entry", "matches", "total")
        class MatchesEntry(_message.Message):
            __slots__ = ("key", "value")
            KEY_FIELD_NUMBER: _ClassVar[int]
            VALUE_FIELD_NUMBER: _ClassVar[int]
            key: str
            value: int
            def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
        ENTRY_FIELD_NUMBER: _ClassVar[int]
        MATCHES_FIELD_NUMBER: _ClassVar[int]
        TOTAL_FIELD_NUMBER: _ClassVar[int]
        entry: Entry
        matches: _containers.ScalarMap[str, int]
        total: int
        def __init__(self, entry: _Optional[_Union[Entry, _Mapping]] = ..., matches: _Optional[_Mapping[str, int]] = ..., total: _Optional[int] = ...) -> None: ...
    class MatchesEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    MATCHES_FIELD_NUMBER: _ClassVar[int]
    MATCHED_ENTRIES_FIELD_NUMBER: _ClassVar[int]
    MEDIAN_MATCHES_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    matches: _containers.ScalarMap[str, int]
    matched_entries: int
    median_matches: float
    entries: _containers.RepeatedCompositeFieldContainer[ListMatchCountsResponse.Count]
    next_page_token: str
    def __init__(self, matches: _Optional[_Mapping[str, int]] = ..., matched_entries: _Optional[int] = ..., median_matches: _Optional[float] = ..., entries: _Optional[_Iterable[_Union[ListMatchCountsResponse.Count, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
