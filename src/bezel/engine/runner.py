"""From a plan to tokens: one forward pass for all of its requests, then each chooses for itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bezel.engine.blocks import Blocks
from bezel.engine.request import Entry, Output
from bezel.engine.scheduler import Plan
from bezel.errors import BezelError
from bezel.generation.loop import step_of
from bezel.generation.sampling import choose, penalise
from bezel.generation.steps import Steps
from bezel.generation.stores import Stores
from bezel.kernels.interface import F32, I32, KVView
from bezel.models.interface import Batch, TextModel


class Runner:
    """Runs plans over one model and its stores; every weight is read once a step."""

    def __init__(self, model: TextModel, stores: Stores, blocks: Blocks) -> None:
        self._steps, self._stores, self._blocks = Steps(model), stores, blocks

    def run(self, plan: Plan) -> tuple[Output, ...]:
        """Compute a plan, whose blocks are held."""
        if not plan.entries:
            return ()
        tables = self._blocks.tables(entry.request.id for entry in plan.entries)
        logits = self._steps.forward(_batch(plan.entries), _View(self._stores, tables))
        outputs, row = [], 0
        for entry in plan.entries:
            outputs.append(_chosen(entry, logits[row : row + entry.logits]))
            row += entry.logits
        return tuple(outputs)


class _View:
    def __init__(self, stores: Stores, tables: Mapping[int | None, Sequence[I32]]) -> None:
        self._stores, self._tables = stores, tables

    @property
    def tables(self) -> Sequence[Sequence[I32]]:
        return list(self._tables.values())

    def layer(self, index: int) -> KVView:
        return self._stores.layer(index, self._tables)


def _batch(entries: Sequence[Entry]) -> Batch:
    batch = Batch.of([(entry.tokens, entry.start, False) for entry in entries])
    if all(entry.logits == 1 for entry in entries):
        return batch
    ends = [segment.row + segment.length for segment in batch.segments]
    rows = [row for entry, end in zip(entries, ends, strict=True) for row in range(end - entry.logits, end)]
    return replace(batch, logit_rows=np.array(rows, np.int32))


def _chosen(entry: Entry, logits: F32) -> Output:
    """The next token from the last row of an entry's logits [entry.logits, vocabulary]; none inside a prompt."""
    if not entry.logits:
        return Output(entry)
    request, row = entry.request, logits[-1]
    try:
        changed = penalise(row, request.tokens, request.produced, request.sampling)
        token = choose(changed, request.sampling, request.rng)
    except BezelError as error:  # one request's sampling must not end its neighbours
        return Output(entry, error=error)
    return Output(entry, (step_of(row, token, request.logprobs),))
