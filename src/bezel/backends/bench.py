"""How fast a loaded model reads and writes: one run, timed, and where its time goes."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import wraps
from typing import Any

import numpy as np

from bezel.catalog.hardware import memory_use
from bezel.errors import InvalidRequestError
from bezel.generation.cache import Cache
from bezel.generation.loop import prefill
from bezel.generation.steps import Steps
from bezel.models.interface import Batch, TextModel


@dataclass(frozen=True)
class Bench:
    """One run: tokens read and written, their seconds, and the process' peak memory in bytes.

    `seconds_by_kernel` (of a profiled run) splits the seconds of decode, whose kernels are then called
    one by one and not replayed; "python" is what no kernel took.
    """

    prompt_tokens: int
    new_tokens: int
    depth: int
    prefill_seconds: float
    decode_seconds: float
    peak_memory: int
    seconds_by_kernel: dict[str, float] = field(default_factory=dict)

    @property
    def prefill_tokens_per_second(self) -> float:
        return self.prompt_tokens / self.prefill_seconds

    @property
    def decode_tokens_per_second(self) -> float:
        return self.new_tokens / self.decode_seconds


def bench(
    model: TextModel, prompt_tokens: int = 512, new_tokens: int = 128, depth: int = 0, profile: bool = False
) -> Bench:
    """Read `prompt_tokens` random tokens, then write `new_tokens` greedily behind `depth` tokens or the prompt.

    The prompt is read once before the clock starts, as llama-bench does. InvalidRequestError where the context is
    too short.
    """
    start = max(prompt_tokens, depth)
    if prompt_tokens < 1 or new_tokens < 1 or depth < 0:
        raise InvalidRequestError("prompt_tokens and new_tokens must be at least 1, and depth not negative")
    if start + new_tokens > model.context:
        raise InvalidRequestError(
            f"{start} + {new_tokens} tokens exceed the context of {model.context}; load the model with a larger one"
        )
    rng = np.random.default_rng(0)
    tokens = [int(token) for token in rng.integers(0, model.vocabulary, start)]
    cache = Cache(model.cache_spec, start + new_tokens)
    cache.begin(0)
    for _ in prefill(model, cache, tokens[:prompt_tokens]):
        pass
    cache.begin(0)
    began = time.perf_counter()
    *_, logits = prefill(model, cache, tokens[:prompt_tokens])
    prefill_seconds = time.perf_counter() - began
    if depth > prompt_tokens:
        cache.begin(0)
        *_, logits = prefill(model, cache, tokens)
    seconds: dict[str, float] = {}
    forward = model.forward if profile else Steps(model).forward
    with _timed(model, seconds) if profile else _untimed():
        began = time.perf_counter()
        for position in range(start, start + new_tokens):
            token = int(logits[-1].argmax())
            logits = forward(Batch.of([([token], position, False)]), cache.view([(0, position, 1)]))
        decode_seconds = time.perf_counter() - began
    if profile:
        seconds["python"] = decode_seconds - sum(seconds.values())
    peak = memory_use().peak
    return Bench(prompt_tokens, new_tokens, depth, prefill_seconds, decode_seconds, peak, seconds)


_KERNELS = (
    "linear",
    "embed",
    "rows",
    "rms_norm",
    "add_norm",
    "norm_rope",
    "write_cache",
    "attention",
    "geglu",
    "sparse_mlp",
    "altup_predict",
    "altup_correct",
    "altup_inject",
    "laurel",
    "gelu_gate",
    "norm_heads",
    "read_rows",
    "soft_cap",
)


@contextmanager
def _untimed() -> Iterator[None]:
    yield


@contextmanager
def _timed(model: TextModel, seconds: dict[str, float]) -> Iterator[None]:
    """Adds up the seconds of every kernel that the model calls."""
    kernels: Any = model.ops  # methods of the instance stand in front of those of its class

    def timed(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def run(*arguments: Any) -> Any:
            began = time.perf_counter()
            result = call(*arguments)
            seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - began
            return result

        return run

    for name in _KERNELS:
        setattr(kernels, name, timed(name, getattr(kernels, name)))
    try:
        yield
    finally:
        for name in _KERNELS:
            delattr(kernels, name)
