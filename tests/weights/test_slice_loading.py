"""A model that is cut while it is loaded answers as the written slice does, bit for bit, whatever its files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bezel.errors import InvalidRequestError
from bezel.generation.loop import all_logits
from bezel.kernels.interface import F32, Format, Kernels
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.registry import build
from bezel.testing import GEMMA3N, instruction_sets, write_checkpoint
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint
from bezel.weights.quantize import quantize
from bezel.weights.slice import sliced
from bezel.weights.slice_files import write_slice

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


def test_a_width_inside_a_block_is_refused_when_weights_are_quantised(folder: Path, tmp_path: Path) -> None:
    whole = to_gguf(folder, tmp_path / "whole.gguf", Format.Q4_0)
    with pytest.raises(InvalidRequestError, match="blocks of 32; column 40 lies inside"):
        logits(whole, SETS[0], "40,64,96,128")
