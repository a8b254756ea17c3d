"""The errors that featsvc raises.

    FeatsvcError
    ├── InvalidInput            the request is wrong; the same request fails again
    │   ├── MediaCorrupt        a supported format that does not decode
    │   ├── MediaTooLarge       more bytes, pixels or frames than the limits allow
    │   ├── MessageTooLarge     a message of more bytes than the server takes
    │   ├── UnsupportedMedia    not a supported picture format
    │   ├── InvalidSignal       a hash of the wrong length or alphabet
    │   └── UnknownAlgorithm    no algorithm or model of that name
    ├── NotFound                no such bank, entry or revision
    ├── AlreadyExists           the bank id is taken
    ├── Conflict                changed by another caller, or not allowed in this state
    ├── Refused                 it would do more harm than the caller has allowed by an option
    ├── Overloaded              the queue is full; retry later
    ├── Unavailable             a store or the service cannot be reached; retry later
    ├── TimedOut                the time limit passed before the work was done
    ├── ConfigInvalid           a configuration or definition file is wrong
    └── DataCorrupt             stored data fails its checks

A message says what is wrong, where, and what to do. It never contains content or URLs.
`featsvc.service.status` maps each class to its gRPC status.
"""

from collections.abc import Mapping
from typing import Self

_SHOWN_CHARS = 64


def shown(text: str) -> str:
    """Cut to 64 characters for a message."""
    return text if len(text) <= _SHOWN_CHARS else text[: _SHOWN_CHARS - 3] + "..."


class FeatsvcError(Exception):
    """Base class.

    `reason` is a stable UPPER_SNAKE word for programs (`ErrorInfo.reason`), `field` the path of
    the request field at fault or empty, `metadata` further facts as text.
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

    @classmethod
    def at(cls, field: str, problem: str) -> Self:
        """Make the error of a request field, with the message "FIELD: PROBLEM"."""
        return cls(f"{field}: {problem}", field=field)


class MediaCorrupt(InvalidInput):
    reason = "MEDIA_CORRUPT"


class MediaTooLarge(InvalidInput):
    reason = "MEDIA_TOO_LARGE"


class MessageTooLarge(InvalidInput):
    reason = "MESSAGE_TOO_LARGE"


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


class Refused(FeatsvcError):
    """A change that may be a mistake; the message names the option that allows it."""

    reason = "REFUSED"


class Overloaded(FeatsvcError):
    """The queue is full. `retry_after_ms` is advice, not a promise."""

    reason = "OVERLOADED"

    def __init__(self, message: str, *, retry_after_ms: int = 100) -> None:
        super().__init__(message)
        self.retry_after_ms = retry_after_ms


class Unavailable(FeatsvcError):
    """A store or the service cannot be reached. `retry_after_ms` is advice, not a promise."""

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
