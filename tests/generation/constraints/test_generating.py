"""What a random model says under a constraint is whole and valid, and the same however it is generated."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bezel.engine.engine import Engine
from bezel.engine.request import Request
from bezel.errors import ConstraintFailedError
from bezel.generation.constraints.compiling import Compiler
from bezel.generation.constraints.grammar import Grammar
from bezel.generation.constraints.interface import Constraint
from bezel.generation.constraints.vocabulary import Vocabulary
from bezel.generation.drafters import PromptLookup
from bezel.generation.loop import Step, generate
from bezel.generation.pace import Pace
from bezel.generation.sampling import Sampling
from bezel.generation.speculative import Speculation
from bezel.kernels.library import Native
from bezel.models.interface import TextModel
from bezel.models.registry import build
from bezel.testing import GEMMA3, instruction_sets, write_checkpoint
from bezel.text.tokenizer import Tokenizer
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
STOPS = (1, 5)
PROMPT = [2, *range(40, 80)]
UNIQUE = {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 3, "maxItems": 3}


class Always(Pace):
    """Drafts three tokens whatever they cost."""

    def length(self, limit: int, drafting: object) -> int:
        return min(limit, 3)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextModel, Compiler]:
    checkpoint = open_checkpoint(write_checkpoint(tmp_path_factory.mktemp("random")))
    model = build(checkpoint.config, CheckpointWeights(checkpoint, Native(1)), 512)
    return model, Compiler(Vocabulary(Tokenizer.from_folder(checkpoint.folder), model.vocabulary))


def text_of(compiler: Compiler, steps: list[Step]) -> str:
    return compiler.vocabulary.tokenizer.decode([step.token_id for step in steps])


LEAVES: list[dict[str, Any]] = [
    {"type": "integer", "minimum": -99, "maximum": 999},
    {"type": "string", "maxLength": 6},
    {"type": "string", "pattern": "^[a-f]{1,4}$"},
    {"enum": ["a", 'q"', "\n", None, 3]},
    {"type": "boolean"},
    {"const": {"k": [1]}},
    {"type": "string", "format": "date"},
    {"type": "string", "maxLength": 3, "not": {"const": "ab"}},
]
NAMES = st.sampled_from(["a", "bé", 'c"d', "<end_of_turn>"])


def nested(part: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    members = st.dictionaries(NAMES, part, min_size=1, max_size=3)
    conditions: list[dict[str, Any]] = [{}, {"minProperties": 1}, {"not": {"required": ["a"]}}]
    conditions.append({"dependentRequired": {"bé": ["a"]}})
    return st.one_of(
        st.builds(
            lambda named, more: {"type": "object", "properties": named, "additionalProperties": False, **more},
            members,
            st.sampled_from(conditions),
        ),
        st.builds(
            lambda items, unique: {"type": "array", "items": items, "maxItems": 2, "uniqueItems": unique},
            part,
            st.booleans(),
        ),
        st.builds(lambda options: {"anyOf": options}, st.lists(part, min_size=1, max_size=2)),
        st.builds(lambda options: {"oneOf": options}, st.lists(part, min_size=2, max_size=2)),
    )


SCHEMAS = st.recursive(st.sampled_from(LEAVES), nested, max_leaves=4)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(schema=SCHEMAS, seed=st.integers(0, 1000))
def test_whatever_a_random_model_says_is_valid(
    parts: tuple[TextModel, Compiler], schema: dict[str, Any], seed: int
) -> None:
    model, compiler = parts
    try:
        constraint = compiler.compile(Grammar.schema(schema)).start()
        steps = list(generate(model, PROMPT, Sampling(temperature=2.0, seed=seed), STOPS, 400, constraint=constraint))
    except ConstraintFailedError:
        return  # more in a row than the budget were refused, or no document is valid: never an invalid one
    if steps[-1].token_id in STOPS:
        assert jsonschema_rs.Draft202012Validator(schema, validate_formats=True).is_valid(
            json.loads(text_of(compiler, steps))
        )
    else:
        assert len(steps) == 400


@pytest.mark.parametrize("seed", range(6))
def test_documents_are_taken_back_until_one_is_valid(parts: tuple[TextModel, Compiler], seed: int) -> None:
    model, compiler = parts
    for temperature in (0.0, 2.0):
        constraint = compiler.compile(Grammar.schema(UNIQUE)).start()
        sampling = Sampling(temperature=temperature, seed=seed)
        steps = list(generate(model, [2, 40 + seed], sampling, STOPS, 200, constraint=constraint))
        assert sorted(json.loads(text_of(compiler, steps))) == [1, 2, 3]


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar.regex("[A-C]{3} (x|yy)+z"),
        Grammar.choices(["ja", "nein", "<end_of_turn>", 'a"b', "a"]),
        Grammar.lark('start: "(" start ")" | /[0-9]{1,3}/'),
    ],
)
def test_other_grammars(parts: tuple[TextModel, Compiler], grammar: Grammar) -> None:
    model, compiler = parts
    whole = {"regex": "[A-C]{3} (x|yy)+z", "choices": 'ja|nein|<end_of_turn>|a"b|a', "lark": r"\(*[0-9]{1,3}\)*"}
    for seed in range(10):
        constraint = compiler.compile(grammar).start()
        steps = list(generate(model, PROMPT, Sampling(temperature=2.0, seed=seed), STOPS, 400, constraint=constraint))
        if steps[-1].token_id in STOPS:
            text = text_of(compiler, steps)
            assert re.fullmatch(whole[grammar.kind], text)
            assert text.count("(") == text.count(")")


def test_batches_and_drafts_change_nothing(parts: tuple[TextModel, Compiler]) -> None:
    model, compiler = parts
    schemas: list[dict[str, Any]] = [
        UNIQUE,
        {"type": "array", "items": {"type": "integer", "maximum": 20, "minimum": 0}, "maxItems": 6},
        {"type": "object", "properties": {"a": {"type": "string", "maxLength": 4}}, "required": ["a"]},
        {"type": "array", "items": {"enum": ["a", "b"]}, "minItems": 2, "maxItems": 2, "uniqueItems": True},
    ]
    cases = [(schema, [2, *range(40, 48 + seed)], seed) for seed in range(3) for schema in schemas]
    wanted, asked = [], []
    for place, (schema, prompt, seed) in enumerate(cases):
        compiled = compiler.compile(Grammar.schema(schema))
        sampling = Sampling(temperature=1.5, seed=seed)
        wanted.append(list(generate(model, prompt, sampling, STOPS, 60, 2, compiled.start())))
        speculation = Speculation(PromptLookup(), Always()) if place % 2 else None
        asked.append(Request(prompt, sampling, 60, STOPS, 2, speculation=speculation, constraint=compiled.start()))
    engine = Engine(model, sequences=5, budget=48, drafting=5)
    found: dict[int, list[Step]] = {request.id: [] for request in asked}
    for request in asked:
        engine.add(request)
    while engine.busy:
        for progress in engine.step():
            if progress.error is not None:
                raise progress.error
            if progress.request.holds and progress.reason is None:
                assert not progress.steps
            found[progress.request.id] += progress.steps
    for request, steps in zip(asked, wanted, strict=True):
        assert found[request.id] == steps
    assert any(request.speculation and request.speculation.accepted_tokens for request in asked)


class Recording(PromptLookup):
    """Asserts what drafters are promised: the history grows only at its end."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: list[int] = []

    def propose(self, history: Sequence[int], limit: int) -> Sequence[int]:
        assert list(history[: len(self._seen)]) == self._seen
        self._seen = list(history)
        return super().propose(history, limit)


