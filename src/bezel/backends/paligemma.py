"""The eyes of PaliGemma, and the prefix that its prompts are: one span of images and text that see each other."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from bezel.backends.sources import opened_image
from bezel.backends.towers import Shown, Tower
from bezel.errors import InvalidRequestError, ModelFileError
from bezel.kernels.interface import F32, Format, Kernels
from bezel.media.fetching import Sources
from bezel.media.images import Picture, Preprocessing
from bezel.models.interface import SoftSpan
from bezel.models.vision.paligemma import Config, PaliGemmaVision
from bezel.text.dialects.paligemma import IMAGE_PIECE
from bezel.text.messages import MediaPart
from bezel.text.soft import Soft
from bezel.weights.checkpoint import Checkpoint, CheckpointWeights
from bezel.weights.vision import preprocessor_config

_BICUBIC = 3


class PaliGemmaEyes(Tower):
    """PaliGemma's. `hidden_size` is the text model's width, `context` the most tokens that a prefix may have.

    Raises ModelFileError for a config that contradicts itself or the text model.
    """

    def __init__(
        self, view: Checkpoint, kernels: Kernels, level: Format | None, hidden_size: int, context: int
    ) -> None:
        super().__init__(view, kernels, level)
        with view.named_in_errors():
            config = Config.from_hf(view.config)
            self._preprocessing = Preprocessing.from_hf(preprocessor_config(view), config.tower.image_size, _BICUBIC)
        if config.hidden_size != hidden_size:
            raise ModelFileError(
                f"{view.path}: projects images to {config.hidden_size} channels and the text model has {hidden_size}; "
                "config.json contradicts itself"
            )
        self._image_tokens, self.tokens = config.tokens, context

    def shown(self, image: MediaPart, sources: Sources, pan_and_scan: bool | None) -> Shown:
        """An image, whole. Raises what `opened_image` raises, and InvalidRequestError where crops are asked for."""
        if pan_and_scan or (pan_and_scan is None and image.detail == "high"):
            raise InvalidRequestError(
                "PaliGemma sees an image whole and in no crops; leave pan_and_scan and the detail out, or load a "
                "checkpoint for larger images, such as google/paligemma2-3b-mix-448"
            )
        square = self._preprocessing.square(opened_image(image.source, sources))
        return Shown([Soft(self._image_tokens, IMAGE_PIECE)], [self._span(square)])

    def _span(self, square: Picture) -> Callable[[int], SoftSpan]:
        key = hashlib.sha256(square.tobytes()).digest()
        embed = partial(self.soft, key, partial(self._seen, square))
        return lambda start: SoftSpan(start, self._image_tokens, key, embed)

    def _seen(self, square: Picture, model: PaliGemmaVision) -> F32:
        return model(self._preprocessing.pixels(square))

    def _build(self, weights: CheckpointWeights) -> PaliGemmaVision:
        return PaliGemmaVision(self._view.config, weights)


def prefix_of(ids: Sequence[int], images: Sequence[SoftSpan]) -> SoftSpan:
    """A prompt whose first tokens are `images`, one behind the other, as the one span that it is.

    It is known by all of its content: what any of its rows holds depends on every other.
    """
    soft = images[-1].end
    key = hashlib.sha256(b"".join([*(image.key for image in images), np.array(ids[soft:], "<i8").tobytes()])).digest()
    return SoftSpan(
        0, len(ids), key, lambda: np.concatenate([image.embed() for image in images]), soft=soft, prefix=True
    )
