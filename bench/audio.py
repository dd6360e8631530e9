"""Gemma 3n's ears at their true shape: 12 blocks of 1,536 channels, 188 soft tokens for 30 s. Weights are random.

    python -m bench.audio [--level balanced] [--seconds 30] [--rounds 3] [--kernels] [--torch float32]

Prints the median seconds of features and of the tower with its projection, what the activations add to the memory of
the process, and one JSON line. `--kernels` adds the clock and the processor time of every kernel; `--torch` runs
Transformers' tower by turns in the same process, in float32 or bfloat16.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np

from bench.vision import Timed
from bezel.kernels.formats import quantize
from bezel.kernels.interface import F32, Format, Kernels
from bezel.kernels.library import Native
from bezel.media.spectrograms import LogMel, Sound
from bezel.models.audio.gemma3n import Gemma3nAudio
from bezel.models.interface import Weights
from bezel.weights.checkpoint import LEVELS

CONFIG = {"audio_config": {}, "text_config": {"hidden_size": 2048}}
ROWS = 64  # of a matrix that differ; the rest repeat them, which takes no time to make


class RandomWeights:
    """As much of `Weights` as a tower asks for, of one that has learnt nothing."""

    def __init__(self, kernels: Any, format: Format) -> None:
        self.kernels: Kernels = kernels
        self._format = format
        self._rng = np.random.default_rng(0)

    def matrix(self, *names: str, shape: tuple[int, int], padded: bool = False) -> Any:
        format = Format.F16 if shape[1] % self._format.block_elements else self._format
        packed = self.kernels.allocate(format, *shape)
        raw = quantize(format, self._rng.standard_normal((ROWS, shape[1]), np.float32) * np.float32(shape[1] ** -0.5))
        for row in range(0, shape[0], ROWS):
            self.kernels.store_rows(packed, row, raw[: shape[0] - row])
        return packed

    def array(self, name: str, shape: tuple[int, int]) -> F32:
        return self._rng.standard_normal(shape, np.float32)

    def in_turn(self, builders: Any) -> Any:
        return [build() for build in builders]

    def norm(self, name: str, size: int) -> F32:
        return np.ones(size, np.float32)

    vector = norm


def resident(which: str) -> int:
    """Bytes of this process, VmRSS now or VmHWM at most since `reset_peak`."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(which))


def added(run: Callable[[], Any]) -> tuple[float, int]:
    """Seconds that something takes, and what it adds to the process at its peak, in bytes."""
    Path("/proc/self/clear_refs").write_text("5")
    before, began = resident("VmRSS"), time.perf_counter()
    run()
    return time.perf_counter() - began, resident("VmHWM") - before


def transformers_tower(dtype: str) -> Callable[[F32], Any]:
    """Their tower, without the projection."""
    import torch
    from transformers import Gemma3nAudioConfig
    from transformers.models.gemma3n.modeling_gemma3n import Gemma3nAudioEncoder

    tower = Gemma3nAudioEncoder(Gemma3nAudioConfig()).to(getattr(torch, dtype)).eval()

    def hear(features: F32) -> Any:
        with torch.no_grad():
            given = torch.tensor(features, dtype=getattr(torch, dtype))[None]
            return tower(given, torch.zeros(given.shape[:2], dtype=torch.bool))

    return hear


def main(level: str, seconds: float, rounds: int, threads: int, kernel_rows: bool, torch_dtype: str | None) -> None:
    kernels: Any = Timed(Native(threads))
    audio, log_mel = Gemma3nAudio(CONFIG, cast(Weights, RandomWeights(kernels, LEVELS[level]))), LogMel()
    sound: Sound = np.random.default_rng(1).standard_normal(round(seconds * 16_000), np.float32) * np.float32(0.1)
    features = log_mel(sound)
    audio(features[:200])
    kernels.clock.clear()
    kernels.processor.clear()
    runs: dict[str, list[tuple[float, int]]] = {"features": [], "tower": []}
    theirs = transformers_tower(torch_dtype) if torch_dtype else None
    for _ in range(rounds):
        runs["features"].append(added(lambda: log_mel(sound)))
        runs["tower"].append(added(lambda: audio(features)))
        if theirs is not None:
            runs.setdefault(f"transformers {torch_dtype}", []).append(added(lambda: theirs(features)))
    print(f"{seconds:g} s, {len(features)} frames, {len(audio(features))} soft tokens, {level}, {threads} threads")
    print("| part | clock (s) | memory added (MB) |\n|---|---|---|")
    found = {name: (median(t for t, _ in each), max(size for _, size in each) / 1e6) for name, each in runs.items()}
    for name, (clock, size) in found.items():
        print(f"| {name} | {clock:.2f} | {size:.0f} |")
    if kernel_rows:
        print("\n| kernel | clock (s) | processor (s) |\n|---|---|---|")
        for name in sorted(kernels.clock, key=kernels.clock.__getitem__, reverse=True):
            print(
                f"| {name} | {kernels.clock[name] / (rounds + 1):.3f} | {kernels.processor[name] / (rounds + 1):.3f} |"
            )
    print(json.dumps({"level": level, "seconds": seconds, "threads": threads} | found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--level", choices=LEVELS, default="balanced")
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--kernels", action="store_true")
    parser.add_argument("--torch", choices=("float32", "bfloat16"))
    given = parser.parse_args()
    main(given.level, given.seconds, given.rounds, given.threads, given.kernels, given.torch)
