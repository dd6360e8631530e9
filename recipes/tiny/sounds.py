"""Makes recordings of spoken phrases, as log-mel bands in a folder: a processor's work for minutes, done once.

    python -m recipes.tiny.sounds RUN_FOLDER --count 16000

It goes on where it was stopped, and may run beside the training, which takes what there is.
"""

import argparse
import json
import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bezel.media.spectrograms import LogMel
from bezel.training.data.example import Split
from bezel.training.data.speech import phrases, rooms, voices
from bezel.training.data.speech.phrases import Phrase

SHARD = 250
FRAMES = 480  # at most: 4.8 s


@dataclass(frozen=True)
class Recording:
    """float16 [frames, bands] and what is said."""

    frames: np.ndarray
    phrase: Phrase


def record(rng: random.Random, split: Split) -> Recording:
    """A phrase that a voice says somewhere."""
    while True:
        phrase = phrases.sample(rng, split)
        sound = voices.speak(phrase.text, voices.choose(rng, split, phrase.language))
        sound = rooms.recorded(sound, np.random.default_rng(rng.randrange(1 << 32)))
        frames = LogMel()(sound)
        if len(frames) <= FRAMES:
            return Recording(frames.astype(np.float16), phrase)


def make(folder: Path, split: Split, count: int) -> None:
    """Fill up to `count` recordings, SHARD to a file."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(-(-count // SHARD)):
        path = folder / f"{split}-{number:04d}.npz"
        if path.exists():
            continue
        rng = random.Random(f"{split} {number}")
        made = [record(rng, split) for _ in range(min(SHARD, count))]
        texts = [[r.phrase.language, r.phrase.text, r.phrase.english] for r in made]
        frames = np.concatenate([r.frames for r in made])
        lengths = [len(r.frames) for r in made]
        with path.with_suffix(".new").open("wb") as file:
            np.savez(file, frames=frames, lengths=lengths, texts=json.dumps(texts))
        path.with_suffix(".new").rename(path)


def load(folder: Path, split: Split, known: set[str] | None = None) -> list[Recording]:
    """All recordings that are there, or those of files that are not `known`, which then are."""
    found: list[Recording] = []
    known = set() if known is None else known
    for path in sorted(folder.glob(f"{split}-*.npz")):
        if path.name in known:
            continue
        known.add(path.name)
        with np.load(path) as file:
            parts = np.split(file["frames"], np.cumsum(file["lengths"])[:-1])
            texts = json.loads(str(file["texts"]))
        found += [Recording(frames, Phrase(*text)) for frames, text in zip(parts, texts, strict=True)]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--count", type=int, default=16_000)
    options = parser.parse_args()
    make(options.folder / "sounds", "held_out", SHARD)
    make(options.folder / "sounds", "train", options.count)
