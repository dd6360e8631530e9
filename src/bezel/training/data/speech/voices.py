"""Voices of espeak-ng (`apt-get install espeak-ng`), of which some are held out, and speaking with one."""

from __future__ import annotations

import random
import shutil
import subprocess
from dataclasses import dataclass

import numpy as np

from bezel.errors import BezelError
from bezel.media.spectrograms import Sound
from bezel.training.data.example import Split

RATE = 16_000
# Not en-gb and fr-fr: espeak-ng 1.51 takes no variant with these names, and says nothing of it.
ACCENTS = {
    "en": ("en", "en-us", "en-gb-scotland", "en-gb-x-rp"),
    "es": ("es", "es-419"),
    "fr": ("fr", "fr-be", "fr-ch"),
    "it": ("it",),
    "pt": ("pt", "pt-br"),
}
VARIANTS: dict[Split, tuple[str, ...]] = {
    "train": (
        *("", "+m1", "+m2", "+m4", "+m6", "+m7", "+m8", "+f1", "+f3", "+f5"),
        "+Andy",
        "+Annie",
        "+linda",
        "+steph",
    ),
    "held_out": ("+f2", "+m3", "+f4", "+m5"),
}
_ESPEAK_RATE, _HEADER = 22_050, 44
_SECONDS = 20


@dataclass(frozen=True)
class Voice:
    """espeak-ng's name of an accent and a variant, words a minute, and pitch (0 to 99)."""

    name: str
    speed: int = 160
    pitch: int = 50


def choose(rng: random.Random, split: Split, language: str) -> Voice:
    """A voice of the split's share for a language (a code of ACCENTS)."""
    name = rng.choice(ACCENTS[language]) + rng.choice(VARIANTS[split])
    return Voice(name, rng.randint(125, 195), rng.randint(25, 75))


def speak(text: str, voice: Voice) -> Sound:
    """The text spoken: float32 [samples] at RATE. BezelError where espeak-ng is missing, or says nothing."""
    import soxr

    program = shutil.which("espeak-ng")
    if program is None:
        raise BezelError("espeak-ng is not installed; apt-get install espeak-ng brings it")
    command = [
        program,
        "-v",
        voice.name,
        "-s",
        str(voice.speed),
        "-p",
        str(voice.pitch),
        "-b",
        "1",
        "--stdin",
        "--stdout",
    ]
    done = subprocess.run(command, input=text.encode(), capture_output=True, timeout=_SECONDS, check=False)
    samples = np.frombuffer(done.stdout[_HEADER : len(done.stdout) // 2 * 2], "<i2").astype(np.float32) / 32768
    if done.returncode or not samples.any():
        raise BezelError(f"espeak-ng said nothing with the voice {voice.name!r}: {done.stderr.decode()[:200]}")
    found: Sound = soxr.resample(samples, _ESPEAK_RATE, RATE).astype(np.float32)
    return found
