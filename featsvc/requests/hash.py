"""Hash: content in, signals out, as an entry would hold them."""

from collections.abc import Sequence
from dataclasses import replace

from featsvc.errors import InvalidInput
from featsvc.hashing.variants import MakeVariants, make_original
from featsvc.media import DecodeOptions
from featsvc.requests.content import Content, default_algorithms, hash_any
from featsvc.requests.plan import plan_named
from featsvc.requests.runtime import Runtime
from featsvc.requests.signals import make_signals
from featsvc.signals.algorithms import DEFAULT_ALGORITHMS
from featsvc.signals.hashes import ContentHashes
from featsvc.signals.signal import Signal
from featsvc.signals.text import STORED_ALGORITHMS


async def compute_hashes(
    runtime: Runtime,
    content: Content,
    algorithms: Sequence[str],
    decode: DecodeOptions,
    variants: MakeVariants = make_original,
) -> ContentHashes:
    """Signals of one piece of content, as an entry would hold them; no algorithms means the
    default set."""
    wanted = tuple(algorithms) or default_algorithms(content)
    hashes, _ = await runtime.pool.run(
        lambda: hash_any(content, wanted, decode, runtime.limits, variants, parts=True)
    )
    return hashes


async def describe(
    runtime: Runtime,
    content: Content,
    algorithms: Sequence[str],
    variants: MakeVariants = make_original,
    *,
    field: str,
) -> tuple[Signal, ...]:
    """Hashes and vectors of content to be stored or compared; vectors of the original.

    Raises what `make_signals` does, and InvalidInput where a vector that was named is missing.
    """
    plan = replace(plan_named(runtime.embedder, algorithms), variants=variants)
    made, _ = await runtime.pool.run(
        lambda: make_signals(content, plan, DecodeOptions(), runtime.limits, runtime.embedder)
    )
    await made.finish()
    made.check_vectors(field)
    return made.signals


async def describe_entry(
    runtime: Runtime,
    content: Content,
    models: Sequence[str],
    variants: MakeVariants,
    *,
    field: str,
) -> Sequence[Signal]:
    """What an entry is given of content that a curator adds; of a phrase only its digest.

    Raises what `describe` does, and InvalidInput for a text with `models`.
    """
    if isinstance(content, bytes):
        return await describe(
            runtime, content, (*DEFAULT_ALGORITHMS, *models), variants, field=field
        )
    if models:
        raise InvalidInput(f"{field}: a text has no vectors of pictures", field=field)
    return (await compute_hashes(runtime, content, STORED_ALGORITHMS, DecodeOptions())).signals
