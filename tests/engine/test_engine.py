"""Whatever runs beside a request, it gets the tokens of the one-sequence loop; nothing is computed or held in vain."""

from __future__ import annotations

import os
import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from bezel.engine.blocks import pool
from bezel.engine.engine import Engine
from bezel.engine.request import Progress, Request
from bezel.errors import ContextLengthError, InvalidRequestError
from bezel.generation.drafters import PromptLookup
from bezel.generation.loop import Step, generate
from bezel.generation.pace import Pace
from bezel.generation.sampling import Sampling
from bezel.generation.speculative import Speculation
from bezel.kernels.interface import Format
from bezel.kernels.library import Native
from bezel.kernels.reference import Reference
from bezel.models.gemma2 import Gemma2
from bezel.models.gemma3 import Gemma3
from bezel.models.interface import Batch, CacheView, SoftSpan, TextModel
from bezel.models.registry import build
from bezel.testing import GEMMA2, GEMMA3, GEMMA3N, check_blocks, instruction_sets, write_checkpoint
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint

BUILT = bool(instruction_sets())
CONTEXT = 192
IMAGE = 50
"""Most soft tokens of an image."""
WINDOW = 16
MOST_STEPS = 50_000


def _model(folder: Path, kernels: Any, config: Mapping[str, Any] = GEMMA3) -> TextModel:
    checkpoint = open_checkpoint(write_checkpoint(folder, config=config))
    # At 8 bits the sparse feed-forward of few rows skips what that of many computes.
    level = Format.Q8_0 if config is GEMMA3N else None
    return build(checkpoint.config, CheckpointWeights(checkpoint, kernels, level), CONTEXT)


