"""From a plan to tokens: one forward pass for all of its requests, then each chooses for itself."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np

from bezel.engine.blocks import Blocks
from bezel.engine.request import Entry, Output
from bezel.engine.scheduler import Plan
from bezel.errors import BezelError
from bezel.generation.speculative import choose_rows
from bezel.generation.steps import Steps
from bezel.generation.stores import Stores
from bezel.kernels.interface import F32, I32, Kernels, KVView
from bezel.models.interface import Batch, TextModel


class Runner:
    """Runs plans over one model and its stores; every weight is read once a step.

    Drafts are made for plans of at most `drafting` requests: where more run, a pass is shared well enough.
    """

    def __init__(self, model: TextModel, stores: Stores, blocks: Blocks, drafting: int = 1) -> None:
        self._steps, self._stores, self._blocks, self._drafting = Steps(model), stores, blocks, drafting
        self._kernels = model.ops

    def run(self, plan: Plan) -> tuple[Output, ...]:
        """Compute a plan, whose blocks are held."""
        if not plan.entries:
            return ()
        began = time.perf_counter()
        tables = self._blocks.tables(entry.request.id for entry in plan.entries)
        logits = self._steps.forward(_batch(plan.entries), _View(self._stores, tables))
        seconds = time.perf_counter() - began if len(plan.entries) == 1 else None
        outputs, row = [], 0
        for entry in plan.entries:
            drafting = len(plan.entries) <= self._drafting
            outputs.append(_chosen(entry, logits[row : row + entry.logits], seconds, drafting, self._kernels))
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
    spans = [entry.request.spans for entry in entries]
    batch = Batch.of([(entry.tokens, entry.start, False) for entry in entries], spans)
    if all(entry.logits == 1 for entry in entries):
        return batch
    ends = [segment.row + segment.length for segment in batch.segments]
    rows = [row for entry, end in zip(entries, ends, strict=True) for row in range(end - entry.logits, end)]
    return replace(batch, logit_rows=np.array(rows, np.int32))


def _chosen(entry: Entry, logits: F32, seconds: float | None, drafting: bool, kernels: Kernels) -> Output:
    """The next tokens from an entry's logits [entry.logits, vocabulary]; none inside a prompt.

    `seconds`: what the pass took where nobody shared it.
    """
    if not entry.logits:
        return Output(entry)
    request, draft = entry.request, entry.draft
    history, produced = [*request.tokens], [*request.produced]
    budget = len(produced) + request.room
    how = request.sampling, request.rng, request.stop_ids, budget, request.logprobs, kernels, request.constraint
    try:
        steps, accepted, taken_back = choose_rows(logits, draft, history, produced, *how)
    except BezelError as error:  # one request's sampling must not end its neighbours
        return Output(entry, error=error)
    if taken_back:
        return Output(entry, taken_back=taken_back)
    speculation, following = request.speculation, tuple[int, ...]()
    if speculation is not None:
        if request.produced:
            speculation.checked(len(draft), accepted, seconds)
        if drafting and len(produced) < budget and produced[-1] not in request.stop_ids:
            following = speculation.draft(history, budget - len(produced) - 1)
    return Output(entry, tuple(steps), following)
