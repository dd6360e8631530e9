"""ShieldGemmas beside a model: they judge what is asked, also images, and what is answered."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from bezel.backends.interface import Request
from bezel.errors import ContentBlockedError, ContextLengthError, InvalidRequestError
from bezel.media.fetching import Sources
from bezel.safety.classifier import Classifier, Verdict
from bezel.safety.guarding import opened_images, text_of
from bezel.safety.images import ImageClassifier
from bezel.safety.policies import policies

Violated = Callable[[str], None]
"""Told of each policy that is violated."""
_REMEMBERED = 1024
_JUDGED_ROLES = ("system", "developer", "user", "tool")


class Guard:
    """A classifier of texts, one of images, or both. Many threads may ask; they are answered one after another.

    Verdicts of what was asked are remembered by a hash, so that a chat's earlier messages are judged once.
    """

    def __init__(self, name: str, texts: Classifier | None = None, images: ImageClassifier | None = None) -> None:
        self.name, self.texts, self.images = name, texts, images
        self._lock = threading.Lock()
        self._known: OrderedDict[bytes, Verdict] = OrderedDict()

    @classmethod
    def of(cls, models: Mapping[str, Any], threshold: float = 0.5, keys: Sequence[str] = ()) -> Guard:
        """The guard of loaded models by their names: a ShieldGemma 2 judges images, any other texts.

        `keys`: the policies that are asked about; all where there are none. Raises InvalidRequestError for two models
        that judge the same, and for a policy that none of them knows, and UnsupportedModelError.
        """
        texts, images = None, None
        asked = {judged: [key for key in keys if key in policies(judged)] for judged in ("text", "image")}
        for name, model in models.items():
            kind = "image" if model.describe().get("architecture") == "shieldgemma2" else "text"
            if (texts, images)[kind == "image"] is not None:
                raise InvalidRequestError(f"two guards judge {kind}s; leave one of them out")
            if keys and not asked[kind]:
                raise InvalidRequestError(f"{name} judges none of {', '.join(keys)}; choose from its policies")
            if kind == "image":
                images = ImageClassifier(model, threshold, asked[kind] or None)
            else:
                texts = Classifier(model, threshold, asked[kind] or None)
        unknown = [key for key in keys if key not in asked["text"] + asked["image"]]
        if unknown:
            known = dict.fromkeys((*policies("text"), *policies("image")))
            raise InvalidRequestError(f"unknown policy {unknown[0]!r}; choose from {', '.join(known)}")
        return cls(" + ".join(models), texts, images)

    def text(self, asked: str, answered: str | None = None) -> Verdict:
        """What the classifier of texts says. Raises ContextLengthError where it cannot read so much."""
        assert self.texts is not None
        key = hashlib.sha256(asked.encode(errors="surrogatepass")).digest()
        with self._lock:
            if answered is None and key in self._known:
                self._known.move_to_end(key)
                return self._known[key]
            try:
                verdict = self.texts.check(asked, answered)
            except ContextLengthError:
                raise ContextLengthError("the guard cannot read so long a text; send a shorter one") from None
            if answered is None:
                self._known[key] = verdict
                if len(self._known) > _REMEMBERED:
                    self._known.popitem(last=False)
            return verdict

    def image(self, image: Any) -> Verdict:
        """What the classifier of images says, of a data URL or what else needs no fetching. Raises MediaError."""
        assert self.images is not None
        with self._lock:
            return self.images.check(image, Sources())

    def passed(self, request: Request, prompt: str, violated: Violated) -> Request:
        """The request, its images as they were judged: every text and image that is not the model's own passes.

        `prompt`: of a request without messages, as text. Raises ContentBlockedError where a policy is violated,
        UnsupportedInputError for sounds, and for images that no classifier judges.
        """
        if request.messages is None:
            self._text(prompt, violated)
            return request
        chat = list(request.messages)
        for place, message in enumerate(chat):
            if message.get("role") in _JUDGED_ROLES:
                self._text(text_of(message, self.images is not None), violated)
                if self.images is not None:
                    chat[place] = opened_images(
                        message, request.sources, lambda picture: self._pass(self.image(picture), violated)
                    )
        return replace(request, messages=chat)

    def answer(self, asked: str, answered: str, violated: Violated) -> None:
        """Raises ContentBlockedError where an answer, as far as it is written, violates a policy."""
        if self.texts is not None and answered.strip():
            self._pass(self.text(asked, answered), violated)

    def _text(self, asked: str, violated: Violated) -> None:
        if self.texts is not None and asked.strip():
            self._pass(self.text(asked), violated)

    def _pass(self, verdict: Verdict, violated: Violated) -> None:
        for key in verdict.violated:
            violated(key)
        if verdict.blocked:
            raise ContentBlockedError(f"blocked by policy: {', '.join(verdict.violated)}")
