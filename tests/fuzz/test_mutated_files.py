"""Mutated weight files end in success or a typed error, never in a crash. BEZEL_FUZZ_CASES asks for more."""

import os
import random
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from bezel.errors import BezelError
from bezel.weights.gguf import GGUFFile
from bezel.weights.safetensors import SafetensorsFolder

CASES = int(os.environ.get("BEZEL_FUZZ_CASES", "2000")) // 2
MEMORY = 64 << 20


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


def survives(open_and_read: object, path: Path) -> None:
    tracemalloc.start()
    try:
        source = open_and_read(path)  # type: ignore[operator]
        try:
            for name, info in source.tensors.items():
                rows = info.nbytes // info.format.row_bytes(info.columns) if info.format and info.columns else 0
                source.read_rows(name, 0, min(rows, 4))
        finally:
            source.close()
    except BezelError as error:
        assert str(path.parent) in str(error)
    finally:
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < MEMORY


def test_gguf(tmp_path: Path) -> None:
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
        survives(GGUFFile.open, path)


def test_safetensors(tmp_path: Path) -> None:
    numpy = pytest.importorskip("safetensors.numpy")
    path = tmp_path / "model.safetensors"
    numpy.save_file({f"t{i}": np.ones((4, 8), np.float16) for i in range(4)}, path, {"format": "pt"})
    data, rng = path.read_bytes(), random.Random(2)
    for _ in range(CASES):
        path.write_bytes(mutate(rng, data, len(data) - 4 * 64))
        survives(lambda file: SafetensorsFolder.open(file.parent), path)
