"""Forward passes of one cache, in which small batches are recorded once for each shape and then replayed natively."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from bezel.kernels.interface import F32
from bezel.kernels.library import Native, Rows, all_below, check_blocks
from bezel.kernels.tape import Tape
from bezel.models.interface import Batch, CacheView, TextModel
from bezel.models.rope import reach

MOST_ROWS = 16
"""Rows of the largest batch that is recorded; larger ones are prefill, whose kernels dwarf the calls of them."""
MOST_TAPES = 12
"""Tapes that are kept, each with its buffers; the one that was not used for longest goes first."""


@dataclass(frozen=True)
class _Recorded:
    """A tape with the arrays that its first step read from and wrote to."""

    tape: Tape
    batch: Batch
    places: Sequence[Rows]
    logits: F32


class Steps:
    """Runs a model over one cache. A replay gives the same bits as the forward pass that was recorded.

    Kernels see rows, each with its position and its block table, and no borders between segments. So one tape serves
    every batch of as many rows and as many rows of logits, however the rows are shared among sequences.
    """

    def __init__(self, model: TextModel) -> None:
        self._model = model
        self._keys: F32 | None = None
        self._recorded: dict[tuple[int, int], _Recorded] = {}
        spec = model.cache_spec
        owners = {
            layer.window: index for index, layer in reversed([*enumerate(spec.layers)]) if layer.shared_with is None
        }
        self._owners = [(window, owners[window]) for window in spec.windows]

    def forward(self, batch: Batch, cache: CacheView) -> F32:
        """As `TextModel.forward`, over views of one cache. The next call may write over the logits.

        ValueError for a view of another cache, and for ids, positions, rows or blocks that cannot be.
        """
        ops, shape = self._model.ops, (len(batch.ids), len(batch.logit_rows))
        unlike = batch.soft is not None or any(s.mutual or s.start < s.prefix for s in batch.segments)
        if not isinstance(ops, Native) or shape[0] > MOST_ROWS or unlike:
            return self._model.forward(batch, cache)
        keys = cache.layer(0).keys
        if self._keys is None:
            self._keys = keys
        if keys is not self._keys:
            raise ValueError("the steps were recorded over another cache; make new Steps for each")
        recorded = self._recorded.get(shape)
        if recorded is None:
            recorded = self._record(ops, batch, cache)
        else:
            self._check(batch, cache)
            self._fill(recorded, ops, batch, cache)
            reach(self._model.ropes, batch.positions)
            recorded.tape.replay()
        self._recorded.pop(shape, None)
        self._recorded[shape] = recorded
        if len(self._recorded) > MOST_TAPES:
            del self._recorded[next(iter(self._recorded))]
        return recorded.logits

    def _record(self, ops: Native, batch: Batch, cache: CacheView) -> _Recorded:
        # The tape reads these arrays for as long as it lives, so they are its own and not the caller's.
        own = Batch(batch.ids.copy(), batch.positions.copy(), tuple([*batch.segments]), batch.logit_rows.copy())
        places = [ops.rows_of(cache.layer(owner).tables, own.segments) for _, owner in self._owners]
        with ops.record() as tape:
            logits = self._model.forward(own, cache)
        return _Recorded(tape, own, places, logits)

    def _check(self, batch: Batch, cache: CacheView) -> None:
        if not all_below(batch.ids, self._model.vocabulary):
            raise ValueError(f"an id lies outside the vocabulary of {self._model.vocabulary}")
        if not all_below(batch.positions, self._model.context):
            raise ValueError(f"a position lies outside the context of {self._model.context}")
        if not all_below(batch.logit_rows, len(batch.ids)):
            raise ValueError(f"a row of logits lies outside the {len(batch.ids)} rows of the batch")
        for window, owner in self._owners:
            check_blocks(cache.layer(owner), batch.segments, window)

    def _fill(self, recorded: _Recorded, ops: Native, batch: Batch, cache: CacheView) -> None:
        np.copyto(recorded.batch.ids, batch.ids)
        np.copyto(recorded.batch.positions, batch.positions)
        np.copyto(recorded.batch.logit_rows, batch.logit_rows)
        for places, (_, owner) in zip(recorded.places, self._owners, strict=True):
            rows = ops.rows_of(cache.layer(owner).tables, batch.segments)
            np.copyto(places.addresses, rows.addresses)
            np.copyto(places.positions, rows.positions)
            np.copyto(places.lasts, rows.lasts)
