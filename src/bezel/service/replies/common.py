"""Parts of OpenAI's replies that chats and completions share."""

from __future__ import annotations

import secrets
import time

import msgspec

from bezel import __version__
from bezel.service.answers import Answers

FINGERPRINT = f"bezel-{__version__}"


class PromptDetails(msgspec.Struct):
    cached_tokens: int


class Usage(msgspec.Struct):
    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: PromptDetails


def usage_of(answers: Answers) -> Usage:
    """What the answers took; each prompt counts once."""
    prompt, completion = answers.prompt_tokens, answers.completion_tokens
    return Usage(prompt, completion, prompt + completion, PromptDetails(answers.cached_tokens))


def new_id(kind: str) -> str:
    """An id that nothing else has."""
    return f"{kind}-{secrets.token_hex(12)}"


def now() -> int:
    """Unix time in whole seconds."""
    return int(time.time())
