"""Log-mel bands against Transformers' extractor for Gemma 3n, over sounds made here."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from bezel.errors import InvalidRequestError, ModelFileError
from bezel.media.spectrograms import LogMel

RATE = 16_000


def tone(samples: int) -> np.ndarray:
    return 0.8 * np.sin(2 * np.pi * 440 * np.arange(samples) / RATE)


def noise(samples: int) -> np.ndarray:
    return 0.3 * np.random.default_rng(samples).standard_normal(samples)


def speech(samples: int) -> np.ndarray:
    """Pulses of a gliding voice through two resonances, in syllables with pauses."""
    at = np.arange(samples) / RATE
    pitch = 120 + 30 * np.sin(2 * np.pi * 0.7 * at)
    phase = 2 * np.pi * np.cumsum(pitch) / RATE
    harmonics = [np.sin(k * phase) * np.exp(-(((k * 120 - 700) / 400) ** 2)) for k in range(1, 30)]
    return np.sum(harmonics, axis=0) * np.clip(np.sin(2 * np.pi * 3 * at), 0, 1) * 0.2


def silence(samples: int) -> np.ndarray:
    return np.zeros(samples)


def click(samples: int) -> np.ndarray:
    return np.eye(1, samples, samples // 2)[0]


SOUNDS = [tone, noise, speech, silence, click]
LENGTHS = [400, 513, 640, 641, 1023, 7777, 16_000, 60_001]
BANDS = {"per_bin_mean": np.linspace(-3, 3, 128).tolist(), "per_bin_stddev": np.linspace(0.5, 2, 128).tolist()}
SETTINGS: dict[str, dict[str, Any]] = {
    "as published": {},
    "every other way": {
        "preemphasis_htk_flavor": False,
        "fft_overdrive": False,
        "input_scale_factor": 3.5,
        "mel_floor": 1e-3,
        "frame_length_ms": 20.0,
        "hop_length_ms": 7.5,
        "min_frequency": 0.0,
        "feature_size": 40,
    },
    "no emphasis, normalised": {"preemphasis": 0.0, **BANDS},
}


def oracle(**settings: Any) -> Any:
    pytest.importorskip("torch")
    return pytest.importorskip("transformers").Gemma3nAudioFeatureExtractor(**settings)


def expected(sound: np.ndarray, **settings: Any) -> np.ndarray:
    found = oracle(**settings)(sound, return_tensors="np")
    assert found["input_features_mask"].all()  # a sound by itself has no frame of padding
    return np.asarray(found["input_features"][0])


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS)
@pytest.mark.parametrize("samples", LENGTHS)
@pytest.mark.parametrize("make", SOUNDS, ids=lambda make: make.__name__)
def test_bands_are_transformers_for_sounds_of_any_length(make: Any, samples: int, settings: dict[str, Any]) -> None:
    sound = make(samples).astype(np.float32)
    log_mel = LogMel.from_hf(settings)
    found, theirs = log_mel(sound), expected(sound, **settings)
    assert found.dtype == np.float32 and found.shape == theirs.shape == (log_mel.frames(samples), len(found.T))
    if len(found):
        spread = expected(noise(16_000).astype(np.float32), **settings)
        assert np.abs(found - theirs).max() <= 1e-3 * (spread.max() - spread.min())


def test_thirty_seconds_have_2997_frames_and_nothing_longer_is_cut() -> None:
    sound = noise(31 * RATE).astype(np.float32)
    log_mel = LogMel()
    bands = log_mel(sound)
    assert len(bands) == log_mel.frames(31 * RATE) == 3097 and log_mel.frames(30 * RATE) == 2997
    np.testing.assert_array_equal(bands[:2997], log_mel(sound[: 30 * RATE]))


@pytest.mark.parametrize("samples", [0, 1, 512])
def test_what_is_shorter_than_a_frame_has_none(samples: int) -> None:
    sound = np.ones(samples, np.float32)
    assert LogMel()(sound).shape == (0, 128) and LogMel().frames(samples) == 0


def test_a_published_config_is_read_whole() -> None:
    config = {**json.loads(oracle().to_json_string()), **BANDS}
    found = LogMel.from_hf(config)
    assert found == LogMel(**{name: tuple(values) for name, values in BANDS.items()})
    assert (found.frame_length, found.hop_length, found.fft_length) == (512, 160, 1024)


@pytest.mark.parametrize(
    "wrong",
    [
        {"feature_size": 0},
        {"feature_size": 12.5},
        {"mel_floor": 0},
        {"preemphasis": -1.0},
        {"fft_overdrive": 1},
        {"min_frequency": 9000.0},
        {"hop_length_ms": float("nan")},
        {"hop_length_ms": 0.001},
        {"per_bin_mean": [1.0]},
        {"per_bin_mean": ["1"] * 128},
        {"per_bin_stddev": [0.0] * 128},
    ],
    ids=str,
)
def test_a_wrong_field_is_named(wrong: dict[str, Any]) -> None:
    with pytest.raises(ModelFileError, match=f"{next(iter(wrong))}|Hz cannot be"):
        LogMel.from_hf(wrong)


@pytest.mark.parametrize(
    "sound",
    [np.zeros(2000), np.zeros((2000, 2), np.float32), [0.0] * 2000, np.full(2000, np.nan, np.float32)],
    ids=["float64", "stereo", "list", "nan"],
)
def test_other_sounds_are_refused(sound: Any) -> None:
    with pytest.raises(InvalidRequestError, match="a sound"):
        LogMel()(sound)
