"""Gemma 3's eyes at true shapes: 896 pixels in patches of 14, 27 layers of 1152 channels, 256 soft tokens.

    python -m bench.vision write MMPROJ.gguf --hidden 2560
    python -m bench.vision parts MMPROJ.gguf [--level balanced]
    python -m bench.vision prefill MODEL.gguf MMPROJ.gguf --llama-cpp FOLDER [--rounds 3]

`write` makes a random tower at F16, embeddings at F32, as llama.cpp's converter does; `--hidden` is the text model's
width (2560: 4B).
`parts` times one image kernel by kernel, in seconds of all threads' processor time and of the clock. `prefill` runs
bezel and llama.cpp's multimodal tool (`cmake --build build --target llama-mtmd-cli`) by turns on one picture, each in a
process of its own, and prints medians and one JSON line: seconds to encode the image, and to read it with the text.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bezel.kernels.formats import quantize
from bezel.kernels.interface import U8, Format
from bezel.kernels.library import Native
from bezel.models.vision.gemma3 import Gemma3Vision
from bezel.weights.checkpoint import LEVELS, CheckpointWeights
from bezel.weights.gguf_writer import Kind, TensorHeader, Typed, write_gguf
from bezel.weights.vision import open_vision

WIDTH, INNER, LAYERS, HEADS, IMAGE, PATCH = 1152, 4304, 27, 16, 896, 14
QUESTION = "What is this?"


def write(target: Path, hidden: int) -> int:
    """Write a random tower for a text model of `hidden` channels; returns its bytes."""
    matrices: dict[str, tuple[int, ...]] = {
        "v.patch_embd.weight": (WIDTH, 3, PATCH, PATCH),
        "v.position_embd.weight": ((IMAGE // PATCH) ** 2, WIDTH),
        "mm.input_projection.weight": (WIDTH, hidden),
    }
    sides = {name: (WIDTH, WIDTH) for name in ("attn_q", "attn_k", "attn_v", "attn_out")}
    sides |= {"ffn_up": (INNER, WIDTH), "ffn_down": (WIDTH, INNER)}
    vectors = {"v.patch_embd.bias": WIDTH, "mm.soft_emb_norm.weight": WIDTH}
    vectors |= {f"v.post_ln.{kind}": WIDTH for kind in ("weight", "bias")}
    for layer in range(LAYERS):
        matrices |= {f"v.blk.{layer}.{name}.weight": shape for name, shape in sides.items()}
        vectors |= {f"v.blk.{layer}.{name}.bias": shape[0] for name, shape in sides.items()}
        vectors |= {f"v.blk.{layer}.{name}.{kind}": WIDTH for name in ("ln1", "ln2") for kind in ("weight", "bias")}
    headers = [
        TensorHeader(name, shape, Format.F32 if "embd" in name else Format.F16) for name, shape in matrices.items()
    ]
    headers += [TensorHeader(name, (size,), Format.F32) for name, size in vectors.items()]
    sizes = {"image_size": IMAGE, "patch_size": PATCH, "embedding_length": WIDTH, "feed_forward_length": INNER}
    sizes |= {"block_count": LAYERS, "attention.head_count": HEADS, "projection_dim": hidden}
    halves = Typed(Kind.FLOAT32, [0.5, 0.5, 0.5])
    metadata: dict[str, Typed | str | bool] = {
        "general.architecture": "clip",
        "general.type": "mmproj",
        "clip.has_vision_encoder": True,
        "clip.projector_type": "gemma3",
        "clip.use_gelu": True,
        "clip.vision.attention.layer_norm_epsilon": Typed(Kind.FLOAT32, 1e-6),
        "clip.vision.image_mean": halves,
        "clip.vision.image_std": halves,
        **{f"clip.vision.{name}": Typed(Kind.UINT32, size) for name, size in sizes.items()},
    }
    rng = np.random.default_rng(0)

    def rows_of(header: TensorHeader) -> Iterator[U8]:
        if len(header.shape) == 1:
            value = 1 if header.name.endswith("weight") else 0
            yield quantize(Format.F32, np.full((1, header.shape[0]), value, np.float32))
            return
        fan_in = header.shape[-1] * header.shape[-2] * 3 if len(header.shape) == 4 else header.shape[-1]
        rows = rng.standard_normal((header.rows, header.shape[-1]), np.float32) * np.float32(fan_in**-0.5)
        yield quantize(header.format, rows)

    return write_gguf(target, metadata, headers, rows_of)


class Timed:
    """A kernel set that notes the clock and the processor time of every kernel, by name and by size."""

    def __init__(self, kernels: Native) -> None:
        self._kernels = kernels
        self.clock: dict[str, float] = defaultdict(float)
        self.processor: dict[str, float] = defaultdict(float)

    def __getattr__(self, name: str) -> Any:
        kernel = getattr(self._kernels, name)
        if not callable(kernel):
            return kernel

        def timed(*arguments: Any, **options: Any) -> Any:
            clock, processor = time.perf_counter(), time.process_time()
            result = kernel(*arguments, **options)
            size = f" {arguments[0].rows} x {arguments[0].columns}" if name == "linear" else ""
            self.clock[name + size] += time.perf_counter() - clock
            self.processor[name + size] += time.process_time() - processor
            return result

        return timed


def parts(mmproj: Path, level: str | None, threads: int) -> None:
    """Time one image, kernel by kernel."""
    kernels: Any = Timed(Native(threads))
    view = open_vision(mmproj)
    vision = Gemma3Vision(view.config, CheckpointWeights(view, kernels, LEVELS[level] if level else None))
    kernels.clock.clear()
    kernels.processor.clear()
    clock, processor = time.perf_counter(), time.process_time()
    vision(np.random.default_rng(1).uniform(-1, 1, (IMAGE, IMAGE, 3)).astype(np.float32))
    clock, processor = time.perf_counter() - clock, time.process_time() - processor
    print("| kernel | clock (s) | processor (s) |\n|---|---|---|")
    for name in sorted(kernels.clock, key=kernels.clock.__getitem__, reverse=True):
        print(f"| {name} | {kernels.clock[name]:.2f} | {kernels.processor[name]:.2f} |")
    print(f"| all | {clock:.2f} | {processor:.2f} |")
    print(json.dumps({"level": level, "threads": threads, "clock": clock, "processor": processor}))


def ours(model: Path, mmproj: Path, image: Path, threads: int) -> dict[str, float]:
    """Encode and read in this process."""
    from bezel.api import Model
    from bezel.backends.native import NativeBackend

    backend = NativeBackend.load(str(model), threads=threads, mmproj=str(mmproj))
    messages = [
        {"role": "user", "content": [{"type": "image", "image": str(image)}, {"type": "text", "text": QUESTION}]}
    ]
    assert backend._senses is not None
    vision = backend._senses.vision
    assert vision is not None
    vision.load()  # llama.cpp reads its tower before it starts the clock
    _, spans = backend._prompt(Model(backend).request(messages, pan_and_scan=False))
    began = time.perf_counter()
    spans[0].embed()
    encoded = time.perf_counter() - began
    found = Model(backend).chat(messages, max_tokens=1, temperature=0.0, pan_and_scan=False)
    return {"encode": encoded, "read": found.usage.prefill_seconds, "peak": found.memory.peak if found.memory else 0}


def theirs(folder: Path, model: Path, mmproj: Path, image: Path, threads: int) -> dict[str, float]:
    """llama.cpp's multimodal tool, by what it says itself."""
    command = [str(folder / "llama-mtmd-cli"), "-m", str(model), "--mmproj", str(mmproj), "--image", str(image)]
    command += ["-p", QUESTION, "-n", "1", "--temp", "0", "-t", str(threads), "-c", "8192", "--chat-template", "gemma"]
    command += ["-lv", "4"]  # its library's own lines, which tell the times
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        env=os.environ | {"LD_LIBRARY_PATH": str(folder)},
    )
    assert process.stdout is not None
    said = process.stdout.read()
    _, status, usage = os.wait4(process.pid, 0)
    encoded, decoded = (
        re.search(r"(?:encoded|encoding done) in (\d+) ms", said),
        re.findall(r"decoded \(batch \d+/\d+\) in (\d+) ms", said),
    )
    if status or encoded is None or not decoded:
        raise SystemExit(f"{' '.join(command)} failed:\n{said[-2000:]}")
    read = sum(map(int, decoded)) / 1000
    return {"encode": int(encoded[1]) / 1000, "read": read, "peak": usage.ru_maxrss * 1024}


