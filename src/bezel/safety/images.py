"""ShieldGemma 2: the probability that an image violates each policy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from bezel.backends.sources import opened_image
from bezel.errors import UnsupportedModelError
from bezel.kernels.interface import F32
from bezel.media.fetching import Sources
from bezel.safety.classifier import Verdict, checked_threshold, yes_and_no, yes_probability
from bezel.safety.policies import named

PATHS = Sources(files=True)
_WANTED = "ShieldGemma 2; load google/shieldgemma-2-4b-it"


class SeeingJudge(Protocol):
    """The model behind an image classifier: `bezel.Model` is one."""

    @property
    def tokenizer(self) -> Any: ...

    def describe(self) -> Mapping[str, Any]: ...

    def next_logits(self, *, messages: Sequence[Mapping[str, Any]], **options: Any) -> F32:
        """Logits of the first token of an answer [vocabulary]."""


class ImageClassifier:
    """Asks a ShieldGemma 2 about each policy; its chat template makes the question of an image and a guideline.

    `threshold`: the probability from which a policy counts as violated.
    """

    def __init__(self, model: SeeingJudge, threshold: float = 0.5, policies: Sequence[str] | None = None) -> None:
        self._model, self.threshold = model, checked_threshold(threshold)
        self._policies = named(list(policies) if policies is not None else None, "image")
        architecture = model.describe().get("architecture")
        if architecture != "shieldgemma2":
            raise UnsupportedModelError(f"images are judged by {_WANTED}, as a folder; this model is a {architecture}")
        self._answers = yes_and_no(model.tokenizer, _WANTED)

    def check(self, image: Any, sources: Sources = PATHS) -> Verdict:
        """Judge an image: a path, a file's bytes, a data URL, a PIL image or a uint8 array [height, width, 3].

        `sources`: whether paths and web addresses are read. Raises MediaError where it cannot be read.
        """
        picture = opened_image(image, sources)
        return Verdict.of(
            {policy.key: self._probability(picture, policy.of_images) for policy in self._policies}, self.threshold
        )

    def _probability(self, picture: Any, guideline: str) -> float:
        """As Transformers' `ShieldGemma2ForImageClassification`, which shows an image in no crops."""
        parts = [{"type": "image", "image": picture}, {"type": "text", "text": guideline}]
        messages = [{"role": "user", "content": parts}]
        return yes_probability(self._model.next_logits(messages=messages, pan_and_scan=False), self._answers)
