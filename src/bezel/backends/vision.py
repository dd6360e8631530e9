"""The image tower of a loaded model: read when the first request with an image comes, put away when asked to."""

from __future__ import annotations

import hashlib
import threading
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from bezel.backends.pictures import opened
from bezel.errors import ModelFileError
from bezel.kernels.interface import F32, Format, Kernels
from bezel.media.fetching import Sources
from bezel.media.images import Picture, Preprocessing
from bezel.models.interface import SoftSpan
from bezel.models.vision.gemma3 import Config, Gemma3Vision
from bezel.text.images import ImageForm
from bezel.text.messages import ImagePart
from bezel.weights.checkpoint import WHOLE_FORMATS, Checkpoint, CheckpointWeights
from bezel.weights.vision import preprocessor_config

KEPT = 16
"""Images whose soft tokens are kept, 2.6 MB each for Gemma 3 4B: those of a conversation are in every turn of it."""
_PAN_AND_SCAN = {"auto": None, "low": False, "high": True}


class Vision:
    """From the images of a request to spans of soft tokens.

    `view` is the checkpoint's tower (`weights.vision`), `hidden_size` the text model's width. A tower that is stored
    whole is kept at `level`, of 4 bits at 8; one that was rounded stays as it is. Raises ModelFileError for a config
    that contradicts itself or the text model.
    """

    def __init__(self, view: Checkpoint, kernels: Kernels, level: Format | None, hidden_size: int) -> None:
        with view.named_in_errors():
            self._config = Config.from_hf(view.config)
            self._preprocessing = Preprocessing.from_hf(preprocessor_config(view), self._config.tower.image_size)
        if self._config.hidden_size != hidden_size:
            raise ModelFileError(
                f"{view.path}: projects images to {self._config.hidden_size} channels and the text model has "
                f"{hidden_size}; this tower belongs to another size"
            )
        self._view, self._kernels = view, kernels
        whole = all(view.info(name).format in WHOLE_FORMATS for name in view.stored_names)
        self._level = None if not whole else Format.Q8_0 if level is Format.Q4_0 else level
        self._model: Gemma3Vision | None = None
        self._lock = threading.Lock()
        self._kept: OrderedDict[bytes, F32] = OrderedDict()

    @property
    def tokens(self) -> int:
        """Soft tokens of an image."""
        return self._config.tokens

    @property
    def loaded(self) -> bool:
        """Whether the tower is in memory."""
        return self._model is not None

    def form(self, soft_id: int) -> ImageForm:
        """How an image stands in a prompt."""
        return ImageForm(self.tokens, soft_id)

    def squares(self, image: ImagePart, sources: Sources, pan_and_scan: bool | None) -> list[Picture]:
        """An image, then its crops, each as large as the tower takes it. `pan_and_scan` None: as `detail` says.

        Raises what `pictures.opened` raises.
        """
        if pan_and_scan is None:
            pan_and_scan = _PAN_AND_SCAN[image.detail]
        parts = self._preprocessing.parts(opened(image.source, sources), pan_and_scan)
        return [self._preprocessing.square(part) for part in parts]

    def spans(self, squares: Sequence[Picture], starts: Sequence[int]) -> list[SoftSpan]:
        """The soft tokens of images, or of their crops, at the positions where they begin."""
        found = []
        for square, start in zip(squares, starts, strict=True):
            key = hashlib.sha256(square.tobytes()).digest()
            found.append(SoftSpan(start, self.tokens, key, partial(self._soft, key, square)))
        return found

    def load(self) -> None:
        """Read the tower, unless it is in memory. Raises ModelFileError and UnsupportedModelError."""
        if self._model is None:
            with self._lock:
                self._loaded()

    def release(self) -> None:
        """Give the tower's memory back; the next image reads it anew."""
        with self._lock:
            self._model = None
            self._kept.clear()

    def _soft(self, key: bytes, square: Picture) -> F32:
        with self._lock:
            soft = self._kept.pop(key, None)
            if soft is None:
                soft = self._loaded()(self._preprocessing.pixels(square))
            self._kept[key] = soft
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
            return soft

    def _loaded(self) -> Gemma3Vision:
        if self._model is None:
            try:
                with self._view.named_in_errors():
                    weights = CheckpointWeights(self._view, self._kernels, self._level)
                    self._model = Gemma3Vision(self._view.config, weights)
            finally:
                self._view.close()
        return self._model
