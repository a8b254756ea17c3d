"""Errors among the replies of a server."""

from collections.abc import Iterable

from redis.exceptions import NoPermissionError, RedisError

from featsvc.accounts.pipelining import Reply
from featsvc.errors import DataCorrupt, Unavailable


def is_wrong_type(reply: Reply) -> bool:
    """Return whether a key does not have the type that this program gives it."""
    return isinstance(reply, RedisError) and str(reply).startswith("WRONGTYPE")


_DAMAGES = ("DAMAGED", "user_script:")
"""How the script's own errors begin; the second is an error of Lua, for fields it cannot unpack."""


def is_damage(reply: Reply) -> bool:
    """Return whether the error concerns the state of one entity only."""
    return is_wrong_type(reply) or (
        isinstance(reply, RedisError) and str(reply).startswith(_DAMAGES)
    )


def raise_errors(replies: Iterable[Reply]) -> None:
    """Raise the first error among the replies as DataCorrupt or Unavailable."""
    for reply in replies:
        if isinstance(reply, RedisError):
            message = f"Redis: {reply}"
            if is_wrong_type(reply):
                raise DataCorrupt(f"{message}; check that no other program uses the namespace")
            if isinstance(reply, NoPermissionError):
                message += "; grant the ACL user the rights listed in docs/features.md"
            raise Unavailable(message)
