"""The engine that a model is asked for on, opened by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bezel.backends.embedded import EmbeddedBackend
from bezel.backends.embedding import EmbeddingBackend
from bezel.backends.loading import longest_context
from bezel.backends.native import NativeBackend
from bezel.catalog.memory import parse_memory
from bezel.errors import InvalidRequestError
from bezel.generation.sampling import whole
from bezel.kernels.library import checked_threads
from bezel.weights import embedded
from bezel.weights.checkpoint import open_checkpoint

if TYPE_CHECKING:
    from bezel.backends.openai import OpenAIBackend
    from bezel.backends.transformers import TransformersBackend

    AnyBackend = NativeBackend | EmbeddingBackend | TransformersBackend | OpenAIBackend


def open_backend(
    model: str = "tiny",
    level: str | None = None,
    context: int | None = None,
    threads: int | None = None,
    sequences: int = 8,
    draft: str | None = None,
    cache: str = "f16",
    size: str | Sequence[int] | None = None,
    fit: str | int | None = None,
    profile: str | None = None,
    mmproj: str | None = None,
    keep_towers: bool | None = None,
    backend: str = "native",
    base_url: str | None = None,
    api_key: str | None = None,
    device: str | None = None,
) -> AnyBackend:
    """See `bezel.load`, whose arguments and errors these are."""
    texts = {"level": level, "cache": cache, "profile": profile, "backend": backend, "device": device}
    texts |= {"draft": draft, "mmproj": mmproj, "base_url": base_url, "api_key": api_key}
    _check_texts({"model": model} | {name: text for name, text in texts.items() if text is not None})
    if draft == "":
        raise InvalidRequestError("draft is empty; name a smaller model, or leave it out")
    context = None if context is None else whole("context", context, 1)
    threads = None if threads is None else checked_threads(threads)
    sequences = whole("sequences", sequences, 1)
    own = {"threads": threads, "draft": draft, "size": size, "fit": fit, "profile": profile, "mmproj": mmproj}
    own |= {"cache": cache if cache != "f16" else None, "keep_towers": keep_towers}
    remote = {"base_url": base_url, "api_key": api_key}
    if backend == "native":
        _leave_out(backend, remote | {"device": device})
        embedding = EmbeddingBackend.load(model, level, context, threads)
        if embedding is not None:
            _leave_out("native, with a model that embeds,", own | {"threads": None})
            return embedding
        budget = _bytes(fit)
        asked = (model, level, context, threads, sequences, draft, cache, size, budget, profile, mmproj, keep_towers)
        if model != embedded.NAME or mmproj is not None:
            return NativeBackend.load(*asked)
        writes = EmbeddedBackend.load(*asked)
        held = writes.model.context
        writes.others = lambda found: NativeBackend.load(
            str(found.model),
            level,
            min(held, _longest_context(found.model)),
            threads=threads,
            sequences=sequences,
            cache=cache,
            mmproj=str(found.tower) if found.tower else None,
            keep_towers=keep_towers,
        )
        return writes
    if backend == "transformers":
        from bezel.backends.transformers import TransformersBackend

        _leave_out(backend, own | remote)
        return TransformersBackend.load(model, level, context, device or "auto")
    from bezel.backends.endpoints import endpoint
    from bezel.backends.openai import OpenAIBackend

    place = endpoint(backend).at(base_url)
    _leave_out(backend, own | {"level": level, "device": device})
    return OpenAIBackend(place, model, api_key or place.key(), context)


def _check_texts(given: Mapping[str, Any]) -> None:
    for name, text in given.items():
        if not isinstance(text, str):
            raise InvalidRequestError(f"{name} is {text!r}; it must be a text")


def _bytes(fit: Any) -> int | None:
    """A budget of memory in bytes, of what people write for it."""
    if fit is None or isinstance(fit, str):
        return None if fit is None else parse_memory(fit)
    return whole("fit", int(fit) if isinstance(fit, float) and math.isfinite(fit) else fit, 1)


def _longest_context(model: Path) -> int:
    checkpoint = open_checkpoint(model)
    try:
        return longest_context(checkpoint)
    finally:
        checkpoint.close()


def _leave_out(backend: str, options: Mapping[str, Any]) -> None:
    given = [name for name, value in options.items() if value]
    if given:
        raise InvalidRequestError(f"the backend {backend} does not take {', '.join(given)}; leave it out")
