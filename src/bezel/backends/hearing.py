"""The ears of a loaded model: from the sounds of a request to spans of soft tokens."""

from __future__ import annotations

import hashlib
import math
from functools import partial

from bezel.backends.sources import opened_sound
from bezel.backends.towers import Shown, Tower
from bezel.errors import InvalidRequestError, ModelFileError
from bezel.kernels.interface import F32, Format, Kernels
from bezel.media.fetching import Sources
from bezel.media.spectrograms import LogMel, Sound
from bezel.models.audio import usm
from bezel.models.audio.gemma3n import Gemma3nAudio
from bezel.models.embedder import Config
from bezel.models.interface import SoftSpan
from bezel.models.leaves import field_of
from bezel.text.messages import MediaPart
from bezel.text.soft import EndedForm
from bezel.weights.checkpoint import Checkpoint, CheckpointWeights
from bezel.weights.vision import preprocessor_config

_LONGEST = 30.0  # seconds, that Gemma 3n was trained with


def longest(tokens: int, tower: usm.Config, features: LogMel) -> float:
    """Seconds of the longest sound that has at most `tokens` soft tokens."""
    first, second = tower.convolutions
    frames = first.stride[0] * second.stride[0] * tower.reduction  # of a soft token
    return min(_LONGEST, tokens * frames * features.hop_length / features.sampling_rate)


class Hearing(Tower):
    """Gemma 3n's. `hidden_size` is the text model's width.

    Raises ModelFileError for a config that contradicts itself or the text model.
    """

    def __init__(
        self, view: Checkpoint, kernels: Kernels, level: Format | None, hidden_size: int, kept: bool = True
    ) -> None:
        super().__init__(view, kernels, level, kept)
        with view.named_in_errors():
            config = Config.from_hf(view.config, "audio_config")
            self._features = LogMel.from_hf(preprocessor_config(view))
            soft = field_of(view.config, "audio_soft_tokens_per_image", int, 188)
            self.seconds = longest(soft, usm.Config.from_hf(view.config["audio_config"]), self._features)
            self.tokens = soft + 1  # the piece that ends a sound lies above the text's: its embedding is the last
        if config.hidden_size != hidden_size:
            raise ModelFileError(
                f"{view.path}: projects sounds to {config.hidden_size} channels and the text model has {hidden_size}; "
                "this tower belongs to another size"
            )
        self._form = EndedForm.of_sound(self.tokens)

    @property
    def rate(self) -> int:
        """Samples a second that the tower hears."""
        return self._features.sampling_rate

    def shown(self, part: MediaPart, sources: Sources) -> Shown:
        """A sound. Raises what `opened_sound` raises, and InvalidRequestError for one of more than `seconds`."""
        sound = opened_sound(part.source, sources, self.rate)
        seconds = len(sound) / self.rate
        if seconds > self.seconds:
            told = math.ceil(seconds * 100) / 100
            raise InvalidRequestError(
                f"the sound is {told:g} s long and the model hears {self.seconds:g} s at once; send it in parts, or "
                "use transcribe"
            )
        key = hashlib.sha256(sound.tobytes()).digest()
        embed = partial(self.soft, key, partial(self._heard, sound))
        return self.showing(self._form.parts(), [lambda start: SoftSpan(start, self.tokens, key, embed, causal=True)])

    def _heard(self, sound: Sound, model: Gemma3nAudio) -> F32:
        return model.span(self._features(sound))

    def _build(self, weights: CheckpointWeights) -> Gemma3nAudio:
        return Gemma3nAudio(self._view.config, weights)
