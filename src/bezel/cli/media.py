"""Images, sounds and videos that are named on the command line, as parts of a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

KINDS = ("image", "audio", "video")


def showing(question: str, files: Mapping[str, Sequence[Path]], mute: bool = False) -> str | list[dict[str, Any]]:
    """What a user's message holds: `files` by their kind and then the question; text alone where there are none.

    Paths become absolute, so that a saved conversation can be gone on with from another folder. `mute` leaves the sound
    of videos out.
    """
    parts: list[dict[str, Any]] = [
        {"type": kind, kind: str(path.expanduser().absolute())} for kind in KINDS for path in files.get(kind, ())
    ]
    for part in parts:
        if part["type"] == "video" and mute:
            part["sound"] = False
    return [*parts, {"type": "text", "text": question}] if parts else question
