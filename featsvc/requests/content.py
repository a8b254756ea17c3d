"""Content of either kind: files (bytes) and text (str); each has hashes that the other has not."""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import TypeAlias

from featsvc.hashing.content import hash_content
from featsvc.hashing.variants import MakeVariants, make_original
from featsvc.media import DecodeOptions, Limits
from featsvc.signals.algorithms import DEFAULT_ALGORITHMS, DEFAULT_TEXT_ALGORITHMS, get_algorithm
from featsvc.signals.hashes import ContentHashes
from featsvc.signals.text import hash_text

Content: TypeAlias = bytes | str


def hash_any(
    content: Content,
    algorithms: Sequence[str],
    options: DecodeOptions,
    limits: Limits,
    variants: MakeVariants = make_original,
    *,
    parts: bool = False,
) -> ContentHashes:
    """`hash_text` or `hash_content`; `parts` is for texts, the other options are for pictures."""
    if isinstance(content, str):
        return hash_text(content, algorithms, parts=parts)
    return hash_content(content, algorithms, options, limits, variants)


def default_algorithms(content: Content, held: Iterable[str] = ()) -> tuple[str, ...]:
    """The default set, and what else of such content the banks hold and this build computes."""
    return _default_names(isinstance(content, str), tuple(held))


@lru_cache(maxsize=64)
def _default_names(text: bool, held: tuple[str, ...]) -> tuple[str, ...]:
    named = DEFAULT_TEXT_ALGORITHMS if text else DEFAULT_ALGORITHMS
    kinds = (get_algorithm(name) for name in held if name not in named)
    return (*named, *(k.name for k in kinds if (k.of_texts if text else k.of_files)))
