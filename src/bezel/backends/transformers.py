"""Transformers behind the backend contract: any model that it knows, on any device of torch. Text in, text out.

The forward pass alone is Transformers': prompts, sampling, grammars, calls and log-probabilities are the native
engine's, so that a request means the same on both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from inspect import signature
from typing import TYPE_CHECKING, Any

from bezel.backends.answer import Answer
from bezel.backends.answering import Answering
from bezel.backends.choice import check_choice, constraint_of
from bezel.backends.interface import Event, Request
from bezel.backends.loading import longest_context, prompt_of, read_tokenizer, text_of
from bezel.backends.native import GEMMA_SAMPLING, sampling_with
from bezel.engine.request import Progress
from bezel.engine.request import Request as EngineRequest
from bezel.errors import InvalidRequestError, MissingExtraError, UnsupportedModelError
from bezel.generation.constraints.choosing import choose_next
from bezel.generation.loop import answer_budget, step_of
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import F32
from bezel.kernels.library import Native
from bezel.text.template import ChatTemplate
from bezel.text.tokenizer import Tokenizer
from bezel.weights.checkpoint import open_checkpoint
from bezel.weights.companions import chat_template, recommended_sampling
from bezel.weights.hub import fetch, parse_reference

if TYPE_CHECKING:
    from bezel.generation.constraints.compiling import Compiler


class TransformersBackend:
    """A model on a torch device. Requests are answered one after the other."""

    def __init__(
        self, name: str, model: Any, tokenizer: Tokenizer, template: ChatTemplate, sampling: Sampling, context: int
    ) -> None:
        self.name, self.tokenizer, self.template, self.sampling = name, tokenizer, template, sampling
        self.context, self.vocabulary = context, int(model.get_input_embeddings().weight.shape[0])
        self._model, self._kernels, self.turn = model, Native(), threading.Lock()

    @classmethod
    def load(
        cls, name: str, level: str | None = None, context: int | None = None, device: str = "auto"
    ) -> TransformersBackend:
        """Load a Hugging Face folder or hub name; "performance" is BF16, None the stored type.

        `device` is torch's ("cuda", "cuda:1", "mps", "xpu", "cpu"); "auto" is the first of these that is there. Raises
        MissingExtraError where torch or Transformers are missing, InvalidRequestError for another level and for a
        device that is not there, and what `fetch` and `open_checkpoint` raise.
        """
        try:
            import torch
            from transformers import AutoModelForCausalLM
        except ImportError:
            raise MissingExtraError(
                "the backend transformers needs torch and Transformers; run: pip install 'bezel[transformers]'"
            ) from None
        if level not in (None, "performance"):
            raise InvalidRequestError(f"level {level}: only the native engine rounds weights; leave it out here")
        checkpoint = open_checkpoint(fetch(parse_reference(name)))
        try:
            if checkpoint.folder is None:
                raise UnsupportedModelError(f"{checkpoint.path}: Transformers takes folders; a GGUF runs natively")
            place = _device(device)
            dtype: Any = torch.bfloat16 if level else "auto"
            model = AutoModelForCausalLM.from_pretrained(
                checkpoint.folder, dtype=dtype, local_files_only=True, trust_remote_code=False, use_safetensors=True
            )
            model = model.to(place).eval()
            tokenizer = read_tokenizer(checkpoint, int(model.get_input_embeddings().weight.shape[0]))
            return cls(
                name,
                model,
                tokenizer,
                ChatTemplate(tokenizer, chat_template(checkpoint)),
                sampling_with(GEMMA_SAMPLING, recommended_sampling(checkpoint)),
                longest_context(checkpoint) if context is None else context,
            )
        finally:
            checkpoint.close()

    def stream(self, request: Request) -> Answering:
        """See `Backend.stream`."""
        return Answering(lambda: (self._answer(request), _Steps(self, self._asked(request))))

    def answers(self, requests: Sequence[Request]) -> list[list[Event]]:
        """All events of several requests, one after the other."""
        return [list(self.stream(request)) for request in requests]

    def prompt_ids(self, request: Request) -> list[int]:
        """The token ids that a request starts with."""
        return prompt_of(request, self.template, self.tokenizer)

    def text_of(self, token_ids: Sequence[int]) -> str:
        """See `Backend.text_of`."""
        return text_of(token_ids, self.tokenizer, self.vocabulary)

    def health(self) -> Mapping[str, Any]:
        """Healthy when one token can be produced: {"status": "healthy"}."""
        with self.turn:
            self._forward([self.tokenizer.bos_id or 0], None)
        return {"status": "healthy"}

    def describe(self) -> Mapping[str, Any]:
        """Name, engine, context, device and type."""
        where = {"device": str(self._model.device), "dtype": str(self._model.dtype).removeprefix("torch.")}
        return {"model": self.name, "engine": "transformers", "context": self.context} | where

    @cached_property
    def _cache_field(self) -> str:
        """Releases of Transformers differ in what they call the cache."""
        return "cache" if "cache" in signature(self._model.forward).parameters else "past_key_values"

    @cached_property
    def _compiler(self) -> Compiler:
        from bezel.generation.constraints.compiling import Compiler
        from bezel.generation.constraints.vocabulary import Vocabulary

        return Compiler(Vocabulary(self.tokenizer, self.vocabulary))

    def _answer(self, request: Request) -> Answer:
        check_choice(request)
        reader = self.template.dialect.reader(request.offered) if request.offered else None
        return Answer(self.tokenizer, request.stop, reader, not request.parallel_tool_calls)

    def _asked(self, request: Request) -> EngineRequest:
        constrained = request.constraint is not None or bool(request.offered)
        asked = EngineRequest(
            self.prompt_ids(request),
            request.sampling,
            request.max_tokens,
            self.tokenizer.stop_ids,
            request.logprobs or 0,
            constraint=constraint_of(request, self.template.dialect, self._compiler) if constrained else None,
        )
        asked.max_tokens = answer_budget(self, asked.prompt, asked.max_tokens)
        return asked

    def progress(self, request: EngineRequest, cancelled: threading.Event) -> Iterator[Progress]:
        """What each forward pass brings, until the answer ends or is cancelled."""
        request.started = time.perf_counter()
        row, cache = self._forward(request.tokens, None)
        while not cancelled.is_set():
            token, earlier = choose_next(
                row,
                request.tokens,
                request.produced,
                request.sampling,
                request.rng,
                self._kernels,
                request.constraint,
            )
            if earlier:
                request.take_back(earlier)
                row, cache = self._forward(request.tokens, None)
                continue
            reason = request.take(token)
            request.held.append(step_of(row, token, request.logprobs, self._kernels))
            if reason is not None or not request.holds:
                yield Progress(request, tuple(request.held), time.perf_counter(), reason)
                request.held.clear()
            if reason is not None:
                return
            row, cache = self._forward([token], cache)

        yield Progress(request, (), time.perf_counter(), "cancelled")

    def _forward(self, tokens: Sequence[int], cache: Any) -> tuple[F32, Any]:
        """Logits [vocabulary] behind `tokens`, which stand behind what is in the cache, and the cache with them."""
        import torch
        from transformers import DynamicCache

        cache = DynamicCache(config=self._model.config) if cache is None else cache
        with torch.inference_mode():
            ids = torch.tensor([list(tokens)], device=self._model.device)
            out = self._model(input_ids=ids, **{self._cache_field: cache}, use_cache=True, logits_to_keep=1)
        row: F32 = out.logits[0, -1].float().cpu().numpy()
        return row, cache


class _Steps:
    """The steps of one request, when its turn has come."""

    def __init__(self, backend: TransformersBackend, request: EngineRequest) -> None:
        self._backend, self._request = backend, request
        self._cancelled = threading.Event()

    def __iter__(self) -> Iterator[Progress]:
        with self._backend.turn:
            yield from self._backend.progress(self._request, self._cancelled)

    def cancel(self) -> None:
        """No step begins after this."""
        self._cancelled.set()


def _device(asked: str) -> Any:
    """Torch's device. InvalidRequestError for one that is not there."""
    import torch

    there = [
        kind for kind in ("cuda", "xpu", "mps") if (module := getattr(torch, kind, None)) and module.is_available()
    ]
    if asked == "auto":
        return torch.device([*there, "cpu"][0])
    try:
        device = torch.device(asked)
    except RuntimeError:
        device = None
    if device is None or (device.type != "cpu" and device.type not in there):
        raise InvalidRequestError(f"device {asked!r} is not here; choose auto, {', '.join([*there, 'cpu'])}")
    return device
