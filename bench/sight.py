"""Gemma 3n's eyes at their true shape, 768 pixels and 256 soft tokens, and what seeing and hearing hold in memory.

    python -m bench.sight tower [--level balanced] [--rounds 3] [--kernels] [--torch float32]
    python -m bench.sight write MMPROJ.gguf --hidden 2048
    python -m bench.sight run MODEL.gguf MMPROJ.gguf     # MODEL: bench/checkpoints.py gemma-3n-E2B-it, quantised

`tower` times one image in seconds of the clock and of all threads' processor time, with what its activations add to the
process; `--torch` runs timm's tower by turns. `write` makes random towers for both, at F16 as llama.cpp's converter
names them. `run` is `bezel run` with an image and 30 s of sound in a process of its own, and the most that it held
(VmHWM). Each prints one JSON line.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from statistics import median
from typing import Any, cast

import numpy as np

from bench.audio import RandomWeights, added
from bench.vision import Timed
from bezel.kernels.formats import quantize
from bezel.kernels.interface import F32, U8, Format
from bezel.kernels.library import Native
from bezel.models.audio import usm
from bezel.models.audio.gemma3n import Gemma3nAudio
from bezel.models.interface import Weights
from bezel.models.vision.gemma3n import Gemma3nVision
from bezel.weights.checkpoint import LEVELS
from bezel.weights.gguf_writer import Kind, TensorHeader, Typed, write_gguf
from bezel.weights.tower_names import VISION_OF_GEMMA3N, audio_to_gguf

SIDE = 768


def config(hidden: int) -> dict[str, Any]:
    return {"vision_config": {}, "audio_config": {}, "text_config": {"hidden_size": hidden}}


def timm_tower(dtype: str) -> Callable[[F32], Any]:
    """Theirs, without the projection; wants timm, and torchvision's names (see tests/parity)."""
    import torch

    from tests.parity.timm_without_torchvision import timm

    tower = timm.create_model("mobilenetv5_300m_enc", num_classes=0).to(getattr(torch, dtype)).eval()

    def see(pixels: F32) -> Any:
        with torch.no_grad():
            return tower(torch.tensor(pixels, dtype=getattr(torch, dtype)).permute(2, 0, 1)[None])

    return see


def tower(level: str, rounds: int, threads: int, kernel_rows: bool, torch_dtype: str | None) -> None:
    """Time one image."""
    kernels: Any = Timed(Native(threads))
    vision = Gemma3nVision(config(2048), cast(Weights, RandomWeights(kernels, LEVELS[level])))
    pixels = np.random.default_rng(1).uniform(0, 1, (SIDE, SIDE, 3)).astype(np.float32)
    looks: dict[str, Callable[[F32], Any]] = {"bezel": vision}
    if torch_dtype:
        import torch

        torch.set_num_threads(threads)
        looks[f"timm {torch_dtype}"] = timm_tower(torch_dtype)
    for look in looks.values():
        look(pixels)
    kernels.clock.clear()
    kernels.processor.clear()
    found: dict[str, dict[str, list[float]]] = {name: {"clock": [], "processor": [], "added": []} for name in looks}
    for _ in range(rounds):
        for name, look in looks.items():
            processor = time.process_time()
            clock, memory = added(lambda look=look: look(pixels))  # type: ignore[misc]
            processor = time.process_time() - processor
            for key, value in (("clock", clock), ("processor", processor), ("added", memory)):
                found[name][key].append(value)
    middle = {name: {key: median(values) for key, values in each.items()} for name, each in found.items()}
    print("| tower | clock (s) | processor (s) | activations (MB) |\n|---|---|---|---|")
    for name, each in middle.items():
        print(f"| {name} | {each['clock']:.2f} | {each['processor']:.2f} | {each['added'] / 1e6:.0f} |")
    if kernel_rows:
        print("\n| kernel | clock (s) | processor (s) |\n|---|---|---|")
        for name in sorted(kernels.clock, key=kernels.clock.__getitem__, reverse=True):
            print(f"| {name} | {kernels.clock[name] / rounds:.3f} | {kernels.processor[name] / rounds:.3f} |")
    print(json.dumps({"level": level, "threads": threads} | middle))


