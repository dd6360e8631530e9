"""What lies between a voice and a microphone: silence around it, an echoing room, noise, and loudness."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from bezel.media.spectrograms import Sound

RATE = 16_000


def with_noise(sound: Sound, decibels: float, noise: Generator, tilt: float = 0.5) -> Sound:
    """Noise `decibels` quieter than the sound. `tilt` 0 is white, 1 falls by 6 dB an octave, like traffic far away."""
    spectrum = np.fft.rfft(noise.standard_normal(len(sound)))
    spectrum /= np.maximum(np.arange(len(spectrum)), len(spectrum) / 200) ** tilt
    made = np.fft.irfft(spectrum, len(sound))
    level = np.sqrt(np.mean(sound**2)) / np.sqrt(np.mean(made**2)) * 10 ** (-decibels / 20)
    found: Sound = (sound + level * made).astype(np.float32)
    return found


def in_room(sound: Sound, seconds: float, share: float, noise: Generator) -> Sound:
    """An echo that has fallen by 60 dB after `seconds`, `share` as loud as the voice itself."""
    size = max(1, int(seconds * RATE))
    tail = noise.standard_normal(size) * 10 ** (-3 * np.arange(size) / size)
    tail *= share / np.sqrt(np.sum(tail**2))
    length = len(sound) + size
    echo = np.fft.irfft(np.fft.rfft(sound, length) * np.fft.rfft(tail, length), length)[: len(sound)]
    found: Sound = (sound + echo).astype(np.float32)
    return found


def recorded(sound: Sound, noise: Generator) -> Sound:
    """The sound as somebody might have recorded it; half of them are in a room, two thirds have noise."""
    before, behind = (int(RATE * noise.uniform(0.0, 0.3)) for _ in range(2))
    sound = np.pad(sound, (before, behind))
    if noise.random() < 0.5:
        sound = in_room(sound, noise.uniform(0.1, 0.5), noise.uniform(0.1, 0.7), noise)
    if noise.random() < 0.67:
        sound = with_noise(sound, noise.uniform(10, 35), noise, noise.uniform(0, 1))
    loudness = 10 ** noise.uniform(-1.2, -0.05)
    found: Sound = (sound * (loudness / max(1e-6, np.abs(sound).max()))).astype(np.float32)
    return found
