"""The most tokens that a prompt can have, for engines that keep to themselves how many it has."""

from __future__ import annotations

import json

from bezel.backends.interface import Request
from bezel.text.messages import is_video, kind_of, parts_of

_OF_A_MESSAGE, _OF_TOOLS = 16, 512
"""What a chat template writes around them."""


def most_prompt_tokens(request: Request) -> int | None:
    """Bytes of all texts, since no token is less than one, and what stands around them; None with images or sounds."""
    if request.messages is None:
        prompt = request.prompt or ()
        return 1 + len(prompt.encode() if isinstance(prompt, str) else prompt)
    parts = [part for message in request.messages for part in parts_of(message)]
    if any(kind_of(part) or is_video(part) for part in parts):
        return None
    said = json.dumps([list(request.messages), list(request.offered)], ensure_ascii=False, default=str)
    around = _OF_A_MESSAGE * (1 + len(request.messages)) + (_OF_TOOLS if request.offered else 0)
    return len(said.encode("utf-8", "surrogatepass")) + around
