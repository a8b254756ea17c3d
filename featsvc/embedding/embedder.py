"""Run models on pictures: classical ones directly, learned ones through the batcher."""

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from types import MappingProxyType

from featsvc.embedding.batching import BatchingOptions, MicroBatcher, ModelQueue
from featsvc.embedding.classical import CLASSICAL, QUALITY_FLOOR, embed_classical
from featsvc.embedding.learned import Inference, OnnxEmbedder
from featsvc.embedding.models import Embedding, Model, Score
from featsvc.errors import ConfigInvalid, InvalidInput, UnknownAlgorithm, shown
from featsvc.media import Image

MAX_MODELS_PER_REQUEST = 16


@dataclass(frozen=True, slots=True, eq=False)
class PictureEmbeddings:
    """Vectors and scores of one picture, in the order of the models.

    `reason` says why the vectors are unreliable or one is missing; empty where neither is so.
    """

    embeddings: tuple[Embedding, ...]
    scores: tuple[Score, ...]
    reason: str


@dataclass(frozen=True, slots=True, eq=False)
class PendingEmbeddings:
    """Results of the classical models for one picture, and futures of the learned ones.

    `quality` is PDQ's, None without classical models.
    """

    models: tuple[Model, ...]
    done: Mapping[str, Inference]
    queued: Mapping[str, Future[Inference]]
    reason: str
    quality: int | None

    async def finish(self) -> PictureEmbeddings:
        """Wait for the learned models. Raises what they raise and cancels the others."""
        try:
            await asyncio.gather(*map(asyncio.wrap_future, self.queued.values()))
        finally:
            self.cancel()
        return self.result()

    def cancel(self) -> None:
        """Cancel what is still queued."""
        for future in self.queued.values():
            future.cancel()

    def result(self, models: Sequence[Model] | None = None) -> PictureEmbeddings:
        """Return the results of all models, or of `models`, each of which must be done."""
        selected = self.models if models is None else models
        embeddings, scores, reason = [], [], self.reason
        for model in selected:
            future = self.queued.get(model.name)
            inference = future.result() if future else self.done[model.name]
            if inference.vector is not None:
                embeddings.append(Embedding(model.id, inference.vector))
            elif model.dimensions:
                reason = reason or f"the picture is flat: {model.id} gives no vector"
            scores += [
                Score(model.id, label, score)
                for label, score in zip(model.labels, inference.scores, strict=True)
            ]
        return PictureEmbeddings(tuple(embeddings), tuple(scores), reason)


class Embedder:
    """Runs the classical models and the given learned ones."""

    def __init__(
        self, learned: Sequence[OnnxEmbedder] = (), options: BatchingOptions | None = None
    ) -> None:
        """Raises ConfigInvalid where a learned model has the name of a classical one."""
        self._learned = {embedder.model.name: embedder for embedder in learned}
        if taken := self._learned.keys() & CLASSICAL.keys():
            raise ConfigInvalid(
                f"models: {min(taken)} is the name of a built-in model; choose another"
            )
        self.models: Mapping[str, Model] = MappingProxyType(
            {**CLASSICAL, **{name: embedder.model for name, embedder in self._learned.items()}}
        )
        """By name, in the order of `ListAlgorithms`."""
        self._batcher = MicroBatcher(options or BatchingOptions(1)) if learned else None
        self._queues: dict[str, ModelQueue[Inference]] = {}
        if self._batcher is not None:
            for name, embedder in self._learned.items():
                self._queues[name] = self._batcher.add(
                    embedder.run, row_s=embedder.row_s, max_batch=embedder.max_batch
                )

    def served(self, model_id: str) -> Model | None:
        """Return the model of vectors with this name and version, or None."""
        model = self.models.get(model_id.partition("@")[0])
        return model if model and model.id == model_id and model.dimensions else None

    def select(self, names: Iterable[str]) -> tuple[Model, ...]:
        """Look up models by name, or by name and version as in `pdqf@1`; drops duplicates.

        Raises InvalidInput (none, too many), UnknownAlgorithm (also for another version).
        """
        unique = tuple(dict.fromkeys(name.strip().lower() for name in names))
        if not 0 < len(unique) <= MAX_MODELS_PER_REQUEST:
            raise InvalidInput(
                f"models: must name 1 to {MAX_MODELS_PER_REQUEST} models, not {len(unique)}",
                field="models",
            )
        return tuple(dict.fromkeys(map(self._get, unique)))

    def _get(self, name: str) -> Model:
        model = self.models.get(name.partition("@")[0])
        if model is None or name not in (model.name, model.id):
            served = ", ".join(model.id for model in self.models.values())
            raise UnknownAlgorithm(
                f"models: unknown model {shown(name)!r}; this server has {served}. Learned models "
                "are declared in embed.models_file and need the extra featsvc[embed]",
                field="models",
            )
        return model

    def start(self, image: Image, models: Sequence[Model]) -> PendingEmbeddings:
        """Compute classical vectors on this thread; preprocess and queue for learned models.

        Raises Overloaded where a learned model would be late, and cancels what it queued.
        """
        done: dict[str, Inference] = {}
        reason = ""
        quality = None
        if classical := [model.name for model in models if model.name in CLASSICAL]:
            vectors, quality = embed_classical(image.pixels, classical)
            done = {name: Inference(vector, ()) for name, vector in vectors.items()}
            if quality < QUALITY_FLOOR:
                reason = (
                    f"quality {quality} is below the floor of {QUALITY_FLOOR}: the picture has too "
                    "little structure to compare vectors"
                )
        queued: dict[str, Future[Inference]] = {}
        try:
            for model in models:
                if self._batcher is not None and model.name in self._learned:
                    row = self._learned[model.name].preprocessing.apply(image.pixels)
                    queued[model.name] = self._batcher.submit(self._queues[model.name], row)
        except BaseException:
            for future in queued.values():
                future.cancel()
            raise
        return PendingEmbeddings(tuple(models), done, queued, reason, quality)

    def close(self) -> None:
        """Cancel waiting rows and finish running batches."""
        if self._batcher is not None:
            self._batcher.close()
