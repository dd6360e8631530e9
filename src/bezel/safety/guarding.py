"""A chat in which what is asked and what is answered is judged first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bezel.errors import ContentBlockedError, UnsupportedInputError
from bezel.safety.classifier import Classifier, Verdict
from bezel.text.messages import kind_of, normalise

Messages = str | Sequence[Mapping[str, Any]]


class Answering(Protocol):
    """What is guarded: `bezel.Model` is one."""

    def chat(self, messages: Messages, **options: Any) -> Any: ...


class Guarded:
    """Answers with a model, unless the classifier blocks a user's message, or the answer."""

    def __init__(self, model: Answering, classifier: Classifier) -> None:
        self._model, self._classifier = model, classifier

    def chat(self, messages: Messages, **options: Any) -> Any:
        """See `Model.chat`. Raises ContentBlockedError before the model has seen anything, or instead of its answer.

        UnsupportedInputError for messages with images or sounds.
        """
        chat = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
        asked = [_text_of(message) for message in chat if message.get("role") == "user"]
        for text in asked:
            _pass("question", self._classifier.check(text))
        result = self._model.chat(chat, **options)
        _pass("answer", self._classifier.check(asked[-1] if asked else "", result.text))
        return result


def _text_of(message: Mapping[str, Any]) -> str:
    """The text of a message. UnsupportedInputError for an image or a sound, which this classifier cannot judge."""
    content = message.get("content") or ""
    if not isinstance(content, str) and any(kind_of(part) for part in content):
        raise UnsupportedInputError("the classifier judges text alone; leave images and sounds out of guarded chats")
    clean: str = normalise([message])[0]["content"]
    return clean


def _pass(what: str, verdict: Verdict) -> None:
    if verdict.blocked:
        raise ContentBlockedError(f"the {what} was blocked by policy: {', '.join(verdict.violated)}")
