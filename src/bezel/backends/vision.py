"""The eyes of a loaded model: from the images of a request to spans of soft tokens."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from bezel.backends.sources import opened_image
from bezel.backends.towers import Shown, Tower
from bezel.errors import ModelFileError
from bezel.kernels.interface import F32, Format, Kernels
from bezel.media.fetching import Sources
from bezel.media.images import Picture, Pixels, Preprocessing
from bezel.models.interface import SoftSpan, Weights
from bezel.models.vision import gemma3, gemma3n, paligemma
from bezel.models.vision.mobilenetv5 import check_side
from bezel.text.dialects.paligemma import IMAGE_PIECE
from bezel.text.messages import MediaPart
from bezel.text.soft import EndedForm, ImageForm, Part, Soft
from bezel.weights.checkpoint import Checkpoint, CheckpointWeights
from bezel.weights.vision import preprocessor_config

_BICUBIC = 3  # of Pillow's filters
_PAN_AND_SCAN = {"auto": None, "low": False, "high": True}
Embed = Callable[[Pixels], F32]
"""Pixels as a tower takes them -> what stands in a prompt, float32 [length, hidden]."""


@dataclass(frozen=True)
class Family:
    """What an image is to a family of models: `length` rows of a span, and `parts(crops)` around them in a prompt.

    `causal`: whether its rows see only what came before. `build` makes the tower.
    """

    hidden_size: int
    length: int
    causal: bool
    parts: Callable[[int], list[Part]]
    preprocessing: Preprocessing
    build: Callable[[Weights], Embed]


def _gemma3(view: Checkpoint) -> Family:
    config = gemma3.Config.from_hf(view.config)
    return Family(
        config.hidden_size,
        config.tokens,
        causal=False,
        parts=ImageForm(config.tokens).parts,
        preprocessing=Preprocessing.from_hf(preprocessor_config(view), config.tower.image_size),
        build=lambda weights: gemma3.Gemma3Vision(view.config, weights),
    )


def _gemma3n(view: Checkpoint) -> Family:
    config = gemma3n.Config.from_hf(view.config)
    preprocessing = Preprocessing.of_gemma3n(preprocessor_config(view))
    check_side(config.layout, preprocessing.size)
    length = config.tokens + 1  # the piece that ends an image lies above the text's: its embedding is the last
    return Family(
        config.embedder.hidden_size,
        length,
        causal=True,
        parts=EndedForm.of_image(length).parts,
        preprocessing=preprocessing,
        build=lambda weights: gemma3n.Gemma3nVision(view.config, weights).span,
    )


def _paligemma(view: Checkpoint) -> Family:
    config = paligemma.Config.from_hf(view.config)
    preprocessing = Preprocessing.from_hf(preprocessor_config(view), config.tower.image_size, _BICUBIC)
    return Family(
        config.hidden_size,
        config.tokens,
        causal=False,
        parts=lambda crops: [Soft(config.tokens, IMAGE_PIECE)],
        preprocessing=replace(preprocessing, crops=None),
        build=lambda weights: paligemma.PaliGemmaVision(view.config, weights),
    )


_FAMILIES = {"gemma3": _gemma3, "shieldgemma2": _gemma3, "gemma3n": _gemma3n, "paligemma": _paligemma}


class Vision(Tower):
    """Those of the family that the checkpoint is of. `hidden_size` is the text model's width.

    Raises ModelFileError for a config that contradicts itself or the text model, and UnsupportedModelError.
    """

    def __init__(
        self, view: Checkpoint, kernels: Kernels, level: Format | None, hidden_size: int, kept: bool = True
    ) -> None:
        super().__init__(view, kernels, level, kept)
        with view.named_in_errors():
            self._family = _FAMILIES[view.config["model_type"]](view)
        if self._family.hidden_size != hidden_size:
            raise ModelFileError(
                f"{view.path}: projects images to {self._family.hidden_size} channels and the text model has "
                f"{hidden_size}; this tower belongs to another size"
            )

    @property
    def tokens(self) -> int:
        """Positions that an image takes."""
        return self._family.length

    def shown(self, image: MediaPart, sources: Sources, pan_and_scan: bool | None) -> Shown:
        """An image, then its crops where the model is shown such. `pan_and_scan` None: as `detail` says.

        Raises what `opened_image` raises, and InvalidRequestError for crops that the model was not trained with.
        """
        preprocessing = self._family.preprocessing
        if pan_and_scan is None and preprocessing.crops is not None:
            pan_and_scan = _PAN_AND_SCAN[image.detail]
        parts = preprocessing.parts(opened_image(image.source, sources), pan_and_scan)
        squares = [preprocessing.square(part) for part in parts]
        return self.showing(self._family.parts(len(squares) - 1), [self._span(square) for square in squares])

    def _span(self, square: Picture) -> Callable[[int], SoftSpan]:
        key = hashlib.sha256(square.tobytes()).digest()
        embed = partial(self.soft, key, partial(self._seen, square))
        return lambda start: SoftSpan(start, self.tokens, key, embed, self._family.causal)

    def _seen(self, square: Picture, embed: Embed) -> F32:
        return embed(self._family.preprocessing.pixels(square))

    def _build(self, weights: CheckpointWeights) -> Any:
        return self._family.build(weights)
