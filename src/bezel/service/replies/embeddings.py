"""Embeddings as OpenAI's clients read them."""

from __future__ import annotations

import base64

import msgspec
import numpy as np
from numpy.typing import NDArray


class Embedding(msgspec.Struct):
    index: int
    embedding: list[float] | str
    object: str = "embedding"


class Usage(msgspec.Struct):
    prompt_tokens: int
    total_tokens: int


class Embeddings(msgspec.Struct):
    data: list[Embedding]
    model: str
    usage: Usage
    object: str = "list"


def embeddings(rows: NDArray[np.float32], model: str, tokens: int, encoded: bool) -> Embeddings:
    """`rows` [texts, dimensions] as numbers or, `encoded`, as base64 of their little-endian bytes."""
    data = [
        Embedding(index, base64.b64encode(row.astype("<f4").tobytes()).decode() if encoded else row.tolist())
        for index, row in enumerate(rows)
    ]
    return Embeddings(data, model, Usage(tokens, tokens))
