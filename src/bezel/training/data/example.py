"""What every generator returns, and the hash by which words, combinations and phrasings are held out."""

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

Split = Literal["train", "held_out"]


@dataclass(frozen=True)
class Example:
    """One conversation: chat messages, OpenAI tool schemas, the answer the model must give, and its task.

    `more` are further (user's words, answer) that could stand in place of the one message.
    """

    messages: tuple[dict[str, str], ...]
    tools: tuple[dict[str, Any], ...]
    answer: str
    task: str
    more: tuple[tuple[str, str], ...] = ()


Generator = Callable[[random.Random, Split], Example]


def single_turn(user: str, answer: str, task: str, tools: Sequence[dict[str, Any]] = ()) -> Example:
    """An example of one user message."""
    return Example(({"role": "user", "content": user},), tuple(tools), answer, task)


def held_out(key: str, one_in: int = 8) -> bool:
    """Whether `key` belongs to the held-out part; the same on every machine and in every process."""
    return int.from_bytes(hashlib.sha256(key.encode()).digest()[:4], "big") % one_in == 0


def choose(rng: random.Random, split: Split, items: Sequence[str]) -> str:
    """A random item of the split's share; when no item is held out, the last one is."""
    return rng.choice(_shares(tuple(items))[split])


@lru_cache(maxsize=4096)
def _shares(items: tuple[str, ...]) -> dict[Split, list[str]]:
    tested = [item for item in items if held_out(item)] or [items[-1]]
    return {"held_out": tested, "train": [item for item in items if item not in tested] or list(items)}


def compact_json(value: Any) -> str:
    """JSON without spaces, in UTF-8."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)
