"""Loads the 100 requests written by hand; frozen before any data tuning and never trained on, one JSON object a line.

The advisor's rows state the facts of the request; the expected variant is computed from the catalogue when scored.
"""

import json
from dataclasses import dataclass
from importlib import resources
from typing import Any

from bezel.errors import BezelError

TASKS = ("advisor", "calls", "sums", "phrases", "refusals")


@dataclass(frozen=True)
class Request:
    """One request: its task, the user's words, the tools on offer (OpenAI schemas) and what a right answer holds."""

    task: str
    user: str
    tools: tuple[dict[str, Any], ...]
    expect: Any


def load() -> list[Request]:
    """All requests in file order; raises BezelError naming the line of one that cannot be read."""
    text = resources.files("bezel").joinpath("tiny/handwritten.jsonl").read_text(encoding="utf-8")
    requests = []
    for number, line in enumerate(text.splitlines(), start=1):
        try:
            row = json.loads(line)
            requests.append(Request(row["task"], row["user"], tuple(row.get("tools", ())), row["expect"]))
        except (ValueError, KeyError) as error:
            raise BezelError(f"tiny/handwritten.jsonl, line {number}: {error!r}; reinstall bezel") from error
    return requests
