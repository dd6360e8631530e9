"""Images and sounds that are named on the command line, as parts of a message."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any


def showing(question: str, images: Sequence[Path], sounds: Sequence[Path]) -> str | list[dict[str, Any]]:
    """What a user's message holds: the images, the sounds and then the question; text alone where there are none.

    Paths become absolute, so that a saved conversation can be gone on with from another folder.
    """
    if not images and not sounds:
        return question
    parts = [{"type": "image", "image": str(image.expanduser().absolute())} for image in images]
    parts += [{"type": "audio", "audio": str(sound.expanduser().absolute())} for sound in sounds]
    return [*parts, {"type": "text", "text": question}]
