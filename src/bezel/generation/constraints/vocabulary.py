"""A tokenizer as llguidance wants it: the bytes of every token, and which tokens may stand in an answer's text."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from llguidance import LLTokenizer

from bezel.errors import ConstraintError
from bezel.kernels.interface import U32
from bezel.text.tokenizer import Tokenizer


class Vocabulary:
    """What constraints know of a model's tokens. `size`: logits of the model, of which those behind the tokenizer's
    pieces are never allowed. Control pieces other than those that end an answer are not either.

    Built when first asked for, which takes about a second for 262,144 pieces. ConstraintError where nothing can end an
    answer.
    """

    def __init__(self, tokenizer: Tokenizer, size: int | None = None) -> None:
        self.tokenizer = tokenizer
        self.size = tokenizer.vocabulary_size if size is None else size
        self.stops = frozenset(stop for stop in tokenizer.stop_ids if stop < self.size)
        if not self.stops:
            raise ConstraintError("the tokenizer names no token that ends an answer, so no constraint could end one")

    @cached_property
    def native(self) -> LLTokenizer:
        """The same for llguidance."""
        return LLTokenizer(_Wrapper(self.tokenizer, self.stops))  # type: ignore[arg-type]

    @cached_property
    def content(self) -> U32:
        """The mask of tokens that are text."""
        allowed = np.ones(self.words * 32, np.bool_)
        allowed[min(self.size, self.tokenizer.vocabulary_size) :] = False
        allowed[[token for token in self.tokenizer.control_ids if token < self.size]] = False
        return np.packbits(allowed, bitorder="little").view(np.uint32)

    @cached_property
    def spaced(self) -> U32:
        """The mask of tokens that begin with JSON's white space."""
        begins = np.zeros(self.words * 32, np.bool_)
        for token in range(min(self.size, self.tokenizer.vocabulary_size)):
            begins[token] = self.tokenizer.piece_bytes(token)[:1] in (b" ", b"\n", b"\t", b"\r")
        return np.packbits(begins, bitorder="little").view(np.uint32)

    @property
    def words(self) -> int:
        """Words of 32 bits in a mask."""
        return -(-self.size // 32)

    def bytes_of(self, tokens: Sequence[int]) -> list[bytes]:
        """What each token adds to the text."""
        return [self.tokenizer.piece_bytes(token) for token in tokens]


def with_bits(mask: U32, tokens: Collection[int]) -> U32:
    """`mask` with the bits of `tokens` set too."""
    if not tokens:
        return mask
    out = mask.copy()
    for token in tokens:
        out[token // 32] |= np.uint32(1 << token % 32)
    return out


class _Wrapper:
    """The fields that llguidance reads of a tokenizer."""

    def __init__(self, tokenizer: Tokenizer, stops: frozenset[int]) -> None:
        count = tokenizer.vocabulary_size
        self.tokens = [tokenizer.piece_bytes(token, keep_control=True) for token in range(count)]
        # Of two tokens with the same bytes llguidance allows one: not the byte piece, which no text is encoded to.
        texts = {text for token, text in enumerate(self.tokens) if not tokenizer.is_byte(token)}
        for token in range(count):
            if tokenizer.is_byte(token) and self.tokens[token] in texts:
                self.tokens[token] = b""
        self.special_token_ids = sorted(tokenizer.control_ids)
        self.eos_token_id = min(stops)
        self.bos_token_id = tokenizer.bos_id
        self.is_tokenizer_wrapper = True
        self._tokenizer = tokenizer

    def __call__(self, text: Any) -> list[int]:
        return self._tokenizer.encode(text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text)