def test_drafts_alone_change_nothing(parts: tuple[TextModel, Compiler]) -> None:
    model, compiler = parts
    compiled = compiler.compile(Grammar.schema(UNIQUE))
    for seed in range(4):
        sampling = Sampling(temperature=1.5, seed=seed)
        wanted = list(generate(model, PROMPT, sampling, STOPS, 60, 0, compiled.start()))
        engine = Engine(model)
        speculation = Speculation(Recording(), Always())
        engine.add(Request(PROMPT, sampling, 60, STOPS, speculation=speculation, constraint=compiled.start()))
        found: list[Step] = []
        while engine.busy:
            found += [step for progress in engine.step() for step in progress.steps]
        assert found == wanted


def test_a_long_prompt_is_read_anew_when_tokens_are_taken_back(tmp_path: Path) -> None:
    """Two chunks and the window behind them are more blocks than a cache has: the old ones must go first."""
    checkpoint = open_checkpoint(write_checkpoint(tmp_path, config={**GEMMA3, "sliding_window": 1024}))
    model = build(checkpoint.config, CheckpointWeights(checkpoint, Native(1)), 2048)
    assert checkpoint.folder is not None
    compiled = Compiler(Vocabulary(Tokenizer.from_folder(checkpoint.folder), model.vocabulary)).compile(
        Grammar.schema(UNIQUE)
    )
    prompt, sampling = [2, *range(40, 240)] * 8, Sampling(temperature=2.0, seed=1)
    constraint = Counting(compiled.start())
    steps = list(generate(model, prompt, sampling, STOPS, 60, constraint=constraint))
    assert constraint.taken_back
    engine = Engine(model)
    engine.add(Request(prompt, sampling, 60, STOPS, constraint=compiled.start()))
    found: list[Step] = []
    while engine.busy:
        found += [step for progress in engine.step() for step in progress.steps]
    assert found == steps


class Counting:
    """A constraint, and how often it took tokens back that stood before."""

    def __init__(self, constraint: Constraint) -> None:
        self._constraint, self.taken_back = constraint, 0
        self.mask, self.rewind = constraint.mask, constraint.rewind

    @property
    def holds(self) -> bool:
        return self._constraint.holds

    def accept(self, token: int) -> int:
        count = self._constraint.accept(token)
        self.taken_back += count > 1
        return count
