"""A model that is cut while it is loaded answers as the written slice does, bit for bit, whatever its files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bezel.errors import InvalidRequestError
from bezel.generation.loop import all_logits
from bezel.kernels.interface import F32, U8, Format, Kernels
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.kernels.tables import RowTable
from bezel.models.registry import build
from bezel.testing import GEMMA3N, instruction_sets, write_checkpoint
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint
from bezel.weights.quantize import quantize
from bezel.weights.slice import sliced
from bezel.weights.slice_files import write_slice
from bezel.weights.source import OpenFiles, TensorInfo

SIZE = "64,64,0,96"
TOKENS = [2, 7, 240, 9, 285, 63, 1, 0, 5, 11, 12, 13, 88, 19, 101, 54, 200, 33, 21, 8]
SETS: list[Kernels] = [Reference(), *(Native(2, isa) for isa in instruction_sets()[-1:])]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("whole"), config=GEMMA3N)


def logits(path: Path, kernels: Kernels, size: str | None = None, level: Format | None = None) -> F32:
    checkpoint = open_checkpoint(path)
    try:
        view = checkpoint if size is None else sliced(checkpoint, size)
        return all_logits(build(view.config, CheckpointWeights(view, kernels, level), 64), TOKENS)
    finally:
        checkpoint.close()


def write(source: Path, target: Path) -> Path:
    checkpoint = open_checkpoint(source)
    try:
        write_slice(checkpoint, target, SIZE)
    finally:
        checkpoint.close()
    return target


def to_gguf(source: Path, target: Path, level: Format) -> Path:
    checkpoint = open_checkpoint(source)
    try:
        quantize(checkpoint, target, level)
    finally:
        checkpoint.close()
    return target


@pytest.mark.parametrize("kernels", SETS, ids=lambda kernels: kernels.name)
@pytest.mark.parametrize("level", [None, Format.BF16, Format.Q8_0, Format.Q4_0])
def test_a_folder_cut_at_load_is_the_written_slice(
    folder: Path, tmp_path: Path, kernels: Kernels, level: Format | None
) -> None:
    found = logits(folder, kernels, SIZE, level)
    np.testing.assert_array_equal(found, logits(write(folder, tmp_path / "cut"), kernels, level=level))
    assert np.abs(found - logits(folder, kernels, level=level)).max() > 1e-3


@pytest.mark.parametrize("kernels", SETS, ids=lambda kernels: kernels.name)
@pytest.mark.parametrize("level", [Format.F32, Format.Q8_0, Format.Q4_0])
def test_a_gguf_cut_at_load_is_the_written_slice(folder: Path, tmp_path: Path, kernels: Kernels, level: Format) -> None:
    whole = to_gguf(folder, tmp_path / "whole.gguf", level)
    found = logits(whole, kernels, SIZE)
    np.testing.assert_array_equal(found, logits(write(whole, tmp_path / "cut.gguf"), kernels))
    first_cut = to_gguf(write(folder, tmp_path / "cut"), tmp_path / "rounded.gguf", level)
    np.testing.assert_array_equal(found, logits(first_cut, kernels))


def test_a_slice_without_the_first_layer_reads_on_from_the_second(tmp_path: Path) -> None:
    whole = write_checkpoint(tmp_path / "whole", config=GEMMA3N | {"num_kv_shared_layers": 1})
    checkpoint = open_checkpoint(whole)
    write_slice(checkpoint, tmp_path / "cut", "0,64,96,128")
    checkpoint.close()
    for kernels in SETS:
        np.testing.assert_array_equal(logits(whole, kernels, "0,64,96,128"), logits(tmp_path / "cut", kernels))


def test_a_width_inside_a_block_is_refused_when_weights_are_quantised(folder: Path, tmp_path: Path) -> None:
    whole = to_gguf(folder, tmp_path / "whole.gguf", Format.Q4_0)
    with pytest.raises(InvalidRequestError, match="blocks of 32; column 40 lies inside"):
        logits(whole, SETS[0], "40,64,96,128")


class Watched(OpenFiles):
    """Files of a checkpoint that remember which of their tensors were asked for."""

    def __init__(self, tensors: Mapping[str, TensorInfo]) -> None:
        super().__init__(tensors)
        self.asked: set[str] = set()

    def read_rows(self, name: str, first: int, count: int) -> U8:
        self.asked.add(name)
        return super().read_rows(name, first, count)

    def place(self, name: str) -> tuple[int, int] | None:
        self.asked.add(name)
        return super().place(name)

    def table(self, name: str) -> RowTable:
        self.asked.add(name)
        return super().table(name)

    def expect(self, name: str) -> None:
        self.asked.add(name)
        super().expect(name)


@pytest.mark.parametrize("size", [None, SIZE])
def test_towers_are_not_read_with_the_text_model(tmp_path: Path, size: str | None) -> None:
    library = pytest.importorskip("safetensors.numpy")
    folder = write_checkpoint(tmp_path / "whole", config=GEMMA3N, prefix="model.language_model.")
    tensors = library.load_file(folder / "model.safetensors")
    towers = {f"model.{part}.layers.0.weight": np.ones((4, 4), np.float32) for part in ("vision_tower", "audio_tower")}
    library.save_file(tensors | towers, folder / "model.safetensors")
    text = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({"model_type": "gemma3n", "text_config": text}))
    checkpoint = open_checkpoint(folder)
    watched = Watched(checkpoint.source.tensors)
    view = replace(checkpoint, source=watched)
    view = view if size is None else sliced(view, size)
    build(view.config, CheckpointWeights(view, SETS[-1]), 64)
    assert len(watched.asked) > 50 and not watched.asked & set(towers)
    assert set(towers) <= set(view.source.tensors)
    view.close()
