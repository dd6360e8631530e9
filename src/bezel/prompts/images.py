"""Questions about images. An image is what a content part takes: a path, an address or a data URL."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bezel.errors import InvalidRequestError
from bezel.prompts.messages import Message, asked

_ANALYSIS = """\
Look at the image closely before you answer. Say first what can be seen, then what it means in its context, then what \
follows from it, each under a heading. Describe only what is there; where something cannot be made out, say so."""
_COMPARISON = """\
Look at every image closely before you answer. Name the points to compare them by, then say under a heading for each \
where they agree and where they differ, calling the images by their numbers. End with what the comparison shows. \
Describe only what is there; where something cannot be made out, say so."""


def analysis(question: str, image: str, context: str = "") -> list[Message]:
    """Ask about one image. `context` is what is known of it beforehand ("quarterly sales of two years").

    Raises InvalidRequestError for an empty question or image.
    """
    return _messages(_ANALYSIS, [_image(image)], question, context)


def comparison(question: str, images: Sequence[str], context: str = "") -> list[Message]:
    """Ask how two images or more compare. They are numbered in their order, from 1.

    Raises InvalidRequestError for an empty question, an empty image or fewer than two.
    """
    if isinstance(images, str) or len(images) < 2:
        raise InvalidRequestError("a comparison needs a list of two images or more")
    parts = [part for n, image in enumerate(images, 1) for part in (_text(f"Image {n}:"), _image(image))]
    return _messages(_COMPARISON, parts, question, context)


def _messages(system: str, parts: list[dict[str, Any]], question: str, context: str) -> list[Message]:
    known = f"\n\nWhat is known beforehand: {context.strip()}" if context.strip() else ""
    return [
        {"role": "system", "content": system},
        {"role": "user", "content": [*parts, _text(asked(question) + known)]},
    ]


def _image(image: str) -> dict[str, Any]:
    if not isinstance(image, str) or not image:
        raise InvalidRequestError("an image is a path, an address or a data URL; this one is empty or no text")
    return {"type": "image_url", "image_url": {"url": image}}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}
