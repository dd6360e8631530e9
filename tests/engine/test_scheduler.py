"""The scheduler alone: order, budget, preemption and cancellation, with tokens that nobody computed."""

from __future__ import annotations

import random

from hypothesis import given, settings
from hypothesis import strategies as st

from bezel.engine.blocks import Blocks
from bezel.engine.request import Entry, Output, Progress, Request, State
from bezel.engine.scheduler import Plan, Scheduler
from bezel.generation.loop import Step
from bezel.generation.sampling import Sampling
from bezel.generation.stores import BLOCK
from bezel.testing import check_blocks


def _scheduler(blocks: int = 64, budget: int = 64, most: int = 8) -> tuple[Scheduler, Blocks]:
    held = Blocks({None: blocks}, 4096)
    return Scheduler(held, budget, most, clock=lambda: 0.0), held


def _request(length: int, max_tokens: int = 4, priority: int = 0) -> Request:
    tokens = random.Random(length).choices(range(10, 100), k=length)
    return Request(tokens, Sampling(), max_tokens, stop_ids=(1,), priority=priority)


def _update(scheduler: Scheduler, plan: Plan, token: int = 9) -> tuple[Progress, ...]:
    return scheduler.update([Output(entry, (Step(token, 0.0),) * entry.logits) for entry in plan.entries])


def _lengths(plan: Plan) -> dict[int, int]:
    return {entry.request.id: len(entry.tokens) for entry in plan.entries}


def _add(scheduler: Scheduler, *requests: Request) -> None:
    for request in requests:
        scheduler.add(request)


def test_prompts_are_cut_to_the_budget_and_those_who_decode_go_first() -> None:
    scheduler, _ = _scheduler(budget=64)
    short, long = _request(50), _request(100)
    _add(scheduler, short, long)
    plan = scheduler.schedule()
    assert _lengths(plan) == {short.id: 50, long.id: 14}
    assert [entry.logits for entry in plan.entries] == [1, 0]
    progress = _update(scheduler, plan)
    assert [(p.request, p.reason) for p in progress] == [(short, None)]
    plan = scheduler.schedule()
    assert plan.entries[0] == Entry(short, 50, (9,), 1)
    assert plan.entries[1] == Entry(long, 14, tuple(long.prompt[14:77]), 0)
    _update(scheduler, plan)
    late = _request(10)
    _add(scheduler, late)
    assert _lengths(scheduler.schedule()) == {short.id: 1, long.id: 23, late.id: 10}


def test_first_come_first_served_at_most_so_many_at_once_but_priority_before() -> None:
    scheduler, _ = _scheduler(most=2)
    first, second, third, urgent = _request(3), _request(4), _request(5), _request(6, priority=-1)
    _add(scheduler, first, second, third, urgent)
    assert list(_lengths(scheduler.schedule())) == [urgent.id, first.id]
    assert (scheduler.statistics.running, scheduler.statistics.waiting) == (2, 2)
    scheduler.cancel(urgent.id)
    assert list(_lengths(scheduler.schedule())) == [first.id, second.id]


def test_requests_end_by_stop_ids_and_by_length() -> None:
    scheduler, blocks = _scheduler()
    stopped, whole = _request(3, max_tokens=5), _request(4, max_tokens=2)
    _add(scheduler, stopped, whole)
    _update(scheduler, scheduler.schedule())
    plan = scheduler.schedule()
    outputs = [Output(entry, (Step(1 if entry.request is stopped else 8, 0.0),)) for entry in plan.entries]
    ended = {p.request.id: p.reason for p in scheduler.update(outputs)}
    assert ended == {stopped.id: "stop", whole.id: "length"}
    assert not scheduler.busy and blocks.groups[None].available == 64
    assert scheduler.schedule().entries == ()


def test_tokens_behind_the_end_are_dropped() -> None:
    scheduler, _ = _scheduler()
    request = _request(3, max_tokens=5)
    _add(scheduler, request)
    plan = scheduler.schedule()
    (progress,) = scheduler.update([Output(plan.entries[0], tuple(Step(t, 0.0) for t in (7, 1, 8)))])
    assert ([s.token_id for s in progress.steps], progress.reason) == ([7, 1], "stop")


def test_the_youngest_gives_way_and_comes_back_with_what_it_has_produced() -> None:
    scheduler, blocks = _scheduler(blocks=5, budget=4 * BLOCK)
    old, young = _request(BLOCK + 8, max_tokens=BLOCK + 8), _request(2 * BLOCK, max_tokens=3 * BLOCK)
    _add(scheduler, old, young)
    _update(scheduler, scheduler.schedule())
    while scheduler.statistics.preemptions == 0:
        assert scheduler.busy
        _update(scheduler, scheduler.schedule())
        check_blocks(blocks)
    assert (old.state, young.state) == (State.RUNNING, State.PREEMPTED)
    produced = len(young.produced)
    assert produced > 1
    while old.state is not State.FINISHED:
        _update(scheduler, scheduler.schedule())
    (entry,) = scheduler.schedule().entries
    assert entry.request is young and entry.start + len(entry.tokens) == 2 * BLOCK + produced
    assert entry.start > 0, "its own prefix was still cached"
    assert young.reused == 0
    _update(scheduler, Plan((entry,)))
    while scheduler.busy:
        _update(scheduler, scheduler.schedule())
    assert len(young.produced) == 3 * BLOCK


def test_cancelling_frees_what_is_held_and_what_waits() -> None:
    scheduler, blocks = _scheduler(most=1)
    running, waiting = _request(40), _request(50)
    _add(scheduler, running, waiting)
    scheduler.schedule()
    for request in (running, waiting):
        progress = scheduler.cancel(request.id)
        assert progress is not None and progress.reason == "cancelled"
        assert request.state is State.FINISHED
    assert scheduler.cancel(running.id) is None
    assert not scheduler.busy and blocks.groups[None].available == 64
    check_blocks(blocks)


@settings(max_examples=60, deadline=None)
@given(st.randoms(use_true_random=False), st.integers(1, 80), st.integers(1, 6), st.integers(5, 12))
def test_every_request_comes_to_its_end_within_the_budget(
    rng: random.Random, budget: int, most: int, blocks: int
) -> None:
    held = Blocks({None: blocks, 20: 3 + -(-budget // BLOCK)}, 256)
    scheduler = Scheduler(held, budget, most)
    requests = [_request(rng.randint(1, 100), rng.randint(1, 60), rng.choice((0, 0, 1))) for _ in range(12)]
    coming = list(requests)
    for _ in range(10000):
        if coming and rng.random() < 0.3:
            scheduler.add(coming.pop())
        plan = scheduler.schedule()
        assert sum(_lengths(plan).values()) <= budget and len(_lengths(plan)) == len(plan.entries) <= most
        assert plan.entries or not scheduler.busy
        for entry in plan.entries:
            request, end = entry.request, entry.start + len(entry.tokens)
            assert entry.start == request.computed and list(entry.tokens) == request.tokens[entry.start : end]
            assert entry.logits == (end == len(request.tokens))
        _update(scheduler, plan)
        check_blocks(held)
        if not coming and not scheduler.busy:
            break
    assert all(len(request.produced) == request.max_tokens for request in requests)
    assert all(group.available == group.count for group in held.groups.values())
