"""From a sound to what an audio tower takes, log-mel bands, as Transformers' Gemma3nAudioFeatureExtractor does it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bezel.errors import InvalidRequestError, ModelFileError

Sound = NDArray[np.float32]
"""[samples], one channel, at the rate of the tower (16 kHz); full scale is -1 to 1."""
Spectrogram = NDArray[np.float32]
"""[frames, bands]."""

_PADDED = 128  # samples that a sound is filled up to a multiple of, with silence
_STRIP = 256  # frames that are transformed together, which holds memory down


@dataclass(frozen=True)
class LogMel:
    """How a sound becomes frames; names as in `preprocessor_config.json`. Frequencies in Hz, times in milliseconds.

    `per_bin_mean` and `per_bin_stddev` have one number a band, or none.
    """

    feature_size: int = 128
    sampling_rate: int = 16_000
    frame_length_ms: float = 32.0
    hop_length_ms: float = 10.0
    min_frequency: float = 125.0
    max_frequency: float = 7600.0
    preemphasis: float = 0.97
    preemphasis_htk_flavor: bool = True
    fft_overdrive: bool = True
    input_scale_factor: float = 1.0
    mel_floor: float = 1e-5
    per_bin_mean: tuple[float, ...] | None = None
    per_bin_stddev: tuple[float, ...] | None = None

    @classmethod
    def from_hf(cls, config: Mapping[str, Any]) -> LogMel:
        """Read a `preprocessor_config.json`; ModelFileError names a field that is wrong.

        Dither is noise for training, and is left out as in the published configs.
        """
        given = {name: config[name] for name in cls.__dataclass_fields__ if config.get(name) is not None}
        for name, value in given.items():
            _check(name, value, getattr(cls, name))
        chosen: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in given.items()}
        found = cls(**chosen)
        for name, bands in (("per_bin_mean", found.per_bin_mean), ("per_bin_stddev", found.per_bin_stddev)):
            if bands is not None and len(bands) != found.feature_size:
                raise ModelFileError(f"preprocessor_config: {name} has {len(bands)} numbers for {found.feature_size}")
        if not 0 <= found.min_frequency < found.max_frequency or min(found.frame_length, found.hop_length) < 1:
            raise ModelFileError(
                f"preprocessor_config: frames of {found.frame_length_ms} ms every {found.hop_length_ms} ms from "
                f"{found.min_frequency} to {found.max_frequency} Hz cannot be"
            )
        return found

    @property
    def frame_length(self) -> int:
        """In samples."""
        return round(self.sampling_rate * self.frame_length_ms / 1000)

    @property
    def hop_length(self) -> int:
        """In samples."""
        return round(self.sampling_rate * self.hop_length_ms / 1000)

    @property
    def fft_length(self) -> int:
        """The next power of two, and twice that with overdrive."""
        return 1 << (self.frame_length - 1).bit_length() << self.fft_overdrive

    def frames(self, samples: int) -> int:
        """How many frames a sound has. Each also needs the sample behind it."""
        padded = math.ceil(samples / _PADDED) * _PADDED
        return max(0, (padded - self.frame_length - 1) // self.hop_length + 1)

    def __call__(self, sound: Sound) -> Spectrogram:
        """float32 [samples] -> float32 [frames, feature_size]; none where the sound is shorter than a frame.

        Nothing is cut: a caller whose model takes 30 s at a time cuts by itself. InvalidRequestError for other arrays,
        and for samples that are no numbers.
        """
        if not isinstance(sound, np.ndarray) or sound.dtype != np.float32 or sound.ndim != 1:
            raise InvalidRequestError("a sound is something else; send one channel, float32 [samples]")
        if not np.isfinite(sound).all():
            raise InvalidRequestError("a sound has samples that are infinite or no numbers; send it again")
        if not self.frames(len(sound)):
            return np.zeros((0, self.feature_size), np.float32)
        padded = np.pad(sound, (0, -len(sound) % _PADDED))
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.frame_length + 1)[:: self.hop_length]
        strips = [self._bands(windows[first : first + _STRIP]) for first in range(0, len(windows), _STRIP)]
        return np.concatenate(strips)

    def _bands(self, windows: NDArray[np.float32]) -> Spectrogram:
        """[frames, frame_length + 1] samples -> [frames, feature_size].

        In float32 to the end of the transform: what stands in quiet bands beside a loud tone is its rounding.
        """
        if self.input_scale_factor != 1:
            windows = windows * np.float32(self.input_scale_factor)
        frames = self._emphasised(windows) * self._window
        magnitudes = np.abs(np.fft.rfft(frames, n=self.fft_length, axis=-1))
        bands = np.log(np.maximum(magnitudes @ self._filters, self.mel_floor))
        if self.per_bin_mean is not None:
            bands = bands - np.array(self.per_bin_mean)
        if self.per_bin_stddev is not None:
            bands = bands / np.array(self.per_bin_stddev)
        return bands.astype(np.float32)

    def _emphasised(self, windows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Every sample less most of the one before.

        The HTK flavour begins with a sample that has none before it; the window takes it to 0, whatever it is.
        """
        share = np.float32(self.preemphasis)
        if not self.preemphasis:
            return windows[:, :-1]
        if not self.preemphasis_htk_flavor:
            return windows[:, 1:] - share * windows[:, :-1]
        return np.concatenate([windows[:, :1], windows[:, 1:-1] - share * windows[:, :-2]], axis=1)

    @cached_property
    def _window(self) -> NDArray[np.float32]:
        """A periodic Hann window, [frame_length]."""
        turns = np.arange(self.frame_length, dtype=np.float32) / self.frame_length
        return (0.5 - 0.5 * np.cos(2 * np.pi * turns)).astype(np.float32)

    @cached_property
    def _filters(self) -> NDArray[np.float64]:
        """Triangles of equal height whose corners are evenly spaced in mel, [fft_length / 2 + 1, feature_size]."""
        low, high = (2595 * math.log10(1 + end / 700) for end in (self.min_frequency, self.max_frequency))
        corners = 700 * (10 ** (np.linspace(low, high, self.feature_size + 2) / 2595) - 1)
        frequencies = np.arange(self.fft_length // 2 + 1)[:, None] * (self.sampling_rate / self.fft_length)
        rising = (frequencies - corners[:-2]) / np.diff(corners)[:-1]
        falling = (corners[2:] - frequencies) / np.diff(corners)[1:]
        filters: NDArray[np.float64] = np.maximum(0, np.minimum(rising, falling))
        return filters


def _check(name: str, value: Any, default: Any) -> None:
    """ModelFileError unless a field is of its default's kind and within its range."""
    if name.startswith("per_bin"):
        numbers = isinstance(value, list | tuple) and all(type(each) in (int, float) for each in value)
        good = numbers and all(map(math.isfinite, value)) and (name != "per_bin_stddev" or all(value))
    elif isinstance(default, bool):
        good = isinstance(value, bool)
    else:
        whole = isinstance(default, int)
        good = type(value) is int or (not whole and type(value) is float and math.isfinite(value))
        good = good and (value > 0 or (value == 0 and name in ("preemphasis", "min_frequency")))
    if not good:
        raise ModelFileError(f"preprocessor_config: {name} is {value!r}")
