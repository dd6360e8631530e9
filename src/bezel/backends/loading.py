"""What all engines that load a model here have in common."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bezel.backends.interface import Request
from bezel.errors import InvalidRequestError
from bezel.text.tokenizer import Tokenizer
from bezel.weights.checkpoint import Checkpoint

DEFAULT_CONTEXT = 8192
"""Tokens of context where nothing else is said."""


class Encodes(Protocol):
    """A chat template, or what stands in its place."""

    def encode(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]: ...


def longest_context(checkpoint: Checkpoint) -> int:
    """The most tokens of context that a checkpoint's config allows."""
    config = checkpoint.config.get("text_config", checkpoint.config)
    return int(config.get("max_position_embeddings", DEFAULT_CONTEXT))


def read_tokenizer(checkpoint: Checkpoint, rows: int) -> Tokenizer:
    """The tokenizer of a folder, or of GGUF metadata, for an embedding of `rows` rows. Raises ModelFileError."""
    if checkpoint.folder is not None:
        return Tokenizer.from_folder(checkpoint.folder, rows)
    return Tokenizer.from_gguf(checkpoint.metadata, str(checkpoint.path), rows)


def prompt_of(request: Request, template: Encodes, tokenizer: Tokenizer) -> list[int]:
    """The token ids of a request's messages or prompt, text alone. InvalidRequestError unless it has one of both."""
    if (request.messages is None) == (request.prompt is None):
        raise InvalidRequestError("give either messages or a prompt")
    if request.messages is not None:
        return template.encode(request.messages, request.offered)
    if isinstance(request.prompt, str):
        bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        return bos + tokenizer.encode(request.prompt)
    return list(request.prompt or ())


def text_of(token_ids: Sequence[int], tokenizer: Tokenizer, vocabulary: int) -> str:
    """The text of token ids, control pieces spelled out. InvalidRequestError for ids that there are not."""
    for token in token_ids:
        if not 0 <= token < vocabulary:
            raise InvalidRequestError(f"there is no token {token}; the vocabulary has {vocabulary}")
    return tokenizer.decode(token_ids, keep_control=True)
