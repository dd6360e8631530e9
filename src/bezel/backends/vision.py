"""The eyes of a loaded model: from the images of a request to spans of soft tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import partial

from bezel.backends.sources import opened_image
from bezel.backends.towers import Shown, Tower
from bezel.errors import ModelFileError
from bezel.kernels.interface import F32, Format, Kernels
from bezel.media.fetching import Sources
from bezel.media.images import Picture, Preprocessing
from bezel.models.interface import SoftSpan
from bezel.models.vision.gemma3 import Config, Gemma3Vision
from bezel.text.messages import MediaPart
from bezel.text.soft import ImageForm
from bezel.weights.checkpoint import Checkpoint, CheckpointWeights
from bezel.weights.vision import preprocessor_config

_PAN_AND_SCAN = {"auto": None, "low": False, "high": True}


class Vision(Tower):
    """Gemma 3's. `hidden_size` is the text model's width.

    Raises ModelFileError for a config that contradicts itself or the text model.
    """

    def __init__(self, view: Checkpoint, kernels: Kernels, level: Format | None, hidden_size: int) -> None:
        super().__init__(view, kernels, level)
        with view.named_in_errors():
            self._config = Config.from_hf(view.config)
            self._preprocessing = Preprocessing.from_hf(preprocessor_config(view), self._config.tower.image_size)
        if self._config.hidden_size != hidden_size:
            raise ModelFileError(
                f"{view.path}: projects images to {self._config.hidden_size} channels and the text model has "
                f"{hidden_size}; this tower belongs to another size"
            )
        self._form = ImageForm(self._config.tokens)

    @property
    def tokens(self) -> int:
        """Soft tokens of an image."""
        return self._config.tokens

    def shown(self, image: MediaPart, sources: Sources, pan_and_scan: bool | None) -> Shown:
        """An image, then its crops. `pan_and_scan` None: as `detail` says. Raises what `opened_image` raises."""
        if pan_and_scan is None:
            pan_and_scan = _PAN_AND_SCAN[image.detail]
        parts = self._preprocessing.parts(opened_image(image.source, sources), pan_and_scan)
        squares = [self._preprocessing.square(part) for part in parts]
        return Shown(self._form.parts(len(squares) - 1), [self._span(square) for square in squares])

    def _span(self, square: Picture) -> Callable[[int], SoftSpan]:
        key = hashlib.sha256(square.tobytes()).digest()
        embed = partial(self.soft, key, partial(self._seen, square))
        return lambda start: SoftSpan(start, self.tokens, key, embed)

    def _seen(self, square: Picture, model: Gemma3Vision) -> F32:
        return model(self._preprocessing.pixels(square))

    def _build(self, weights: CheckpointWeights) -> Gemma3Vision:
        return Gemma3Vision(self._view.config, weights)