@pytest.fixture(scope="module", params=[GEMMA2, GEMMA3, GEMMA3N], ids=lambda config: config["model_type"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> TextModel:
    if not BUILT and not os.environ.get("CI"):
        pytest.skip("the compiled kernels are not built")
    return _model(tmp_path_factory.mktemp("m"), Native(1), request.param)


_ALONE: dict[Any, list[Step]] = {}


def _alone(model: TextModel, request: Request) -> list[Step]:
    """What the one-sequence loop answers."""
    asked = repr(request.sampling), request.max_tokens, tuple(request.stop_ids), request.logprobs
    key = (id(model), tuple(request.prompt), tuple((span.start, span.key) for span in request.spans), *asked)
    if key not in _ALONE:
        whole = request.prompt, request.sampling, request.stop_ids, request.max_tokens, request.logprobs
        _ALONE[key] = list(generate(model, *whole, spans=request.spans))
    return _ALONE[key]


def _image(start: int, number: int) -> SoftSpan:
    """One of a few images, by its number: some longer than the window, some than a block or a step."""
    rng = np.random.default_rng(number)
    rows = (rng.standard_normal((int(rng.integers(1, IMAGE + 1)), GEMMA3["hidden_size"])) * 2).astype(np.float32)
    return SoftSpan(start, len(rows), bytes([number]), lambda: rows)


def _request(rng: random.Random, sees: bool = False) -> Request:
    """Prompts from a few families, so that many begin alike; some longer than the window, some than a block.

    With `sees` images stand between, alike in a family, but for the last of some.
    """
    family = random.Random(rng.randint(0, 2))
    prompt, spans = [family.randrange(285) for _ in range(rng.randint(0, 110))], list[SoftSpan]()
    if sees and prompt:
        del prompt[family.randint(1, 40) :]
        for place in range(rng.randint(0, 2)):
            spans.append(_image(len(prompt), family.randint(0, 5) if place == 0 else rng.randint(0, 5)))
            prompt += [0] * spans[-1].length
            prompt += [family.randrange(285) for _ in range(rng.randint(0, 5))]
    prompt += [rng.randrange(285) for _ in range(rng.randint(not prompt, 20))]
    sampling = rng.choice(
        [
            Sampling(temperature=0.0),
            Sampling(temperature=0.0, repetition_penalty=1.3),
            Sampling(temperature=0.9, top_k=40, seed=rng.randint(0, 3)),
            Sampling(temperature=1.5, top_p=0.9, frequency_penalty=0.5, seed=rng.randint(0, 3)),
        ]
    )
    stop_ids = range(5) if rng.random() < 0.5 else range(0, 285, 9)
    chosen = sampling, rng.randint(1, 40), stop_ids, rng.choice((0, 3)), rng.choice((0, 0, 0, 1))
    return Request(prompt, *chosen, spans=spans)


def _prefixed(rng: random.Random) -> Request:
    """As PaliGemma's: a prompt that is one span, an image and then tokens, some of which are alike."""
    image, family = _image(0, rng.randint(0, 2)), random.Random(rng.randint(0, 1))
    tokens = [family.randrange(285) for _ in range(rng.choice((1, 5, 40)))]
    key = repr((image.key, tokens)).encode()
    span = replace(image, length=image.length + len(tokens), key=key, soft=image.length, prefix=True)
    sampling = Sampling(temperature=rng.choice((0.0, 0.9)), top_k=40, seed=rng.randint(0, 3))
    return Request([0] * image.length + tokens, sampling, rng.randint(1, 40), range(5), spans=[span])


class _Half:
    """Proposes what the loop answers, with every third token wrong."""

    def __init__(self, model: TextModel, request: Request) -> None:
        self._whole = [*request.prompt, *(step.token_id for step in _alone(model, request))]

    def begin(self, prompt: Sequence[int]) -> None:
        pass

    def propose(self, history: Sequence[int], limit: int) -> list[int]:
        known = enumerate(self._whole[len(history) : len(history) + limit], len(history))
        return [(token + (place % 3 == 0)) % 285 for place, token in known]

    def seconds(self, history: Sequence[int], limit: int) -> float:
        return 0.0


class _Always(Pace):
    def length(self, limit: int, drafting: object) -> int:
        return min(limit, 4)


def _speculate(model: TextModel, rng: random.Random, requests: list[Request]) -> None:
    for request in requests:
        drafter = rng.choice((None, PromptLookup(), _Half(model, request)))
        request.speculation = Speculation(drafter, _Always()) if drafter else None


def _run(engine: Engine) -> dict[int, list[Step]]:
    """Step until nothing is left: the tokens by request id."""
    found: dict[int, list[Step]] = {}
    for _ in range(MOST_STEPS):
        if not engine.busy:
            return found
        for progress in engine.step():
            found.setdefault(progress.request.id, []).extend(progress.steps)
    raise AssertionError("the engine does not come to an end")


@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck), phases=[Phase.reuse, Phase.generate])
@given(st.randoms(use_true_random=False), st.booleans(), st.integers(1, 9))
def test_any_schedule_gives_the_tokens_of_the_loop(
    model: TextModel, rng: random.Random, tight: bool, sequences: int
) -> None:
    budget = rng.choice((1, 2, 7, 16, 31, 32, 33, 64, 100, 512))
    span = IMAGE if isinstance(model, Gemma3) else CONTEXT if isinstance(model, Gemma2) else 0
    least = pool(model.cache_spec, CONTEXT, 1, budget + span)
    spare = 3 if tight else 60
    blocks = {window: n + rng.randint(0, spare) for window, n in least.items()}
    engine = Engine(model, sequences, budget, blocks, rng.choice((0, 1, 9)), span)
    prefixed = rng.random() if isinstance(model, Gemma2) else 0.0
    requests = [
        _prefixed(rng) if rng.random() < prefixed else _request(rng, sees=isinstance(model, Gemma3)) for _ in range(32)
    ]
    _speculate(model, rng, requests)
    coming, arrival, cancelling = list(requests), rng.choice((0.05, 0.3, 1.0)), rng.choice((0.0, 0.0, 0.02))
    ended: dict[int, Progress] = {}
    found: dict[int, list[Step]] = {request.id: [] for request in requests}
    steps = 0
    while coming or engine.busy:
        steps += 1
        assert steps < MOST_STEPS, "the engine does not come to an end"
        while coming and rng.random() < arrival:
            engine.add(coming.pop())
        if rng.random() < cancelling:
            engine.cancel(rng.choice(requests).id)
        for progress in engine.step():
            assert progress.request.id not in ended
            found[progress.request.id] += progress.steps
            if progress.reason is not None:
                ended[progress.request.id] = progress
        check_blocks(engine.blocks)
    assert len(ended) == 32 and all(group.available == group.count for group in engine.blocks.groups.values())
    for request in requests:
        expected = _alone(model, request)
        if ended[request.id].reason == "cancelled":
            assert found[request.id] == expected[: len(found[request.id])]
        else:
            assert found[request.id] == expected
            stopped = expected[-1].token_id in request.stop_ids
            assert ended[request.id].reason == ("stop" if stopped else "length")


