"""All models of this server behind one door: classical at once, learned through the batcher."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import MappingProxyType

from featsvc.embedding.batching import BatchingOptions, MicroBatcher, ModelQueue
from featsvc.embedding.classical import CLASSICAL, QUALITY_FLOOR, embed_classical
from featsvc.embedding.learned import Inference, OnnxEmbedder
from featsvc.embedding.models import Embedding, Model, Score
from featsvc.errors import ConfigInvalid, InvalidInput, UnknownAlgorithm
from featsvc.media import Image

MAX_MODELS_PER_REQUEST = 16
_SHOWN_CHARS = 64


@dataclass(frozen=True, slots=True, eq=False)
class PictureEmbeddings:
    """What the models made of one picture, in the order they were asked for.

    `reason` says why the vectors are not to be relied on, or why one is missing; empty where all
    is well.
    """

    embeddings: tuple[Embedding, ...]
    scores: tuple[Score, ...]
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class PendingEmbeddings:
    """Models at work on one picture: the classical ones are done, the learned ones queued.

    `quality` is PDQ's, None where no classical one was asked for.
    """

    models: tuple[Model, ...]
    done: Mapping[str, Inference]
    queued: Mapping[str, Future[Inference]]
    reason: str
    quality: int | None

    async def finish(self) -> PictureEmbeddings:
        """Wait for the learned models. Raises what they raise; nothing is left running."""
        try:
            await asyncio.gather(*map(asyncio.wrap_future, self.queued.values()))
        finally:
            self.cancel()
        return self.result()

    def cancel(self) -> None:
        """Take back what is still queued."""
        for future in self.queued.values():
            future.cancel()

    def result(self, models: Sequence[Model] | None = None) -> PictureEmbeddings:
        """What all of them made, or those of `models`, once none of these is at work any more."""
        wanted = self.models if models is None else models
        names = {model.name for model in wanted}
        learned = {n: future.result() for n, future in self.queued.items() if n in names}
        given = {**self.done, **learned}
        embeddings, scores, reason = [], [], self.reason
        for model in wanted:
            inference = given[model.name]
            if inference.vector is not None:
                embeddings.append(Embedding(model.id, inference.vector))
            elif model.dimensions:
                reason = reason or f"the picture is flat to {model.id}: it gives no vector"
            scores += [
                Score(model.id, label, score)
                for label, score in zip(model.labels, inference.scores, strict=True)
            ]
        return PictureEmbeddings(tuple(embeddings), tuple(scores), reason)


class Embedder:
    """The classical models, and the learned ones it was given."""

    def __init__(
        self, learned: Sequence[OnnxEmbedder] = (), options: BatchingOptions | None = None
    ) -> None:
        """Raises ConfigInvalid where a learned model bears a classical one's name."""
        if taken := [one.model.name for one in learned if one.model.name in CLASSICAL]:
            raise ConfigInvalid(
                f"models: {taken[0]} is the name of a built-in model; choose another"
            )
        self._learned = {one.model.name: one for one in learned}
        self.models: Mapping[str, Model] = MappingProxyType(
            {**CLASSICAL, **{name: one.model for name, one in self._learned.items()}}
        )
        """By name, in the order they are listed."""
        self._batcher = MicroBatcher(options or BatchingOptions(1)) if learned else None
        self._lanes: dict[str, ModelQueue[Inference]] = {}
        if self._batcher is not None:
            for name, one in self._learned.items():
                self._lanes[name] = self._batcher.add(
                    one.run, row_s=one.row_s, max_batch=one.max_batch
                )

    def served(self, model_id: str) -> Model | None:
        """By name and version; None where this server has no such vectors."""
        model = self.models.get(model_id.partition("@")[0])
        return model if model and model.id == model_id and model.dimensions else None

    def select(self, names: Iterable[str]) -> tuple[Model, ...]:
        """Models by name, or by name and version as in `pdqf@1`; a repeated one counts once.

        Raises InvalidInput (none, too many), UnknownAlgorithm (also for another version).
        """
        wanted = tuple(dict.fromkeys(name.strip().lower() for name in names))
        if not 0 < len(wanted) <= MAX_MODELS_PER_REQUEST:
            raise InvalidInput(
                f"models: {len(wanted)} named, wanted are 1 to {MAX_MODELS_PER_REQUEST}",
                field="models",
            )
        return tuple(dict.fromkeys(map(self._get, wanted)))

    def _get(self, name: str) -> Model:
        model = self.models.get(name.partition("@")[0])
        if model is None or name not in (model.name, model.id):
            known = ", ".join(one.id for one in self.models.values())
            shown = name if len(name) <= _SHOWN_CHARS else name[: _SHOWN_CHARS - 3] + "..."
            raise UnknownAlgorithm(
                f"models: unknown model {shown!r}; served are {known}. Learned models are "
                "declared in embed.models_file and need the extra featsvc[embed]",
                field="models",
            )
        return model

    def start(self, image: Image, models: Sequence[Model]) -> PendingEmbeddings:
        """Compute the classical ones on this thread, prepare and queue the learned ones.

        Raises Overloaded where a learned one would be late; nothing is left queued then.
        """
        done: dict[str, Inference] = {}
        reason = ""
        quality = None
        if classical := [model.name for model in models if model.name in CLASSICAL]:
            vectors, quality = embed_classical(image.pixels, classical)
            done = {name: Inference(vector, ()) for name, vector in vectors.items()}
            if quality < QUALITY_FLOOR:
                reason = (
                    f"the picture's quality {quality} is under the floor of {QUALITY_FLOOR}: too "
                    "little structure to compare its vectors"
                )
        queued: dict[str, Future[Inference]] = {}
        try:
            for model in models:
                if self._batcher is not None and model.name in self._learned:
                    row = self._learned[model.name].preprocessing.apply(image.pixels)
                    queued[model.name] = self._batcher.submit(self._lanes[model.name], row)
        except BaseException:
            for future in queued.values():
                future.cancel()
            raise
        return PendingEmbeddings(tuple(models), done, queued, reason, quality)

    def close(self) -> None:
        """Cancel what waits, finish what runs."""
        if self._batcher is not None:
            self._batcher.close()
