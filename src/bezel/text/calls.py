"""Function calls in an answer, and what a reader says of them while the answer is being written."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """A function's name and its arguments."""

    name: str
    arguments: dict[str, Any]

    def arguments_json(self) -> str:
        """The arguments as a JSON object without spaces."""
        return json.dumps(self.arguments, ensure_ascii=False, separators=(",", ":"))


@dataclass(frozen=True)
class CallText:
    """A piece of the answer outside every call."""

    text: str


@dataclass(frozen=True)
class CallStarted:
    """The `index`-th call of the answer (from 0) names its function; its arguments follow."""

    index: int
    name: str


@dataclass(frozen=True)
class CallDelta:
    """The next piece of a call's arguments. All pieces together are a JSON object, whatever the model wrote."""

    index: int
    arguments: str


@dataclass(frozen=True)
class CallFinished:
    """A call that is whole."""

    index: int
    call: Call


@dataclass(frozen=True)
class CallBroken:
    """A call that had started and cannot be read: what the model wrote, and why. Nothing may execute it."""

    index: int
    name: str
    source: str
    reason: str


CallEvent = CallStarted | CallDelta | CallFinished | CallBroken
"""What may happen to a call. Each call has a CallStarted, CallDeltas, and one CallFinished or CallBroken."""


def parse_calls(text: str) -> list[Call]:
    """The calls that a whole answer consists of; none where it is anything but calls. Reads every prompted form."""
    from bezel.text.dialects.prompted import PromptedReader

    reader = PromptedReader(None)
    events = [*reader.push(text), *reader.close()]
    if reader.unclosed or any(isinstance(event, CallText | CallBroken) for event in events):
        return []
    return [event.call for event in events if isinstance(event, CallFinished)]
