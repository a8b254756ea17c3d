"""What makes two rows the same entry of a bank."""

import hashlib
from collections.abc import Sequence

from featsvc.banks.records import EntrySignal


def identity_of(external_id: str, signals: Sequence[EntrySignal]) -> str:
    """The `identity` of an entry; see `schema`."""
    if external_id:
        return "x" + external_id
    first = signals[0]
    if len(first.value) > 64:
        return f"s{first.algorithm}:{hashlib.blake2b(first.value, digest_size=32).hexdigest()}"
    return f"s{first.algorithm}:{first.value.hex()}"