def prefill(model: Path, mmproj: Path, folder: Path | None, threads: int, rounds: int) -> None:
    """Both by turns, each in a process of its own."""
    from PIL import Image

    with tempfile.TemporaryDirectory() as place:
        image = Path(place) / "picture.png"
        Image.fromarray(np.random.default_rng(2).integers(0, 256, (IMAGE, IMAGE, 3), np.uint8)).save(image)
        found: dict[str, list[dict[str, float]]] = defaultdict(list)
        for _ in range(rounds):
            one = [sys.executable, "-m", "bench.vision", "once", str(model), str(mmproj), "--image", str(image)]
            done = subprocess.run([*one, "--threads", str(threads)], capture_output=True, text=True, check=True)
            found["bezel"].append(json.loads(done.stdout.splitlines()[-1]))
            if folder is not None:
                found["llama.cpp"].append(theirs(folder, model, mmproj, image, threads))
    middle = {name: {key: median(run[key] for run in runs) for key in runs[0]} for name, runs in found.items()}
    print("| engine | encode (s) | read (s) | peak (GB) |\n|---|---|---|---|")
    for name, each in middle.items():
        print(f"| {name} | {each['encode']:.2f} | {each['read']:.2f} | {each['peak'] / 2**30:.2f} |")
    if "llama.cpp" in middle:
        whole = {name: each["encode"] + each["read"] for name, each in middle.items()}
        print(f"| llama.cpp over bezel | {whole['llama.cpp'] / whole['bezel']:.2f} | | |")
    print(json.dumps(middle))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    for verb, files in (("write", 1), ("parts", 1), ("prefill", 2), ("once", 2)):
        each = verbs.add_parser(verb)
        each.add_argument("files", type=Path, nargs=files)
        each.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
        each.add_argument("--hidden", type=int, default=2560)
        each.add_argument("--level", choices=LEVELS)
        each.add_argument("--image", type=Path)
        each.add_argument("--llama-cpp", type=Path)
        each.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    if options.verb == "write":
        print(f"{options.files[0]}: {write(options.files[0], options.hidden) / 1e6:.0f} MB")
    elif options.verb == "parts":
        parts(options.files[0], options.level, options.threads)
    elif options.verb == "once":
        model, mmproj = options.files
        print(json.dumps(ours(model, mmproj, options.image, options.threads)))
    else:
        model, mmproj = options.files
        prefill(model, mmproj, options.llama_cpp, options.threads, options.rounds)
