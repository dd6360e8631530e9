"""What is predicted of a process' memory and what the system says of it agree within 5%, on files of 60 to 250 MB."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.gemma3n_checkpoints import write
from bezel.catalog.hardware import memory_use
from bezel.catalog.variants import Shape
from bezel.testing import instruction_sets
from bezel.weights.checkpoint import LEVELS, open_checkpoint
from bezel.weights.memory import predicted
from bezel.weights.slice import sliced

SHAPE = Shape(
    layers=12,
    hidden=512,
    ffn=4096,
    heads=4,
    kv_heads=1,
    head_dim=128,
    vocabulary=16384,
    window=256,
    full_every=4,
    shared_kv_layers=4,
    per_layer_vocabulary=65536,
    per_layer_size=64,
)
CONTEXT = 1280
RUN = """
import json, sys
import bezel
path, level, context, size = sys.argv[1], sys.argv[2] or None, int(sys.argv[3]), sys.argv[4] or None
model = bezel.load(path, level, context, threads=2, sequences=1, size=size)
result = model.complete([300 + i % 9000 for i in range(context - 4)], max_tokens=4, temperature=0, speculation="off")
print(json.dumps([result.memory.resident, result.memory.peak]))
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("medium") / "model"
    write(SHAPE, path, context=2048)
    return path


@pytest.mark.skipif(not instruction_sets() or sys.platform != "linux", reason="measured with the compiled kernels")
@pytest.mark.parametrize(
    ("level", "size"), [("", ""), ("balanced", ""), ("maximum_efficiency", ""), ("", "2048x6,4096x4,0,2048")]
)
def test_prediction_and_measurement_agree(folder: Path, level: str, size: str) -> None:
    arguments = [sys.executable, "-c", RUN, str(folder), level, str(CONTEXT), size]
    resident, peak = json.loads(subprocess.run(arguments, capture_output=True, text=True, check=True).stdout)
    checkpoint = open_checkpoint(folder)
    needed = predicted(sliced(checkpoint, size) if size else checkpoint, LEVELS[level] if level else None, CONTEXT)
    checkpoint.close()
    assert needed.total == pytest.approx(peak, rel=0.05), needed.table()
    assert resident <= peak
    assert needed.on_disk > 60 << 20  # held whole, the table alone would break the agreement


def test_this_process_is_measured() -> None:
    use = memory_use()
    assert 10 << 20 < use.resident <= use.peak


def test_a_table_for_people_adds_up(folder: Path) -> None:
    table = predicted(open_checkpoint(folder), None, CONTEXT).table()
    parts = [size for name, size in table.items() if name not in ("total", "on disk")]
    assert sum(parts) == table["total"] and {"weights", "cache", "per-layer rows", "workspace"} <= set(table)
