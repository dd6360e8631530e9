"""PaliGemma's prompts: images, <bos>, what to do with them ("detect cat"), and a line break. There are no turns.

The layout is that of Transformers' `PaliGemmaProcessor`; the whole of it is a prefix that sees itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from bezel.errors import InvalidRequestError, UnsupportedInputError
from bezel.text.dialects.forms import PROMPTED
from bezel.text.messages import normalise
from bezel.text.soft import Layout, Part, Soft
from bezel.text.tokenizer import Tokenizer
from bezel.text.tools import check_tools

IMAGE_PIECE = "<image>"


class PrefixTemplate:
    """Lays out prompts for one tokenizer, in the place of a `ChatTemplate`. Answers are text and hold no calls."""

    dialect = PROMPTED

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer

    def encode(self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping[str, Any]] = ()) -> list[int]:
        """See `ChatTemplate.encode`: refuses, as there is no image."""
        return self.lay_out(messages, tools).ids

    def lay_out(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] = (),
        shown: Sequence[Sequence[Part]] = (),
    ) -> Layout:
        """Token ids of a user's message with images, and where each of them begins. `shown`: the soft tokens of each.

        Raises InvalidRequestError for tools, for system texts and for more than one message, UnsupportedInputError
        for a message without an image.
        """
        if check_tools(tools):
            raise InvalidRequestError("PaliGemma calls no functions; leave tools out")
        clean = normalise(messages, " ", {"image"})
        if len(clean) != 1 or clean[0]["role"] != "user":
            roles = ", ".join(message["role"] for message in clean)
            raise InvalidRequestError(
                "PaliGemma does not chat: send one user's message, an image with what to do (detect cat), and no "
                f"system text or earlier turns; these messages are from {roles}"
            )
        if not shown:
            raise UnsupportedInputError(
                "PaliGemma answers about images and this message has none; send one with what to do, such as detect cat"
            )
        return self._laid_out(clean[0]["content"].strip(), shown)

    def _laid_out(self, asked: str, shown: Sequence[Sequence[Part]]) -> Layout:
        tokenizer = self._tokenizer
        control = tokenizer.control_pieces
        padding = control.get(IMAGE_PIECE, control.get("<pad>", 0))
        ids: list[int] = []
        starts = []
        for part in (part for parts in shown for part in parts):
            assert isinstance(part, Soft)
            starts.append(len(ids))
            ids += [padding] * part.count
        bos = [] if tokenizer.bos_id is None else [tokenizer.bos_id]
        return Layout([*ids, *bos, *tokenizer.encode(f"{asked}\n")], starts, prefix=True)