def test_an_image_is_a_prefix_of_its_own_and_is_found_from_its_middle(model: TextModel) -> None:
    if not isinstance(model, Gemma3):
        pytest.skip("takes no images yet")
    engine = Engine(model, 1, budget=7, span=IMAGE)
    one, other = (_image(6, number) for number in (2, 3))
    assert 6 < 32 < 6 + one.length < 64  # a block ends inside it
    prompt = [7] * 6 + [0] * one.length + [9, 8]

    def answered(prompt: list[int], span: SoftSpan) -> tuple[int, list[Step]]:
        request = Request(prompt, Sampling(temperature=0.0), 6, spans=[span])
        engine.add(request)
        found = _run(engine)[request.id]
        assert found == _alone(model, request)
        return request.reused, found

    reused, first = answered(prompt, one)
    assert reused == 0
    assert answered(prompt, one) == (32, first)
    changed = [7] * 6 + [0] * other.length + [9, 8]
    assert answered(changed, other)[0] == 0, "another image's keys were taken for its own"


def test_a_prefix_is_found_again_as_far_as_sliding_layers_have_all_of_it(model: TextModel) -> None:
    if not isinstance(model, Gemma2):
        pytest.skip("has no prefixes")
    least = pool(model.cache_spec, CONTEXT, 1, 7 + CONTEXT)
    engine = Engine(
        model, 1, 7, {window: count + 6 * (window is None) for window, count in least.items()}, span=CONTEXT
    )
    image = _image(0, 2)
    prompt = [0] * image.length + [7] * (100 - image.length)

    def answered(key: bytes, rows: SoftSpan = image) -> int:
        span = replace(rows, length=100, key=key, soft=image.length, prefix=True)
        request = Request(prompt, Sampling(temperature=0.0), 4, spans=[span])
        engine.add(request)
        assert _run(engine)[request.id] == _alone(model, request)
        return request.reused

    assert answered(b"one") == 0
    assert answered(b"one") == 96
    assert answered(b"other", replace(image, embed=lambda: -image.embed())) == 0


@pytest.mark.parametrize(("start", "length"), [(0, IMAGE + 1), (3, 8), (-1, 2), (2, 0)])
def test_spans_that_cannot_be_are_refused(model: TextModel, start: int, length: int) -> None:
    span = SoftSpan(start, length, b"x", lambda: np.zeros((length, 64), np.float32))
    with pytest.raises(InvalidRequestError, match="cannot be"):
        Engine(model, span=IMAGE).add(Request([1] * 10, Sampling(), 4, spans=[span]))


def test_tight_pools_do_preempt_reuse_and_accept_drafts(model: TextModel) -> None:
    """The test above would show nothing if these never happened."""
    rng = random.Random(5)
    engine = Engine(model, 8, 64, pool(model.cache_spec, CONTEXT, 1, 64), drafting=8)
    requests = [_request(rng) for _ in range(32)]
    _speculate(model, rng, requests)
    for request in requests:
        engine.add(request)
    found = _run(engine)
    assert engine.statistics.preemptions > 0 and engine.statistics.reused_tokens > 0
    drafted = [request.speculation for request in requests if request.speculation]
    assert 0 < sum(s.accepted_tokens for s in drafted) < sum(s.draft_tokens for s in drafted)
    assert all(found[request.id] == _alone(model, request) for request in requests)


def test_the_reference_kernels_agree_with_their_own_loop(tmp_path: Path) -> None:
    model, rng = _model(tmp_path / "m", Reference()), random.Random(1)
    requests = [_request(rng) for _ in range(5)]
    for request in requests:
        request.max_tokens = 4
    engine = Engine(model, 3, 20)
    for request in requests:
        engine.add(request)
    found = _run(engine)
    for request in requests:
        expected = list(generate(model, request.prompt, request.sampling, request.stop_ids, request.max_tokens))
        # NumPy's own products are not bound to give a row the same bits in every batch: tokens, not log-probabilities.
        assert [step.token_id for step in found[request.id]] == [step.token_id for step in expected]


