"""Mutated model files end in success or a typed error, never in a crash.

BEZEL_FUZZ_CASES asks for more than CI does; run pytest with -s to see the slowest case.
"""

import os
import random
import time
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

import bezel
from bezel.errors import BezelError
from bezel.kernels.interface import Format
from bezel.testing import write_checkpoint
from bezel.weights.checkpoint import open_checkpoint
from bezel.weights.gguf import GGUFFile
from bezel.weights.quantize import quantize
from bezel.weights.safetensors import SafetensorsFolder
from bezel.weights.source import TensorSource

CASES = int(os.environ.get("BEZEL_FUZZ_CASES", "2000")) // 2
MEMORY = 64 << 20
Survives = Callable[[Callable[[Path], object], Path], None]


def mutate(rng: random.Random, data: bytes, headers: int) -> bytes:
    """Flip, overwrite or cut: mostly in the first `headers` bytes, where meaning is dense."""
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 8])):
        place = rng.randrange(headers if rng.random() < 0.9 else len(out))
        kind = rng.randrange(4)
        if kind == 0:
            out[place] ^= 1 << rng.randrange(8)
        elif kind == 1:
            out[place] = rng.randrange(256)
        elif kind == 2:
            value = rng.choice([0, 1, 1 << 31, (1 << 32) - 1, 1 << 62, (1 << 64) - 1])
            out[place : place + 8] = value.to_bytes(8, "little")
        else:
            del out[place : place + rng.choice([1, 8, len(out)])]
            headers = max(1, min(headers, len(out)))
            if not out:
                break
    return bytes(out)


@pytest.fixture
def survives(request: pytest.FixtureRequest) -> Iterator[Survives]:
    """Calls a reader on a path: success or a BezelError that names the folder, within bounded memory."""
    slowest = 0.0

    def check(read: Callable[[Path], object], path: Path) -> None:
        nonlocal slowest
        tracemalloc.start()
        began = time.perf_counter()
        try:
            read(path)
        except BezelError as error:
            assert str(path.parent) in str(error)
        finally:
            slowest = max(slowest, time.perf_counter() - began)
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
        assert peak < MEMORY

    yield check
    print(f"{request.node.name}: slowest case {slowest * 1000:.0f} ms under tracing")


def read_some(source: TensorSource) -> None:
    try:
        for name, info in source.tensors.items():
            rows = info.nbytes // info.format.row_bytes(info.columns) if info.format and info.columns else 0
            source.read_rows(name, 0, min(rows, 4))
    finally:
        source.close()


def answer(path: Path) -> None:
    bezel.load(str(path), threads=1).chat("hi", max_tokens=2)


def test_gguf(tmp_path: Path, survives: Survives) -> None:
    gguf = pytest.importorskip("gguf")
    path = tmp_path / "m.gguf"
    writer = gguf.GGUFWriter(path, "gemma3")
    writer.add_token_list([f"token {i}" for i in range(40)])
    writer.add_block_count(2)
    writer.add_array("gemma3.attention.sliding_window_pattern", [True, False])
    for i in range(3):
        writer.add_tensor(f"t{i}", np.ones((4, 32), np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    data, rng = path.read_bytes(), random.Random(1)
    for _ in range(CASES):
        path.write_bytes(mutate(rng, data, len(data) - 3 * 512))
        survives(lambda file: read_some(GGUFFile.open(file)), path)


def test_safetensors(tmp_path: Path, survives: Survives) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    numpy.save_file({f"t{i}": np.ones((4, 8), np.float16) for i in range(4)}, path, {"format": "pt"})
    data, rng = path.read_bytes(), random.Random(2)
    for _ in range(CASES):
        path.write_bytes(mutate(rng, data, len(data) - 4 * 64))
        survives(lambda file: read_some(SafetensorsFolder.open(file.parent)), path)


def test_whole_gguf_models(tmp_path: Path, survives: Survives) -> None:
    quantize(open_checkpoint(write_checkpoint(tmp_path / "hf")), tmp_path / "m.gguf", Format.Q8_0)
    infos = open_checkpoint(tmp_path / "m.gguf").source.tensors.values()
    data, rng = (tmp_path / "m.gguf").read_bytes(), random.Random(3)
    for _ in range(CASES // 4):
        (tmp_path / "m.gguf").write_bytes(mutate(rng, data, min(info.offset for info in infos)))
        survives(answer, tmp_path / "m.gguf")


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "generation_config.json"])
def test_whole_folders(tmp_path: Path, survives: Survives, name: str) -> None:
    folder = write_checkpoint(tmp_path / "hf")
    data, rng = (folder / name).read_bytes(), random.Random(4)
    for _ in range(CASES // 10):
        (folder / name).write_bytes(mutate(rng, data, len(data)))
        survives(answer, folder)
