"""The body of /v1/completions."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from bezel.backends.interface import Backend, Request
from bezel.service.input_policy import InputPolicy
from bezel.service.requests.common import MOST_TOKENS, OWN, Sampled, Text

Token = Annotated[int, Field(ge=0, le=2**31 - 1)]
Tokens = Annotated[list[Token], Field(min_length=1, max_length=MOST_TOKENS)]
DEFAULT_TOKENS = 16
"""OpenAI's."""


class CompletionRequest(Sampled):
    """One prompt, as text or token ids, or a list of such prompts.

    `suffix` is not known, `best_of` only as much as `n`.
    """

    prompt: Text | Tokens | Annotated[list[Text] | list[Tokens], Field(min_length=1, max_length=128)]
    max_tokens: Annotated[int, Field(ge=1, le=MOST_TOKENS)] | None = DEFAULT_TOKENS
    logprobs: Annotated[int, Field(ge=0, le=5)] | None = None
    echo: bool | None = None
    best_of: Annotated[int, Field(ge=1, le=128)] | None = None

    @model_validator(mode="after")
    def _agree(self) -> CompletionRequest:
        if self.best_of not in (None, self.n or 1):
            raise PydanticCustomError(OWN, "best_of must be n; the best of more answers is not chosen here")
        if self.echo and self.logprobs is not None:
            raise PydanticCustomError(OWN, "echo with logprobs is not known here; leave out one of them")
        return self

    @property
    def prompts(self) -> list[str | list[int]]:
        """Each prompt."""
        if isinstance(self.prompt, str) or isinstance(self.prompt[0], int):
            return [self.prompt]
        return list(self.prompt)

    def requests(self, backend: Backend, policy: InputPolicy) -> list[Request]:
        """A request to a backend for each prompt, its text after the policy."""
        return [
            Request(
                prompt=policy.text(prompt) if isinstance(prompt, str) else policy.tokens(prompt, backend),
                sampling=self.sampling(backend.sampling),
                max_tokens=self.max_tokens,
                stop=self.stops,
                logprobs=self.logprobs,
            )
            for prompt in self.prompts
        ]
