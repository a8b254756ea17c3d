"""Every error that featsvc raises on purpose, and nothing else.

    FeatsvcError
    ├── InvalidInput            the caller's request is wrong; the same request will fail again
    │   ├── MediaCorrupt        a known format that does not decode
    │   ├── MediaTooLarge       more bytes, pixels or frames than the limits allow
    │   ├── UnsupportedMedia    no picture format that is decoded here
    │   ├── InvalidSignal       a hash of the wrong length or alphabet
    │   └── UnknownAlgorithm    no such algorithm
    ├── NotFound                a bank, entry or revision that is not there
    ├── AlreadyExists           a bank id that is taken
    ├── Conflict                somebody else changed it first, or its state forbids this
    ├── Overloaded              no room to queue; try again later
    ├── Unavailable             a store or the service itself is away; try again later
    ├── TimedOut                the deadline passed before the answer was there
    ├── ConfigInvalid           a configuration or definition file is wrong: file, line, key
    └── DataCorrupt             stored data fails its checks

A message says what was wrong, where, and what to do. It never holds content bytes or URLs.
`featsvc.service.status` maps each class to its gRPC status in one table.
"""

from collections.abc import Mapping

_SHOWN_CHARS = 64


def shown(text: str) -> str:
    """Cut to 64 characters for a message."""
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


class FeatsvcError(Exception):
    """Base of the tree.

    `reason` is a stable UPPER_SNAKE word for programs (`ErrorInfo.reason`), `field` the path of
    the offending request field where there is one, `metadata` further facts as text.
    """

    reason = "INTERNAL"

    def __init__(
        self,
        message: str,
        *,
        reason: str | None = None,
        field: str = "",
        metadata: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        if reason is not None:
            self.reason = reason
        self.field = field
        self.metadata = dict(metadata or {})


class InvalidInput(FeatsvcError):
    reason = "INVALID_INPUT"


class MediaCorrupt(InvalidInput):
    reason = "MEDIA_CORRUPT"


class MediaTooLarge(InvalidInput):
    reason = "MEDIA_TOO_LARGE"


class UnsupportedMedia(InvalidInput):
    reason = "UNSUPPORTED_MEDIA"


class InvalidSignal(InvalidInput):
    reason = "INVALID_SIGNAL"


class UnknownAlgorithm(InvalidInput):
    reason = "UNKNOWN_ALGORITHM"


class NotFound(FeatsvcError):
    reason = "NOT_FOUND"


class AlreadyExists(FeatsvcError):
    reason = "ALREADY_EXISTS"


class Conflict(FeatsvcError):
    reason = "CONFLICT"


class Overloaded(FeatsvcError):
    """No room to queue. `retry_after_ms` is advice, not a promise."""

    reason = "OVERLOADED"

    def __init__(self, message: str, *, retry_after_ms: int = 100) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class Unavailable(FeatsvcError):
    """A store or the service itself is away. `retry_after_ms` is advice, not a promise."""

    reason = "UNAVAILABLE"

    def __init__(
        self, message: str, *, reason: str | None = None, retry_after_ms: int = 1000
    ) -> None:
        super().__init__(message, reason=reason)
        self.retry_after_ms = retry_after_ms


class TimedOut(FeatsvcError):
    reason = "TIMED_OUT"


class ConfigInvalid(FeatsvcError):
    reason = "CONFIG_INVALID"


class DataCorrupt(FeatsvcError):
    reason = "DATA_CORRUPT"
