"""The eyes and ears of a loaded model: from the images, sounds and videos of a request to its prompt."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from bezel.backends.hearing import Hearing
from bezel.backends.interface import Request
from bezel.backends.loading import prompt_of
from bezel.backends.paligemma import prefix_of
from bezel.backends.towers import Shown, Tower
from bezel.backends.videos import Takes, unfolded
from bezel.backends.vision import Vision
from bezel.models.interface import SoftSpan
from bezel.text.dialects.paligemma import PrefixTemplate
from bezel.text.messages import MediaPart, media_of
from bezel.text.template import ChatTemplate
from bezel.text.tokenizer import Tokenizer
from bezel.weights.checkpoint import Checkpoint

Template = ChatTemplate | PrefixTemplate


@dataclass(frozen=True)
class Looked:
    """A request without videos, and what stands in its prompt for each image and sound, in their order."""

    request: Request
    shown: Sequence[Shown]


@dataclass(frozen=True)
class Senses:
    """The towers of a model: one for images, one for sounds, or both."""

    vision: Vision | None
    hearing: Hearing | None

    @classmethod
    def opened(cls, seen: Checkpoint | None, heard: Checkpoint | None, *rest: Any) -> Senses:
        """The towers of two views; the `rest` of the arguments, and errors, as of `Vision` and `Hearing`."""
        return cls(Vision(seen, *rest) if seen else None, Hearing(heard, *rest) if heard else None)

    @property
    def towers(self) -> dict[str, Tower]:
        """By the kind of parts that they take, "image" and "audio"."""
        found: dict[str, Tower | None] = {"image": self.vision, "audio": self.hearing}
        return {kind: tower for kind, tower in found.items() if tower is not None}

    @property
    def longest(self) -> int:
        """Positions of the longest span that one image or sound takes."""
        return max(tower.tokens for tower in (self.vision, self.hearing) if tower)

    def looked(self, request: Request) -> Looked:
        """The media of a request, opened. Raises MediaError for what cannot be read, and as `unfolded`."""
        if request.messages is None or request.prompt is not None:
            return Looked(request, [])
        ears = self.hearing
        takes = Takes(self.vision is not None, ears.seconds, ears.rate) if ears else Takes(self.vision is not None)
        request = replace(request, messages=unfolded(request.messages, request.sources, takes))
        parts = media_of(request.messages or (), self.towers)
        return Looked(request, [self._shown(part, request) for part in parts])

    def lay_out(self, looked: Looked, template: Template, tokenizer: Tokenizer) -> tuple[list[int], list[SoftSpan]]:
        """Token ids, and the spans of them that are images or sounds. Raises as `prompt_of`."""
        request, shown = looked.request, looked.shown
        if request.messages is None or not shown:
            return prompt_of(request, template, tokenizer), []
        layout = template.lay_out(request.messages, request.offered, [each.parts for each in shown])
        made = [span for each in shown for span in each.spans]
        spans = [span(start) for span, start in zip(made, layout.starts, strict=True)]
        return layout.ids, [prefix_of(layout.ids, spans)] if layout.prefix else spans

    def prepare(self, looked: Looked) -> None:
        """Read what the spans will need, and let go of what need not stay."""
        for each in looked.shown:
            each.prepare()  # a file that cannot be read ends this request and none beside it
        for tower in self.towers.values():
            tower.rest()

    def release(self) -> None:
        """Give back the memory of the towers; the next image or sound reads them again."""
        for tower in self.towers.values():
            tower.release()

    def _shown(self, part: MediaPart, request: Request) -> Shown:
        if part.kind == "image":
            assert self.vision is not None
            return self.vision.shown(part, request.sources, request.pan_and_scan)
        assert self.hearing is not None
        return self.hearing.shown(part, request.sources)
