"""Forward passes of one cache, in which steps of one token a sequence are recorded once and then replayed natively."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from bezel.kernels.interface import F32, I32
from bezel.kernels.library import Native
from bezel.kernels.tape import Tape
from bezel.models.interface import Batch, CacheView, TextModel


@dataclass(frozen=True)
class _Recorded:
    """A tape with the arrays that its first step read from and wrote to."""

    tape: Tape
    batch: Batch
    inputs: list[tuple[I32, I32]]
    logits: F32
    keys: F32


class Steps:
    """Runs a model over one cache. A replay gives the same bits as the forward pass that was recorded."""

    def __init__(self, model: TextModel) -> None:
        self._model = model
        self._recorded: dict[int, _Recorded] = {}

    def forward(self, batch: Batch, cache: CacheView) -> F32:
        """As `TextModel.forward`. Every view must be of the same cache."""
        ops, count = self._model.ops, len(batch.ids)
        if not isinstance(ops, Native) or len(batch.segments) != count or len(batch.logit_rows) != count:
            return self._model.forward(batch, cache)
        places = [ops.rows_of(tables, batch.segments) for tables in cache.tables]
        inputs = [(rows.addresses, rows.positions) for rows in places]
        keys = cache.layer(0).keys
        recorded = self._recorded.get(count)
        if recorded is None:
            with ops.record() as tape:
                logits = self._model.forward(batch, cache)
            self._recorded[count] = _Recorded(tape, batch, inputs, logits, keys)
            return logits.copy()
        if int(batch.ids.min()) < 0 or int(batch.ids.max()) >= self._model.vocabulary:
            raise ValueError(f"an id lies outside the vocabulary of {self._model.vocabulary}")
        if int(batch.positions.max()) >= self._model.context:
            raise ValueError(f"a position lies outside the context of {self._model.context}")
        if keys is not recorded.keys:
            raise ValueError("the step was recorded over another cache; make new Steps for each")
        np.copyto(recorded.batch.ids, batch.ids)
        np.copyto(recorded.batch.positions, batch.positions)
        for (addresses, positions), (new_addresses, new_positions) in zip(recorded.inputs, inputs, strict=True):
            np.copyto(addresses, new_addresses)
            np.copyto(positions, new_positions)
        recorded.tape.replay()
        return recorded.logits.copy()