class Shapes:
    """As much of `Weights` as a tower asks for: notes its tensors, and is none."""

    def __init__(self) -> None:
        self.kernels = Native()
        self.found: dict[str, tuple[int, ...]] = {}

    def matrix(self, *wanted: str, shape: tuple[int, int], padded: bool = False) -> Any:
        stored = {"vision_tower.timm_model.conv_stem.conv.weight": (64, 27)}
        stored["audio_tower.subsample_conv_projection.conv_0.conv.weight"] = (128, 9)
        for name in wanted:
            self.found[name] = stored.get(name, (shape[0] // len(wanted), shape[1]))
        return self.kernels.allocate(Format.F16, *shape)

    def array(self, name: str, shape: tuple[int, int]) -> F32:
        self.found[name] = shape
        return np.zeros(shape, np.float32)

    def vector(self, name: str, size: int) -> F32:
        self.found[name] = (size,)
        return np.zeros(size, np.float32)

    norm = vector

    def in_turn(self, builders: Any) -> Any:
        for build in builders:
            build()


def write(target: Path, hidden: int) -> int:
    """Write both towers for a text model of `hidden` channels; returns the bytes."""
    shapes = Shapes()
    Gemma3nVision(config(hidden), cast(Weights, shapes))
    Gemma3nAudio(config(hidden), cast(Weights, shapes))
    stored = {_stored(name): shape for name, shape in shapes.found.items()}
    headers = [
        TensorHeader(name, shape, Format.F32 if len(shape) == 1 else Format.F16) for name, shape in stored.items()
    ]
    audio = usm.Config.from_hf({})
    sizes = {
        "vision.image_size": SIDE, "vision.projection_dim": hidden, "audio.projection_dim": hidden,
        "audio.embedding_length": audio.hidden_size, "audio.block_count": audio.layers,
        "audio.attention.head_count": audio.heads, "audio.num_mel_bins": audio.bands,
    }  # fmt: skip
    metadata: dict[str, Typed | str | bool] = {
        "general.architecture": "clip", "general.type": "mmproj",
        "clip.vision.projector_type": "gemma3nv", "clip.audio.projector_type": "gemma3na",
        **{f"clip.{name}": Typed(Kind.UINT32, size) for name, size in sizes.items()},
    }  # fmt: skip
    rng = np.random.default_rng(0)

    def rows_of(header: TensorHeader) -> Iterator[U8]:
        if len(header.shape) == 1:
            yield quantize(Format.F32, np.ones((1, header.shape[0]), np.float32))
            return
        few = rng.standard_normal((64, header.shape[-1]), np.float32) * np.float32(header.shape[-1] ** -0.5)
        for row in range(0, header.rows, 64):
            yield quantize(Format.F16, few[: header.rows - row])

    return write_gguf(target, metadata, headers, rows_of)


def _stored(name: str) -> str:
    """What llama.cpp's converter calls a tensor."""
    for stored, ours in VISION_OF_GEMMA3N.items():
        if name.startswith(ours):
            return stored + name.removeprefix(ours)
    return audio_to_gguf(name if name.endswith((".weight", ".per_dim_scale")) else f"{name}.weight")


def run(model: Path, mmproj: Path, threads: int) -> None:
    """`bezel run` with one image and one sound."""
    import soundfile
    from PIL import Image

    rng = np.random.default_rng(2)
    with tempfile.TemporaryDirectory() as place:
        image, sound = Path(place) / "picture.png", Path(place) / "sound.wav"
        Image.fromarray(rng.integers(0, 256, (1000, 1400, 3), np.uint8)).save(image)
        soundfile.write(sound, rng.standard_normal(30 * 16_000) * 0.1, 16_000)
        command = [sys.executable, "-m", "bezel.cli", "run", "-m", str(model), "--mmproj", str(mmproj)]
        command += ["--image", str(image), "--audio", str(sound), "--threads", str(threads), "-n", "16", "--json"]
        began = time.perf_counter()
        process = subprocess.Popen([*command, "What is this?"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert process.stdout is not None
        said = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} failed")
    answer = json.loads(said)
    found = {"peak": usage.ru_maxrss << 10, "seconds": time.perf_counter() - began, "usage": answer["usage"]}
    print(f"{model.name}: {found['peak'] / 1e9:.2f} GB at most ({found['peak'] / 2**30:.2f} GiB)")
    print(json.dumps(found))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, files in (("tower", 0), ("write", 1), ("run", 2)):
        each = verbs.add_parser(verb)
        if files:
            each.add_argument("files", type=Path, nargs=files)
        each.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
        each.add_argument("--level", choices=LEVELS, default="balanced")
        each.add_argument("--hidden", type=int, default=2048)
        each.add_argument("--rounds", type=int, default=3)
        each.add_argument("--kernels", action="store_true")
        each.add_argument("--torch", choices=["float32", "bfloat16"])
    options = parser.parse_args()
    if options.verb == "write":
        print(f"{options.files[0]}: {write(options.files[0], options.hidden) / 1e6:.0f} MB")
    elif options.verb == "run":
        model, mmproj = options.files
        run(model, mmproj, options.threads)
    else:
        tower(options.level, options.rounds, options.threads, options.kernels, options.torch)
