"""Whatever is drafted, the tokens are those of the plain loop: ids, log-probabilities and alternatives."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bezel.engine.engine import Engine
from bezel.engine.request import Request
from bezel.generation.drafters import DraftModel, PromptLookup
from bezel.generation.loop import Step, generate
from bezel.generation.pace import MOST_DRAFT, Pace
from bezel.generation.sampling import Sampling
from bezel.generation.speculative import Speculation
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.interface import TextModel
from bezel.models.registry import build
from bezel.testing import instruction_sets, write_checkpoint
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint

CONTEXT = 160
SETS = instruction_sets()


class Always(Pace):
    """Drafts as many tokens as `lengths` says, in turn, whatever they cost."""

    def __init__(self, *lengths: int) -> None:
        super().__init__()
        self._lengths, self._turn = lengths or (MOST_DRAFT,), 0

    def length(self, limit: int, drafting: object) -> int:
        self._turn += 1
        return min(limit, self._lengths[self._turn % len(self._lengths)])


class Scripted:
    """Proposes what a function of (history, limit) says."""

    def __init__(self, script: object) -> None:
        self._script = script

    def begin(self, prompt: Sequence[int]) -> None:
        pass

    def propose(self, history: Sequence[int], limit: int) -> Sequence[int]:
        return self._script(history, limit)  # type: ignore[operator]

    def seconds(self, history: Sequence[int], limit: int) -> float:
        return 0.0


def load(folder: Path, seed: int) -> TextModel:
    checkpoint = open_checkpoint(write_checkpoint(folder / str(seed), seed))
    kernels = Native(1) if SETS else Reference()
    return build(checkpoint.config, CheckpointWeights(checkpoint, kernels), CONTEXT)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return load(tmp_path_factory.mktemp("target"), 0)


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    return load(tmp_path_factory.mktemp("draft"), 1)


pytestmark = pytest.mark.skipif(not SETS and not os.environ.get("CI"), reason="the compiled kernels are not built")
EXAMPLES = settings(
    max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
TOKENS = st.integers(0, 288)
RANDOM = st.lists(TOKENS, min_size=1, max_size=60)
REPEATED = st.tuples(st.lists(TOKENS, min_size=1, max_size=6), st.integers(2, 12)).map(lambda pair: pair[0] * pair[1])
PROMPTS = RANDOM | REPEATED  # the window of the sliding layer is 16
SAMPLINGS = st.builds(
    Sampling,
    temperature=st.sampled_from([0.0, 0.3, 1.0]),
    top_k=st.sampled_from([0, 5]),
    top_p=st.sampled_from([1.0, 0.8]),
    repetition_penalty=st.sampled_from([1.0, 1.3]),
    frequency_penalty=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 1000),
)
LENGTHS = st.lists(st.integers(0, MOST_DRAFT), min_size=1, max_size=4)


def plain(model: TextModel, prompt: Sequence[int], *rest: object) -> list[Step]:
    return list(generate(model, prompt, *rest))  # type: ignore[arg-type]


def speculated(
    model: TextModel,
    speculation: Speculation,
    prompt: Sequence[int],
    sampling: Sampling,
    stop_ids: Sequence[int] = (),
    budget: int | None = None,
    logprobs: int = 0,
) -> list[Step]:
    """The answer of an engine that nobody else uses."""
    engine = Engine(model, 1)
    engine.add(Request(prompt, sampling, budget, stop_ids, logprobs, speculation=speculation))
    steps: list[Step] = []
    while engine.busy:
        for progress in engine.step():
            steps += progress.steps
    return steps


def wrong(seed: int) -> object:
    """A drafter that proposes anything: nothing, too much, tokens at random."""
    rng = random.Random(seed)
    return lambda history, limit: [rng.randrange(289) for _ in range(rng.randrange(2 * limit + 1))]


def oracle(prompt: Sequence[int], steps: Sequence[Step], errors: int = 0, seed: int = 0) -> object:
    """A drafter that knows the answer, with `errors` of its tokens in ten wrong."""
    whole, rng = [*prompt, *(step.token_id for step in steps)], random.Random(seed)

    def propose(history: Sequence[int], limit: int) -> list[int]:
        right = whole[len(history) : len(history) + limit]
        return [(token + 1) % 289 if rng.randrange(10) < errors else token for token in right]

    return propose


@EXAMPLES
@given(
    PROMPTS, SAMPLINGS, LENGTHS, st.integers(1, 50), st.integers(0, 99), st.sampled_from(["wrong", "oracle", "mixed"])
)
def test_any_drafter_leaves_the_tokens_as_they_are(
    model: TextModel, prompt: list[int], sampling: Sampling, lengths: list[int], budget: int, seed: int, kind: str
) -> None:
    expected = plain(model, prompt, sampling, (), budget, 3)
    scripts = {"wrong": wrong(seed), "oracle": oracle(prompt, expected), "mixed": oracle(prompt, expected, 3, seed)}
    speculation = Speculation(Scripted(scripts[kind]), Always(*lengths))
    assert speculated(model, speculation, prompt, sampling, (), budget, 3) == expected
    if kind == "oracle":
        assert speculation.accepted_tokens == speculation.draft_tokens


@EXAMPLES
@given(PROMPTS, SAMPLINGS, LENGTHS, st.integers(1, 60))
def test_lookup_leaves_the_tokens_as_they_are(
    model: TextModel, prompt: list[int], sampling: Sampling, lengths: list[int], budget: int
) -> None:
    expected = plain(model, prompt, sampling, (), budget, 1)
    for pace in (Always(*lengths), Pace()):
        speculation = Speculation(PromptLookup(), pace)
        assert speculated(model, speculation, prompt, sampling, (), budget, 1) == expected


@EXAMPLES
@given(PROMPTS, SAMPLINGS, LENGTHS, st.integers(1, 60))
def test_a_draft_model_leaves_the_tokens_as_they_are(
    model: TextModel, other: TextModel, prompt: list[int], sampling: Sampling, lengths: list[int], budget: int
) -> None:
    expected = plain(model, prompt, sampling, (), budget, 1)
    for draft in (model, other):
        speculation = Speculation(DraftModel(draft, model.vocabulary), Always(*lengths))
        assert speculated(model, speculation, prompt, sampling, (), budget, 1) == expected
        if draft is model and sampling == Sampling(temperature=0.0, seed=sampling.seed):
            assert speculation.accepted_tokens == speculation.draft_tokens


@pytest.mark.parametrize("length", [1, 5, MOST_DRAFT])
def test_a_draft_of_the_same_weights_is_accepted_whole(model: TextModel, length: int) -> None:
    greedy, prompt = Sampling(temperature=0.0), list(range(20))
    speculation = Speculation(DraftModel(model, model.vocabulary), Always(length))
    steps = speculated(model, speculation, prompt, greedy, (), 61)
    assert steps == plain(model, prompt, greedy, (), 61)
    assert speculation.accepted_tokens == speculation.draft_tokens >= 60 * length // (length + 1)


def test_a_draft_model_proposes_its_own_greedy_answer_after_every_rejection(model: TextModel, other: TextModel) -> None:
    greedy = Sampling(temperature=0.0)
    drafter, history = DraftModel(other, model.vocabulary), [7] * 30
    drafter.begin(history)
    for token in range(60):
        expected = [step.token_id for step in generate(other, history, greedy, (), MOST_DRAFT)]
        assert drafter.propose(history, MOST_DRAFT) == expected
        history += [*expected[: token % 5], token]
        if len(history) + MOST_DRAFT > CONTEXT:
            break
    assert len(history) > 140
    assert drafter.propose([*history, *[1] * 20], MOST_DRAFT) == ()


def test_a_draft_model_says_nothing_of_tokens_that_it_lacks(model: TextModel) -> None:
    drafter = DraftModel(model, 10)
    drafter.begin([1, 2, 3])
    assert all(token < 10 for token in drafter.propose([1, 2, 3], 4))
    assert drafter.propose([1, 2, 3, 10], 4) == ()


@EXAMPLES
@given(PROMPTS, st.integers(0, 1000), st.integers(0, 39), st.integers(1, 40))
def test_a_stop_id_and_the_budget_end_an_accepted_run(
    model: TextModel, prompt: list[int], seed: int, stop_at: int, budget: int
) -> None:
    sampling = Sampling(temperature=1.0, seed=seed)
    whole = plain(model, prompt, sampling, (), 40)
    stop = (whole[stop_at].token_id,)
    expected = plain(model, prompt, sampling, stop, budget)
    speculation = Speculation(Scripted(oracle(prompt, whole)), Always())
    assert speculated(model, speculation, prompt, sampling, stop, budget) == expected
    assert speculation.accepted_tokens < len(expected)


def test_what_is_reported_is_what_was_accepted(model: TextModel) -> None:
    greedy, prompt = Sampling(temperature=0.0), [3, 1, 4]
    expected = plain(model, prompt, greedy, (), 41)
    right = oracle(prompt, expected)

    def script(history: Sequence[int], limit: int) -> list[int]:
        a, b, c, d = right(history, 4)  # type: ignore[operator]
        return [a, b, (c + 1) % 289, d]

    speculation = Speculation(Scripted(script), Always(4))
    assert speculated(model, speculation, prompt, greedy, (), 41)[:31] == expected[:31]
    # One token comes from prefill, then three a pass: two accepted and the correction. The last two passes have room
    # for three drafted tokens and for none.
    assert (speculation.draft_tokens, speculation.accepted_tokens) == (12 * 4 + 3, 13 * 2)


def test_lookup_continues_the_longest_run_and_itself() -> None:
    lookup = PromptLookup()
    history = [1, 2, 3, 9, 8, 2, 3, 7, 5, 1, 2, 3]
    lookup.begin(history)
    assert lookup.propose(history, 4) == [9, 8, 2, 3]
    assert lookup.propose([*history, 6], 4) == ()
    assert lookup.propose([*history, 6, 4, 6, 4, 6], 5) == [4, 6, 4, 6, 4]
    assert PromptLookup().propose([5], 3) == ()


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=80), st.integers(1, MOST_DRAFT))
def test_lookup_continues_a_place_with_the_same_end(history: list[int], limit: int) -> None:
    lookup = PromptLookup()
    lookup.begin(history[: len(history) // 2 + 1])
    draft = lookup.propose(history, limit)
    ends = [i for i in range(1, len(history) - 1) if history[i - 1 : i + 1] == history[-2:]]
    assert bool(draft) == bool(ends)
    if draft:
        assert len(draft) == limit
        assert any([*history, *draft][i + 1 : i + 1 + limit] == list(draft) for i in ends)
