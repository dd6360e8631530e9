"""EmbeddingGemma: a Gemma 3 whose rows see each other in both directions, and what makes one embedding of them."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from bezel.backends.interface import Event, Events, Request
from bezel.backends.loading import longest_context, read_tokenizer, text_of
from bezel.errors import ContextLengthError, InvalidRequestError, UnsupportedInputError
from bezel.generation.cache import Cache
from bezel.generation.sampling import Sampling
from bezel.kernels.interface import F32, Format
from bezel.kernels.library import Native
from bezel.models.gemma3 import Gemma3
from bezel.models.interface import Batch
from bezel.models.pooling import Pooling
from bezel.text.tokenizer import Tokenizer
from bezel.weights import sentences
from bezel.weights.checkpoint import LEVELS, CheckpointWeights, open_checkpoint, read_json
from bezel.weights.hub import fetch, parse_reference

_AT_ONCE = 2048  # tokens of a pass, or one text's where that has more


def embeds(config: Mapping[str, Any]) -> bool:
    """Whether a checkpoint's config is of a model that embeds texts and writes none."""
    return config.get("model_type") == "gemma3_text" and bool(config.get("use_bidirectional_attention"))


class EmbeddingBackend:
    """A model that embeds. `prompts`: what stands in front of a text for each task."""

    sampling = Sampling()

    def __init__(self, name: str, model: Gemma3, tokenizer: Tokenizer, folder: Path) -> None:
        self.name, self.tokenizer, self.prompts = name, tokenizer, sentences.prompts(folder)
        self._model, self._turn = model, threading.Lock()
        self._pooling = Pooling(sentences.dense_layers(folder, model.config.hidden_size))
        self.size = self._pooling.size or model.config.hidden_size
        pieces = zip((tokenizer.bos_id, tokenizer.eos_id), sentences.frames(folder), strict=True)
        self._before, self._behind = ([piece] if piece is not None and used else [] for piece, used in pieces)

    @classmethod
    def load(cls, name: str, level: str | None, context: int | None, threads: int | None) -> EmbeddingBackend | None:
        """Load `name` where it is a Hugging Face folder of a model that embeds; None for any other.

        Arguments as of `NativeBackend.load`, whose errors it raises.
        """
        path = fetch(parse_reference(name))
        if not path.is_dir() or not embeds(read_json(path / "config.json")):
            return None
        if level is not None and level not in LEVELS:
            raise InvalidRequestError(f"unknown level {level!r}; choose one of {', '.join(LEVELS)}")
        checkpoint = open_checkpoint(path)
        try:
            weights = CheckpointWeights(checkpoint, Native(threads), LEVELS[level] if level else None)
            with checkpoint.named_in_errors():
                model = Gemma3(checkpoint.config, weights, longest_context(checkpoint) if context is None else context)
            model.cache_spec = replace(model.cache_spec, format=Format.F32)  # read once: nothing to save
            return cls(name, model, read_tokenizer(checkpoint, model.vocabulary), path)
        finally:
            checkpoint.close()

    def embed(self, texts: Sequence[str], task: str | None = None, dimensions: int | None = None) -> F32:
        """Embeddings of `texts`, float32 [texts, dimensions], each of length 1.

        `task` names a prompt of the checkpoint that is put in front ("query", "document", ...); None: nothing.
        `dimensions` keeps the first of them. Raises InvalidRequestError for no texts, an empty one, an unknown task and
        dimensions that there are not, and ContextLengthError.
        """
        if dimensions is not None and not 1 <= dimensions <= self.size:
            raise InvalidRequestError(f"dimensions is {dimensions}; an embedding has 1 to {self.size} numbers")
        ids = self._ids_of(texts, task)
        found = np.empty((len(texts), dimensions or self.size), np.float32)
        with self._turn:
            place = 0
            for group in self._grouped(ids):
                for rows in self._rows(group):
                    found[place] = self._pooling(rows, dimensions)
                    place += 1
        return found

    def token_counts(self, texts: Sequence[str], task: str | None = None) -> list[int]:
        """How many tokens of each text are read, with the task's. Raises as `embed`."""
        return [len(ids) for ids in self._ids_of(texts, task)]

    def prompt_ids(self, request: Request) -> list[int]:
        """Raises UnsupportedInputError: there is no answer that they would start."""
        raise UnsupportedInputError(f"{self.name} embeds texts and answers none; use embed")

    def text_of(self, token_ids: Sequence[int]) -> str:
        """See `Backend.text_of`."""
        return text_of(token_ids, self.tokenizer, self._model.vocabulary)

    def stream(self, request: Request) -> Events:
        """Raises UnsupportedInputError."""
        raise UnsupportedInputError(f"{self.name} embeds texts and answers none; use embed, or load another model")

    def answers(self, requests: Sequence[Request]) -> list[list[Event]]:
        """Raises UnsupportedInputError."""
        return [list(self.stream(request)) for request in requests]

    def health(self) -> Mapping[str, Any]:
        """Healthy when a text can be embedded: {"status": "healthy"}."""
        self.embed(["a"])
        return {"status": "healthy"}

    def describe(self) -> Mapping[str, Any]:
        """Name, engine, context, and the numbers of an embedding."""
        sizes = {"context": self._model.context, "dimensions": self.size, "tasks": sorted(self.prompts)}
        return {"model": self.name, "engine": "native", "images": False, "sounds": False, **sizes}

    def _prompt(self, task: str | None) -> str:
        if task is None:
            return ""
        if task not in self.prompts:
            known = ", ".join(sorted(self.prompts)) or "none"
            raise InvalidRequestError(f"unknown task {task!r}; the model knows {known}")
        return self.prompts[task]

    def _ids_of(self, texts: Sequence[str], task: str | None) -> list[list[int]]:
        if not texts or not all(texts):
            raise InvalidRequestError("there is a text without characters, or none at all; an embedding needs one")
        prompt = self._prompt(task)
        return [self._ids(prompt + text) for text in texts]

    def _ids(self, text: str) -> list[int]:
        ids = [*self._before, *self.tokenizer.encode(text), *self._behind]
        if len(ids) > self._model.context:
            raise ContextLengthError(
                f"a text has {len(ids)} tokens and the model reads {self._model.context}; cut it into parts"
            )
        return ids

    @staticmethod
    def _grouped(texts: Sequence[list[int]]) -> Iterator[list[list[int]]]:
        group: list[list[int]] = []
        for ids in texts:
            if group and sum(map(len, group)) + len(ids) > _AT_ONCE:
                yield group
                group = []
            group.append(ids)
        yield group

    def _rows(self, group: Sequence[list[int]]) -> Iterator[F32]:
        """The rows of each text of a group, behind the last norm."""
        longest = max(map(len, group))
        cache = Cache(self._model.cache_spec, longest, len(group), chunk=longest)
        for sequence in range(len(group)):
            cache.begin(sequence)
        batch = Batch.of([(ids, 0, True) for ids in group])
        batch = replace(batch, segments=tuple(replace(segment, mutual=True) for segment in batch.segments))
        view = cache.view([(sequence, 0, len(ids)) for sequence, ids in enumerate(group)])
        rows = self._model.hidden(batch, view)
        for segment in batch.segments:
            yield rows[segment.row : segment.row + segment.length]
