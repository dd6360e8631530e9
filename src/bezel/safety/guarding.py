"""A chat in which what is asked and what is answered is judged first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from bezel.backends.sources import opened_image
from bezel.errors import ContentBlockedError, UnsupportedInputError
from bezel.media.fetching import Sources
from bezel.safety.classifier import Classifier, Verdict
from bezel.safety.images import PATHS, ImageClassifier
from bezel.text.messages import is_video, kind_of, media_of, normalise, parts_of

Messages = str | Sequence[Mapping[str, Any]]


class Answering(Protocol):
    """What is guarded: `bezel.Model` is one."""

    def chat(self, messages: Messages, **options: Any) -> Any: ...


class Guarded:
    """Answers with a model, unless a classifier blocks a user's message, one of its images, or the answer."""

    def __init__(self, model: Answering, classifier: Classifier, images: ImageClassifier | None = None) -> None:
        self._model, self._classifier, self._images = model, classifier, images

    def chat(self, messages: Messages, **options: Any) -> Any:
        """See `Model.chat`. Raises ContentBlockedError before the model has seen anything, or instead of its answer.

        Calls of functions are judged as a part of the answer. Raises UnsupportedInputError for messages with sounds or
        videos, or with images where no classifier of images is given.
        """
        chat: list[Mapping[str, Any]]
        chat = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
        _check(chat)
        sources = options.get("sources", PATHS)
        asked = []
        images = self._images
        for place, message in enumerate(chat):
            if message.get("role") == "user":
                asked.append(text_of(message, images is not None))
                if images is not None:
                    chat[place] = opened_images(message, sources, lambda picture: _pass("image", images.check(picture)))
        for text in asked:
            if text.strip():
                _pass("question", self._classifier.check(text))
        result = self._model.chat(chat, **options)
        _pass("answer", self._classifier.check(asked[-1] if asked else "", said(result)))
        return result


def said(result: Any) -> str:
    """All that a `Result` tells: its text, and its calls of functions, also those that cannot be read."""
    calls = [f"{call.name} {call.arguments_json()}" for call in result.calls]
    return "\n".join((result.text, *calls, *(f"{broken.name} {broken.source}" for broken in result.broken)))


def _check(chat: Sequence[Mapping[str, Any]]) -> None:
    """Raises what a model would raise for messages that cannot be, before any is judged."""
    if any(is_video(part) for message in chat for part in parts_of(message)):
        raise UnsupportedInputError("no classifier judges videos; leave them out of guarded chats")
    normalise(chat, " ", ("image", "audio"))


def text_of(message: Mapping[str, Any], images_judged: bool) -> str:
    """The text of a message. UnsupportedInputError for parts that no classifier judges."""
    judged = {"image"} if images_judged else set()
    content = message.get("content") or ""
    if not isinstance(content, str) and any(kind_of(part) not in (None, *judged) for part in content):
        raise UnsupportedInputError(
            "no classifier judges sounds; leave them out of guarded chats"
            if images_judged
            else "the classifier judges text alone; leave images and sounds out of guarded chats"
        )
    clean: str = normalise([{**message, "role": "user"}], " ", judged)[0]["content"]
    return clean


def opened_images(message: Mapping[str, Any], sources: Sources, judge: Callable[[Any], None]) -> Mapping[str, Any]:
    """The message with each image as the pixels that were judged: what is read twice may not be the same twice."""
    images = media_of([message], {"image"})
    if not images:
        return message
    parts = []
    for part in message["content"]:
        if kind_of(part) is not None:
            image = images.pop(0)
            picture = opened_image(image.source, sources)
            judge(picture)
            part = {"type": "image", "image": picture, "detail": image.detail}
        parts.append(part)
    return {**message, "content": parts}


def _pass(what: str, verdict: Verdict) -> None:
    if verdict.blocked:
        raise ContentBlockedError(f"the {what} was blocked by policy: {', '.join(verdict.violated)}")
