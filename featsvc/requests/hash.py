"""Hash: signals of content, as an entry stores them."""

from collections.abc import Sequence
from dataclasses import replace

from featsvc.errors import InvalidInput, MediaCorrupt, MediaTooLarge, TimedOut
from featsvc.hashing.content import Content, hash_any
from featsvc.hashing.variants import VariantMaker, make_original
from featsvc.media import DecodeOptions
from featsvc.requests.plan import default_algorithms, plan_named
from featsvc.requests.runtime import Runtime
from featsvc.requests.signals import start_signals
from featsvc.signals.algorithms import DEFAULT_ALGORITHMS
from featsvc.signals.hashes import ContentHashes
from featsvc.signals.signal import Signal
from featsvc.signals.text import STORED_ALGORITHMS


async def compute_hashes(
    runtime: Runtime,
    content: Content,
    algorithms: Sequence[str],
    decode: DecodeOptions,
    variants: VariantMaker = make_original,
) -> ContentHashes:
    """Hash content by `algorithms`, or by the default set where there are none."""
    names = tuple(algorithms) or default_algorithms(content)
    hashes, _ = await runtime.pool.run(
        lambda: hash_any(content, names, decode, runtime.limits, variants, parts=True)
    )
    return hashes


async def describe(
    runtime: Runtime,
    content: Content,
    algorithms: Sequence[str],
    variants: VariantMaker = make_original,
    *,
    field: str,
) -> tuple[Signal, ...]:
    """Compute hashes of the variants, and vectors of the original, to store or compare.

    Raises what `start_signals` raises; MediaCorrupt, MediaTooLarge and TimedOut for a picture that
    does not decode; InvalidInput where a named vector is missing.
    """
    plan = plan_named(runtime.embedder, algorithms)
    plan = replace(plan, variants=variants, must_decode=True)
    pending, _ = await runtime.pool.run(
        lambda: start_signals(content, plan, DecodeOptions(), runtime.limits, runtime.embedder)
    )
    await pending.finish()
    pending.check_vectors(field)
    return pending.signals


async def describe_entry(
    runtime: Runtime,
    content: Content,
    models: Sequence[str],
    variants: VariantMaker,
    *,
    field: str,
) -> Sequence[Signal]:
    """Compute the signals of content that a curator adds; for a short phrase only its digest.

    A picture that does not decode is refused: an entry of its byte hashes alone would find no
    edited copy, and nobody would know. Raises what `describe` raises, and InvalidInput for a text
    with `models`.
    """
    if isinstance(content, bytes):
        names = (*DEFAULT_ALGORITHMS, *models)
        try:
            return await describe(runtime, content, names, variants, field=field)
        except (MediaCorrupt, MediaTooLarge, TimedOut) as exc:
            message = f"{field}: {exc}; to find equal files only, add its md5 and sha256 as signals"
            raise type(exc)(message, field=field, metadata=exc.metadata) from exc
    if models:
        raise InvalidInput(f"{field}: a text has no vectors; leave vector_models out", field=field)
    return (await compute_hashes(runtime, content, STORED_ALGORITHMS, DecodeOptions())).signals
