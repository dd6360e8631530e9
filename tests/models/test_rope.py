"""Rotary tables are computed as far as batches reach, and are the same as if computed at once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bezel.generation.cache import Cache
from bezel.generation.steps import Steps
from bezel.kernels.library import Native
from bezel.models import rope
from bezel.models.interface import Batch, TextModel
from bezel.models.registry import build
from bezel.models.rope import RopeTable, reach
from bezel.testing import GEMMA3, instruction_sets, write_checkpoint
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint


def test_rows_are_those_of_the_formula_and_end_with_the_table(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rope, "_AT_ONCE", 4)
    table = RopeTable(10, 8, 1e4, 2.0)
    for positions in ([1, 0], [6], [3], [25]):
        reach([table], np.array(positions, np.int32))
        ready = min(max(positions) + 1, 10)
        for row in range(ready):
            angles = [row / 2.0 * 1e4 ** (-2 * i / 8) for i in range(4)]
            np.testing.assert_allclose(table.rope.cos[row], np.cos(angles), rtol=0, atol=1e-7)
            np.testing.assert_allclose(table.rope.sin[row], np.sin(angles), rtol=0, atol=1e-7)


@pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
def test_a_replayed_step_reaches_further_than_the_recorded_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rope, "_AT_ONCE", 4)
    checkpoint = open_checkpoint(write_checkpoint(tmp_path / "m", config=GEMMA3))

    def fresh() -> TextModel:
        return build(checkpoint.config, CheckpointWeights(checkpoint, Native(1)), 48)

    plain, taped = fresh(), fresh()
    for table in taped.ropes:
        table.rope.cos[:] = table.rope.sin[:] = np.nan
    steps, caches = Steps(taped), [Cache(model.cache_spec, 48) for model in (plain, taped)]
    for cache in caches:
        cache.begin(0)
    for position in range(24):
        batch, place = Batch.of([([position + 7], position, False)]), [(0, position, 1)]
        expected = plain.forward(batch, caches[0].view(place))
        np.testing.assert_array_equal(steps.forward(batch, caches[1].view(place)), expected)
