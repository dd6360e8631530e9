"""Streaming from token ids to text: whole characters only, in any script."""

from __future__ import annotations

import codecs

from bezel.text.tokenizer import Tokenizer


class Detokenizer:
    """Turns ids into text as they come; what is half a character waits for its other half."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def push(self, token_id: int) -> str:
        """The characters that this id completes; "" while one is still open, or for a control piece."""
        return self._decoder.decode(self._tokenizer.piece_bytes(token_id))

    def flush(self) -> str:
        """What is left when no id follows: U+FFFD for a character that was never completed."""
        return self._decoder.decode(b"", final=True)
