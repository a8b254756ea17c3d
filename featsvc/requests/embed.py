"""Embed: vectors and scores of a picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from featsvc.embedding import Model, PendingEmbeddings, PictureEmbeddings
from featsvc.errors import InvalidInput, UnsupportedMedia
from featsvc.media import DecodeOptions, decode
from featsvc.requests.runtime import Runtime
from featsvc.signals.hashes import ContentOutcome, MediaInfo


@dataclass(frozen=True, slots=True)
class EmbedResult:
    """Vectors and scores; `embedded` and `media` are None where the content is not a picture."""

    outcome: ContentOutcome
    reason: str
    media: MediaInfo | None
    embedded: PictureEmbeddings | None


async def embed(
    runtime: Runtime, content: bytes, models: Sequence[str], options: DecodeOptions
) -> EmbedResult:
    """Compute vectors and scores of a picture, or of the first frame of an animation.

    One hop to the pool decodes and preprocesses; learned models then run on their own threads.
    Raises what `Embedder.select`, `decode` and the models raise.
    """
    selected = runtime.embedder.select(models)

    def job() -> tuple[MediaInfo, PendingEmbeddings]:
        image = decode(content, options, runtime.limits)
        media = MediaInfo(image.media_type, image.width, image.height, image.frames)
        return media, runtime.embedder.start(image, selected)

    try:
        (media, pending), _ = await runtime.pool.run(job)
    except UnsupportedMedia as exc:
        return EmbedResult(ContentOutcome.UNSUPPORTED_MEDIA, str(exc), None, None)
    embedded = await pending.finish()
    outcome = ContentOutcome.LOW_QUALITY if embedded.reason else ContentOutcome.OK
    return EmbedResult(outcome, embedded.reason, media, embedded)


def select_classifiers(runtime: Runtime, names: Sequence[str]) -> Sequence[Model]:
    """Look up models by name. Raises InvalidInput for a model without scores."""
    models = runtime.embedder.select(names) if names else ()
    for model in models:
        if not model.labels:
            raise InvalidInput(
                f"models: {model.id} has no scores; call Embed for its vector", field="models"
            )
    return models
