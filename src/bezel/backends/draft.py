"""Which drafter stands beside a request, and the loading of a smaller model for it."""

from __future__ import annotations

from typing import get_args

from bezel.backends.interface import SpeculationMode
from bezel.backends.loading import longest_context, read_tokenizer
from bezel.errors import InvalidRequestError
from bezel.generation.drafters import Drafter, DraftModel, PromptLookup
from bezel.kernels.library import Native
from bezel.models.interface import TextModel
from bezel.models.registry import build
from bezel.text.tokenizer import Tokenizer
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint
from bezel.weights.hub import fetch, parse_reference


def load_draft(name: str, tokenizer: Tokenizer, context: int, kernels: Native) -> TextModel:
    """A smaller model to draft for one with `tokenizer`, with at most `context` tokens of context, as it is stored.

    Raises InvalidRequestError where their vocabularies differ, and what loading any model raises.
    """
    checkpoint = open_checkpoint(fetch(parse_reference(name)))
    try:
        context = min(context, longest_context(checkpoint))
        with checkpoint.named_in_errors():
            model = build(checkpoint.config, CheckpointWeights(checkpoint, kernels), context)
        if not tokenizer.agrees_with(read_tokenizer(checkpoint, model.vocabulary)):
            raise InvalidRequestError(
                f"{name} cannot draft for this model, whose vocabulary is another; take a smaller one of its family"
            )
        return model
    finally:
        checkpoint.close()


def drafter_of(speculation: SpeculationMode, draft: TextModel | None, vocabulary: int) -> Drafter | None:
    """The drafter that a request asks for, None for plain decode.

    `auto` takes the draft model where one is loaded, else prompt lookup.

    Raises InvalidRequestError for a mode that is unknown, or a draft model that is not loaded.
    """
    if speculation not in get_args(SpeculationMode):
        raise InvalidRequestError(
            f"speculation is {speculation!r}; choose one of {', '.join(get_args(SpeculationMode))}"
        )
    if speculation == "off":
        return None
    if draft is not None and speculation in ("auto", "draft"):
        return DraftModel(draft, vocabulary)
    if speculation == "draft":
        raise InvalidRequestError('no draft model is loaded; load one with draft="NAME" (--draft NAME)')
    return PromptLookup()
