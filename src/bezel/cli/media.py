"""Images, sounds and videos that are named on the command line, as parts of a message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bezel.errors import InvalidRequestError

KINDS = ("image", "audio", "video")


def showing(
    question: str, files: Mapping[str, Sequence[Path]], videos: Mapping[str, Any] | None = None
) -> str | list[dict[str, Any]]:
    """What a user's message holds: `files` by their kind and then the question; text alone where there are none.

    Paths become absolute, so that a saved conversation can be gone on with from another folder. `videos`: how they are
    shown, of `of_videos`.
    """
    parts: list[dict[str, Any]] = [
        {"type": kind, kind: str(located(path)), **((videos or {}) if kind == "video" else {})}
        for kind in KINDS
        for path in files.get(kind, ())
    ]
    return [*parts, {"type": "text", "text": question}] if parts else question


def of_videos(fps: float | None, mute: bool) -> dict[str, Any]:
    """The fields of a part that is a video: its frames a second, and whether its sound is left out."""
    return ({} if fps is None else {"fps": fps}) | ({"sound": False} if mute else {})


def located(path: Path) -> Path:
    """A path as it was typed, absolute and with ~ resolved. Raises InvalidRequestError where it cannot be."""
    try:
        return path.expanduser().absolute()
    except RuntimeError:
        raise InvalidRequestError(f"{path}: there is no such home folder; give the whole path") from None
    except OSError:
        raise InvalidRequestError(
            f"{path}: the working folder is gone; change to another one or give the whole path"
        ) from None
