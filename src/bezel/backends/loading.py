"""What loading a model and loading one that drafts for it have in common."""

from __future__ import annotations

from bezel.text.tokenizer import Tokenizer
from bezel.weights.checkpoint import Checkpoint

DEFAULT_CONTEXT = 8192
"""Tokens of context where nothing else is said."""


def longest_context(checkpoint: Checkpoint) -> int:
    """The most tokens of context that a checkpoint's config allows."""
    config = checkpoint.config.get("text_config", checkpoint.config)
    return int(config.get("max_position_embeddings", DEFAULT_CONTEXT))


def read_tokenizer(checkpoint: Checkpoint, rows: int) -> Tokenizer:
    """The tokenizer of a folder, or of GGUF metadata, for an embedding of `rows` rows. Raises ModelFileError."""
    if checkpoint.folder is not None:
        return Tokenizer.from_folder(checkpoint.folder, rows)
    return Tokenizer.from_gguf(checkpoint.metadata, str(checkpoint.path), rows)