class _Counting:
    """A model that writes down how many tokens each forward pass computes."""

    def __init__(self, model: TextModel) -> None:
        self.config, self.ops, self.cache_spec = model.config, Reference(), model.cache_spec
        self.vocabulary, self.context = model.vocabulary, model.context
        self._model, self.rows, self.logits = model, [], []

    def forward(self, batch: Batch, cache: CacheView) -> Any:
        self.rows.append(len(batch.ids))
        logits = self._model.forward(batch, cache)
        self.logits.append(len(logits))
        return logits


def test_a_prefix_hit_skips_computing(model: TextModel) -> None:
    counting = _Counting(model)
    engine = Engine(counting, 4, 512)
    prompt = [int(t) for t in np.random.default_rng(0).integers(6, 280, 150)]
    greedy = Sampling(temperature=0.0)
    first = Request(prompt, greedy, 1)
    engine.add(first)
    _run(engine)
    assert counting.rows == [150]
    second = Request([*prompt[:140], 7, 8], greedy, 8)
    engine.add(second)
    found = _run(engine)
    assert counting.rows[1] == 142 - 128 and second.reused == 128
    assert engine.statistics.reused_tokens == 128
    expected = _alone(model, Request(second.prompt, greedy, 8))
    assert [step.token_id for step in found[second.id]] == [step.token_id for step in expected]


def test_weights_are_read_once_a_step_and_prompts_give_no_logits_before_their_end(model: TextModel) -> None:
    counting = _Counting(model)
    engine = Engine(counting, 8, 64)
    rng = np.random.default_rng(0)
    for _ in range(8):
        engine.add(Request([int(t) for t in rng.integers(6, 280, 40)], Sampling(temperature=0.0), 10))
    _run(engine)
    assert max(counting.rows) <= 64 and sum(counting.rows) == 8 * (40 + 9) == engine.statistics.tokens
    assert len(counting.rows) == engine.statistics.steps < 8 * 10 / 3
    assert sum(counting.logits) == 8 * 10


def test_what_can_never_be_answered_is_refused_when_it_is_added(model: TextModel) -> None:
    greedy = Sampling(temperature=0.0)
    engine = Engine(model, 2, 32, {None: 2, WINDOW: 3})
    with pytest.raises(ContextLengthError, match="engine's cache"):
        engine.add(Request([9] * 60, greedy, 6))
    with pytest.raises(ContextLengthError, match="192"):
        engine.add(Request([9] * 60, greedy, 133))
    with pytest.raises(InvalidRequestError, match="max_tokens"):
        engine.add(Request([9], greedy, 0))
    with pytest.raises(InvalidRequestError, match="token 4000"):
        engine.add(Request([9], Sampling(logit_bias={4000: 1.0}), 1))
    with pytest.raises(InvalidRequestError, match="vocabulary"):
        engine.add(Request([4000], greedy, 1))
    with pytest.raises(InvalidRequestError, match="sequences"):
        Engine(model, 0)
    assert not engine.busy
    fits = Request([9] * 60, greedy, 5)
    engine.add(fits)
    assert len(_run(engine)[fits.id]) == 5


def test_cancelling_takes_effect_within_a_step(model: TextModel) -> None:
    engine = Engine(model, 1, 16)
    running, waiting = (Request([9] * 40, Sampling(temperature=0.0), 9) for _ in range(2))
    for request in (running, waiting):
        engine.add(request)
    engine.step()
    for request in (running, waiting):
        engine.cancel(request.id)
    assert [(p.request, p.reason) for p in engine.step()] == [(running, "cancelled"), (waiting, "cancelled")]
    assert not engine.busy and all(group.available == group.count for group in engine.blocks.groups.values())
    engine.cancel(running.id)
    assert engine.step() == ()


@pytest.mark.filterwarnings("ignore:invalid value")
def test_a_request_that_leaves_no_token_to_choose_ends_alone(model: TextModel) -> None:
    engine = Engine(model, 2)
    nothing = Sampling(logit_bias=dict.fromkeys(range(model.vocabulary), -np.inf), seed=1)
    bad, good = Request([9, 8], nothing, 3), Request([9, 8], Sampling(temperature=0.0), 3)
    for request in (bad, good):
        engine.add(request)
    (failed, went_on) = engine.step()
    assert failed.reason == "cancelled" and isinstance(failed.error, InvalidRequestError)
    assert went_on.request is good and [*went_on.steps, *_run(engine)[good.id]] == _alone(model, good)
