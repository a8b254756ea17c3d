"""Compute vectors and classifier scores: classical models in Numba, learned ones through ONNX."""

from featsvc.embedding.batching import BatchingOptions
from featsvc.embedding.classical import CLASSICAL, GREY_SUFFICES, warm
from featsvc.embedding.embedder import Embedder, PendingEmbeddings, PictureEmbeddings
from featsvc.embedding.learned import OnnxEmbedder
from featsvc.embedding.model_file import ModelSpec, read_models
from featsvc.embedding.models import Embedding, Model, Score
from featsvc.embedding.preprocessing import Preprocessing

__all__ = [
    "CLASSICAL",
    "GREY_SUFFICES",
    "BatchingOptions",
    "Embedder",
    "Embedding",
    "Model",
    "ModelSpec",
    "OnnxEmbedder",
    "PendingEmbeddings",
    "PictureEmbeddings",
    "Preprocessing",
    "Score",
    "read_models",
    "warm",
]
