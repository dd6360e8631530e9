"""A chat in which what is asked and what is answered is judged first."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bezel.errors import ContentBlockedError
from bezel.safety.classifier import Classifier, Verdict

Messages = str | Sequence[Mapping[str, Any]]


class Answering(Protocol):
    """What is guarded: `bezel.Model` is one."""

    def chat(self, messages: Messages, **options: Any) -> Any: ...


class Guarded:
    """Answers with a model, unless the classifier blocks a user's message, or the answer."""

    def __init__(self, model: Answering, classifier: Classifier) -> None:
        self._model, self._classifier = model, classifier

    def chat(self, messages: Messages, **options: Any) -> Any:
        """See `Model.chat`. Raises ContentBlockedError before the model has seen anything, or instead of its answer."""
        chat = [{"role": "user", "content": messages}] if isinstance(messages, str) else list(messages)
        asked = [text_of(message) for message in chat if message.get("role") == "user"]
        for text in asked:
            _pass("question", self._classifier.check(text))
        result = self._model.chat(chat, **options)
        _pass("answer", self._classifier.check(asked[-1] if asked else "", result.text))
        return result


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, whose content is a text or a list of parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if part.get("type") in ("text", "input_text"))


def _pass(what: str, verdict: Verdict) -> None:
    if verdict.blocked:
        raise ContentBlockedError(f"the {what} was blocked by policy: {', '.join(verdict.violated)}")
