"""Calls that a model writes under the constraint of a request's tools, in every dialect."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bezel.engine.engine import Engine
from bezel.engine.request import Request
from bezel.errors import ConstraintError, ConstraintFailedError
from bezel.generation.constraints.calls.forms import form_of
from bezel.generation.constraints.calls.meeting import meet
from bezel.generation.constraints.compiling import Compiler
from bezel.generation.constraints.vocabulary import Vocabulary
from bezel.generation.loop import Step, generate
from bezel.generation.sampling import Sampling
from bezel.kernels.library import Native as NativeKernels
from bezel.models.interface import TextModel
from bezel.models.registry import build
from bezel.testing import CONTROL_PIECES, instruction_sets, write_checkpoint
from bezel.text.calls import Call, CallBroken, CallFinished, CallText
from bezel.text.dialects import native
from bezel.text.dialects.forms import FUNCTION_GEMMA, GEMMA_4, PROMPTED, Native, Prompted
from bezel.text.tokenizer import Tokenizer
from bezel.weights.checkpoint import CheckpointWeights, open_checkpoint
from tests.generation.constraints.test_generating import SCHEMAS

DIALECTS = (PROMPTED, FUNCTION_GEMMA, GEMMA_4)
CONTROL = [
    *(piece for dialect in (FUNCTION_GEMMA, GEMMA_4) for piece in (*dialect.pieces.call, dialect.pieces.quote)),
    "<start_function_response>",
    *GEMMA_4.pieces.thought,
]
EXAMPLES = int(os.environ.get("BEZEL_EXAMPLES", "60"))
LONGEST = 400
HOSTILE = [
    *('"', "'", "\\", '\\"', "}}", "]}", '{"name": "x"}', "<escape>", '<|"|>', "<end_function_call>", "<tool_call|>"),
    *(
        "<end_of_turn>\n<start_of_turn>user",
        "a\nb\r\tc",
        "🦜👩‍👩‍👧",
        "مرحبا\u202e",
        "\u0000\u007f",
        "",
        " ",
        "call:f{a:1}",
        ",b:2",
        "```",
    ),
]


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> tuple[TextModel, Compiler]:
    if not instruction_sets():
        pytest.skip("the compiled kernels are not built")
    checkpoint = open_checkpoint(write_checkpoint(tmp_path_factory.mktemp("random"), control=CONTROL))
    model = build(checkpoint.config, CheckpointWeights(checkpoint, NativeKernels(1)), LONGEST + 64)
    assert checkpoint.folder is not None
    return model, Compiler(Vocabulary(Tokenizer.from_folder(checkpoint.folder), model.vocabulary))


@pytest.fixture(scope="module")
def compiler(parts: tuple[TextModel, Compiler]) -> Compiler:
    return parts[1]


def tool(name: str, **properties: Any) -> dict[str, Any]:
    """A tool of which all parameters but those that begin with "may_" are required."""
    required = [key for key in properties if not key.startswith("may_")]
    schema = {"type": "object", "properties": properties, "required": required}
    return {"type": "function", "function": {"name": name, "parameters": schema}}


def read(tokenizer: Tokenizer, dialect: Prompted | Native, tools: Sequence[Any], ids: Sequence[int]) -> list[Any]:
    """The events that a reader of the dialect makes of tokens."""
    reader = dialect.reader(tools)
    events: list[Any] = []
    text: list[int] = []
    for token in [*ids, None]:
        if token is not None and token not in tokenizer.control_ids:
            text.append(token)
            continue
        events += reader.push(tokenizer.decode(text))
        text = []
        if token is not None:
            events += reader.control(tokenizer.piece(token))
    return [*events, *reader.close()]


def spelled(tokenizer: Tokenizer, dialect: Prompted | Native, call: Call) -> list[int]:
    """A call as a well-trained model writes it."""
    if isinstance(dialect, Prompted):
        text = json.dumps({"name": call.name, "parameters": call.arguments}, ensure_ascii=False)
        return tokenizer.encode(text)
    opening, closing = (tokenizer.control_pieces[piece] for piece in dialect.pieces.call)
    return [opening, *tokenizer.encode(f"call:{call.name}"), *_value(tokenizer, dialect, call.arguments), closing]


def _value(tokenizer: Tokenizer, dialect: Native, value: Any) -> list[int]:
    quote = tokenizer.control_pieces[dialect.pieces.quote]
    if isinstance(value, str):
        return [quote, *tokenizer.encode(value), quote]
    if not isinstance(value, dict | list):
        return tokenizer.encode(json.dumps(value))
    out = tokenizer.encode("{" if isinstance(value, dict) else "[")
    for place, key in enumerate(native.ordered(value) if isinstance(value, dict) else range(len(value))):
        out += tokenizer.encode(",") if place else []
        out += tokenizer.encode(f"{key}:") if isinstance(value, dict) else []
        out += _value(tokenizer, dialect, value[key])
    return [*out, *tokenizer.encode("}" if isinstance(value, dict) else "]")]


def follows(compiler: Compiler, constraint: Any, ids: Sequence[int]) -> int:
    """How many of the tokens a constraint allows, one behind the other."""
    for place, token in enumerate(ids):
        if not int(constraint.mask()[token // 32]) >> token % 32 & 1 or constraint.accept(token):
            return place
    return len(ids)


def allowed(compiler: Compiler, dialect: Prompted | Native, tools: Sequence[Any], ids: Sequence[int]) -> bool:
    """Whether an answer that must call may consist of these tokens and end."""
    constraint = compiler.calls(form_of(dialect), tools).start(required=True)
    return follows(compiler, constraint, [*ids, 1]) == len(ids) + 1


def validates(schema: dict[str, Any], arguments: Any) -> bool:
    return bool(jsonschema_rs.Draft202012Validator(schema, validate_formats=True).is_valid(arguments))


@st.composite
def offers(draw: st.DrawFn) -> list[dict[str, Any]]:
    names = draw(st.lists(st.sampled_from(["f", "get_weather", "a.b-c", "naïve"]), min_size=1, max_size=3, unique=True))
    keys = st.sampled_from(["a", "bé", "may_c", "D e", "colon:", "may_{x}"])
    return [tool(name, **draw(st.dictionaries(keys, SCHEMAS, max_size=3))) for name in names]


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tools=offers(), dialect=st.sampled_from(DIALECTS), seed=st.integers(0, 1 << 20))
def test_whatever_a_random_model_calls_is_whole_valid_and_declared(
    parts: tuple[TextModel, Compiler], tools: list[dict[str, Any]], dialect: Prompted | Native, seed: int
) -> None:
    model, compiler = parts
    try:
        constraint = compiler.calls(form_of(dialect), tools).start(required=True)
        steps = list(
            generate(model, [2, 40], Sampling(temperature=2.0, seed=seed), (1, 5), LONGEST, constraint=constraint)
        )
    except (ConstraintFailedError, ConstraintError):
        return  # the budget of refusals is spent, or no arguments are valid
    ids = [step.token_id for step in steps]
    ended = ids[-1] in (1, 5)
    events = read(compiler.vocabulary.tokenizer, dialect, tools, ids[:-1] if ended else ids)
    calls = [event.call for event in events if isinstance(event, CallFinished)]
    broken = [event for event in events if isinstance(event, CallBroken)]
    assert calls or not ended
    assert len(broken) <= (not ended), broken
    schemas = {one["function"]["name"]: one["function"]["parameters"] for one in tools}
    for call in calls:
        assert validates(schemas[call.name], call.arguments), call
        assert call.arguments.keys() <= schemas[call.name]["properties"].keys()


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize("text", HOSTILE, ids=repr)
def test_hostile_texts_survive_exactly(compiler: Compiler, dialect: Prompted | Native, text: str) -> None:
    tools = [tool("f", a={"type": "string"}, b={"type": "array", "items": {"type": "string"}})]
    call = Call("f", {"a": text, "b": [text, text]})
    tokenizer = compiler.vocabulary.tokenizer
    ids = spelled(tokenizer, dialect, call)
    if isinstance(dialect, Prompted) and text == "\u0000\u007f":
        assert not allowed(compiler, dialect, tools, ids)  # the grammar of JSON has no \u escapes
        return
    assert allowed(compiler, dialect, tools, ids)
    assert [event.call for event in read(tokenizer, dialect, tools, ids) if isinstance(event, CallFinished)] == [call]


RICH = tool(
    "plan",
    city={"type": "string", "enum": ["Oslo", "Bergen"]},
    days={"type": "integer", "minimum": 1, "maximum": 9},
    may_note={"type": ["string", "null"]},
    may_when={"type": "string", "format": "date"},
    may_tags={"type": "array", "items": {"type": "string", "minLength": 2}, "minItems": 1, "maxItems": 2},
    may_who={
        "type": "object",
        "properties": {"name": {"type": "string"}, "age": {"type": "number"}},
        "required": ["name"],
    },
    may_either={"anyOf": [{"type": "boolean"}, {"const": "maybe"}]},
    may_tree={"$ref": "#/$defs/tree"},
)
RICH["function"]["parameters"]["$defs"] = {
    "tree": {
        "type": "object",
        "properties": {"leaf": {"type": "integer"}, "kids": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
        "required": ["leaf"],
    }
}
BASE = {"city": "Oslo", "days": 3}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
@pytest.mark.parametrize(
    ("change", "valid"),
    [
        ({}, True),
        ({"city": "Paris"}, False),
        ({"days": 12}, False),
        ({"days": 0}, False),
        ({"days": "3"}, False),
        ({"days": None}, False),
        ({"may_note": "x"}, True),
        ({"may_note": None}, True),
        ({"may_note": 1}, False),
        ({"may_when": "2026-02-28"}, True),
        ({"may_when": "2026-02-30"}, False),
        ({"may_tags": ["ab"]}, True),
        ({"may_tags": ["ab", "cd"]}, True),
        ({"may_tags": []}, False),
        ({"may_tags": ["ab", "cd", "ef"]}, False),
        ({"may_tags": ["a"]}, False),
        ({"may_who": {"age": 3.5, "name": "Ada"}}, True),
        ({"may_who": {"age": 3.5}}, False),
        ({"may_who": {"name": "Ada", "zip": 1}}, False),
        ({"may_either": True}, True),
        ({"may_either": "maybe"}, True),
        ({"may_either": "no"}, False),
        ({"may_tree": {"kids": [{"leaf": 1}, {"kids": [], "leaf": 2}], "leaf": 0}}, True),
        ({"may_tree": {"kids": [{"kids": []}], "leaf": 0}}, False),
        ({"unknown": 1}, False),
    ],
)
def test_arguments_are_those_of_the_schema(
    compiler: Compiler, dialect: Prompted | Native, change: dict[str, Any], valid: bool
) -> None:
    declared = list(RICH["function"]["parameters"]["properties"])
    arguments = BASE | change
    in_order = {key: arguments[key] for key in [*declared, "unknown"] if key in arguments}
    if isinstance(dialect, Prompted):
        in_order = json.loads(json.dumps(in_order).replace('"age": 3.5, "name": "Ada"', '"name": "Ada", "age": 3.5'))
        in_order = json.loads(json.dumps(in_order), object_hook=lambda o: {k: o[k] for k in sorted(o, key=_tree_order)})
    ids = spelled(compiler.vocabulary.tokenizer, dialect, Call("plan", in_order))
    assert allowed(compiler, dialect, [RICH], ids) == valid


def _tree_order(key: str) -> tuple[bool, bool]:
    """JSON members come in the schema's order, of which only the tree's matters here."""
    return key == "kids", False


def test_thoughts_may_stand_before_calls_and_no_other_control_piece(compiler: Compiler) -> None:
    tokenizer, tools = compiler.vocabulary.tokenizer, [tool("f")]
    begins, ends = (tokenizer.control_pieces[piece] for piece in GEMMA_4.pieces.thought)
    call = spelled(tokenizer, GEMMA_4, Call("f", {}))
    ids = [begins, *tokenizer.encode("thought"), ends, *call, 1]
    assert follows(compiler, compiler.calls(form_of(GEMMA_4), tools).start(), ids) == len(ids)
    free = compiler.calls(form_of(GEMMA_4), tools).start().mask()
    text = {piece for piece, i in tokenizer.control_pieces.items() if int(free[i // 32]) >> i % 32 & 1}
    ended = {tokenizer.piece(i) for i in tokenizer.stop_ids}
    assert text - ended == {GEMMA_4.pieces.call[0], *GEMMA_4.pieces.thought}


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_undeclared_names_are_never_called(compiler: Compiler, dialect: Prompted | Native) -> None:
    ids = spelled(compiler.vocabulary.tokenizer, dialect, Call("delete_all", {}))
    for required in (False, True):
        constraint = compiler.calls(form_of(dialect), [tool("delete"), tool("list_all")]).start(required)
        assert follows(compiler, constraint, ids) < len(ids)
    assert allowed(compiler, dialect, [tool("delete_all")], ids)


def test_text_may_stand_before_calls_and_between_them(compiler: Compiler) -> None:
    tokenizer, tools = compiler.vocabulary.tokenizer, [tool("f", a={"type": "integer"})]
    for dialect in DIALECTS:
        calls = [Call("f", {"a": 1}), Call("f", {"a": -7})]
        between = tokenizer.encode("\nand {this}, 1. too:\n" if isinstance(dialect, Prompted) else "and {this}")
        ids = [*tokenizer.encode("Sure. {no call}\n[1] 2\n"), *spelled(tokenizer, dialect, calls[0]), *between]
        ids += [*spelled(tokenizer, dialect, calls[1]), 1]
        constraint = compiler.calls(form_of(dialect), tools).start()
        assert follows(compiler, constraint, ids) == len(ids)
        events = read(tokenizer, dialect, tools, ids[:-1])
        assert [event.call for event in events if isinstance(event, CallFinished)] == calls
        assert any(isinstance(event, CallText) and "Sure" in event.text for event in events)


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "g", "parameters": {}}',
        '- {"name": "g"',
        '[{"name": "f", "parameters": {"a": 1}}, {"name": "g"',
        '{"parameters": {"a": 1}, "name": "f"}',
        '{"function_name": "f", "parameters": {"a": 1}}',
        '{"id": 3, "name": "f", "arguments": {"a": 1}}',
        "f(a=1)",
        "[f(a=1)]",
        "print(f(a=1))",
        'FUNCTION_CALL: f(a="b")',
        "```tool_code\nf(a=1)\n```",
        '```json\n{"name": "f", "parameters": {"a": "1"}}\n```',
        'Text.\n\n  {"name": "f", "parameters": {"b": 1}}',
        '{"name": "f", "parameters": {"a": 1}}{"name": "f", "parameters": {}}',
    ],
)
def test_prompted_calls_have_one_spelling_and_no_other_can_be_finished(compiler: Compiler, text: str) -> None:
    tokenizer = compiler.vocabulary.tokenizer
    constraint = compiler.calls(form_of(PROMPTED), [tool("f", a={"type": "integer"})]).start()
    assert follows(compiler, constraint, tokenizer.encode(text)) < len(text.encode())


@pytest.mark.parametrize(
    "text",
    [
        '{"age": 3, "name": "Ada"}',
        "[1, 2, 3]",
        '{"a": [{"name": 3}]}',
        "f is a function; f (x) is not f(x)",
        "Use `f(a=1)`.",
        "```python\nprint(3)\n```",
        'He said {"name": "f"}',
        "- one\n- two\n1. three",
        "{",
    ],
)
def test_other_text_is_as_free_as_without_tools(compiler: Compiler, text: str) -> None:
    tokenizer = compiler.vocabulary.tokenizer
    constraint = compiler.calls(form_of(PROMPTED), [tool("f", a={"type": "integer"})]).start()
    ids = [*tokenizer.encode(text), 1]
    assert follows(compiler, constraint, ids) == len(ids)


def positions(ids: Sequence[int]) -> Iterator[int]:
    yield from range(0, len(ids) + 1, 7)


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_rewound_answers_go_on_as_if_nothing_had_been(compiler: Compiler, dialect: Prompted | Native) -> None:
    tokenizer, tools = compiler.vocabulary.tokenizer, [tool("f", a={"type": "string"})]
    call = spelled(tokenizer, dialect, Call("f", {"a": "b}c"}))
    ids = [*tokenizer.encode("x\n"), *call, *tokenizer.encode("\n"), *call]
    calls = compiler.calls(form_of(dialect), tools)
    for place in positions(ids):
        constraint, fresh = calls.start(), calls.start()
        follows(compiler, constraint, ids)
        constraint.rewind(len(ids) - place)
        assert follows(compiler, fresh, ids[:place]) == place
        assert (constraint.mask() == fresh.mask()).all()


def test_what_cannot_be_followed_names_its_tool(compiler: Compiler) -> None:
    bad = tool("bad", a={"$ref": "https://elsewhere.example/schema"})
    for dialect in DIALECTS:
        with pytest.raises(ConstraintError, match=r"tool bad: .*another document"):
            compiler.calls(form_of(dialect), [tool("good"), bad])


def test_text_is_told_at_once_and_a_call_that_may_be_taken_back_when_it_stands(
    parts: tuple[TextModel, Compiler],
) -> None:
    model, compiler = parts
    numbers = {"type": "array", "items": {"enum": [1, 2, 3]}, "uniqueItems": True, "minItems": 2, "maxItems": 3}
    calls = compiler.calls(form_of(FUNCTION_GEMMA), [tool("draw", numbers=numbers)])
    held = told = taken_back = 0
    for seed in range(8):
        sampling = Sampling(temperature=2.0, seed=seed)
        prompt = [2, 40 + seed]
        wanted = list(generate(model, prompt, sampling, (1, 5), 300, constraint=calls.start()))
        engine = Engine(model)
        engine.add(request := Request(prompt, sampling, 300, (1, 5), constraint=calls.start()))
        found: list[Step] = []
        while engine.busy:
            before = len(request.produced)
            for progress in engine.step():
                assert progress.error is None
                found += progress.steps
            taken_back += len(request.produced) < before
            held += request.holds
            told += not request.holds and len(found) < len(wanted)
            assert request.holds or len(found) == len(request.produced)
        assert found == wanted
    assert held > 50 and told > 500 and taken_back


NUMBERS = {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 2, "maxItems": 2}
NEVER = {"type": "array", "items": {"enum": [1]}, "uniqueItems": True, "minItems": 2, "maxItems": 2}


def lowest(mask: Any) -> int:
    """The first token that a mask allows."""
    word = int(mask.nonzero()[0][0])
    return 32 * word + (int(mask[word]) & -int(mask[word])).bit_length() - 1


def test_what_was_told_before_a_call_is_never_taken_back(compiler: Compiler) -> None:
    """No arguments are valid: the search ends with an error, and does not begin the answer as a list instead."""
    tokenizer = compiler.vocabulary.tokenizer
    constraint = compiler.calls(form_of(PROMPTED), [tool("f", numbers=NEVER)]).start()
    waiting = [*tokenizer.encode("Well.\n"), *spelled(tokenizer, PROMPTED, Call("f", {"numbers": [1, 1]}))]
    length, told = 0, 0
    with pytest.raises(ConstraintFailedError):
        while True:
            length += 1 - constraint.accept(waiting.pop(0) if waiting else lowest(constraint.mask()))
            told = told or (length if constraint.holds else 0)
            assert length >= told
    assert told == len('Well.\n{"name":')


@pytest.mark.parametrize("dialect", DIALECTS, ids=lambda dialect: dialect.name)
def test_a_call_is_judged_when_its_arguments_close_and_not_when_its_list_does(
    compiler: Compiler, dialect: Prompted | Native
) -> None:
    tokenizer, calls = compiler.vocabulary.tokenizer, compiler.calls(form_of(dialect), [tool("f", numbers=NUMBERS)])
    for numbers, taken_back in (([1, 2], 0), ([2, 2], 1)):
        ids = spelled(tokenizer, dialect, Call("f", {"numbers": numbers}))
        ids = [*tokenizer.encode("["), *ids] if isinstance(dialect, Prompted) else ids[:-1]  # not closed yet
        constraint = calls.start(required=True)
        assert follows(compiler, constraint, ids) == len(ids) - taken_back


def test_tokens_in_which_a_call_would_begin_are_not_taken() -> None:
    """Nothing could follow a call from the middle of a token."""
    pieces = [*CONTROL_PIECES, *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁{", ".\n{", "▁x{", ".\nx"]
    kinds = [3] * len(CONTROL_PIECES) + [6] * 256 + [1] * 5
    fields = {"model": "llama", "tokens": pieces, "scores": [0.0] * len(pieces), "token_type": kinds}
    fields |= {"bos_token_id": 2, "eos_token_id": 1}
    tokenizer = Tokenizer.from_gguf({f"tokenizer.ggml.{name}": value for name, value in fields.items()}, "pieces")
    calls = Compiler(Vocabulary(tokenizer)).calls(form_of(PROMPTED), [tool("f")])
    for piece, taken in (("▁{", False), (".\n{", False), ("▁x{", True), (".\nx", True)):
        assert (calls.start().accept(pieces.index(piece)) == 0) == taken
    constraint = calls.start()
    assert constraint.accept(pieces.index("▁x{")) == constraint.accept(pieces.index("▁{")) == 0  # no line begins there


@pytest.mark.parametrize(
    ("number", "valid"),
    [("12.5", True), ("-3", True), ("9" * 18, True), ("1e5", False), ("9" * 30, False), ("-" + "9" * 30, False)],
)
def test_numbers_without_bounds_stay_within_what_readers_take(compiler: Compiler, number: str, valid: bool) -> None:
    ids = compiler.vocabulary.tokenizer.encode(f'{{"name":"f","parameters":{{"a":{number}}}}}')
    assert allowed(compiler, PROMPTED, [tool("f", a={"type": "number"})], ids) == valid


def test_patterns_that_are_read_otherwise_have_the_validator_behind_them(compiler: Compiler) -> None:
    """llguidance's \\d takes the digits of every script, JSON Schema's those of ASCII."""
    tokenizer, tools = compiler.vocabulary.tokenizer, [tool("f", a={"type": "string", "pattern": r"^\d+$"})]
    for text, valid in (("31", True), ("\u0663", False), ("x", False)):
        ids = spelled(tokenizer, FUNCTION_GEMMA, Call("f", {"a": text}))
        assert allowed(compiler, FUNCTION_GEMMA, tools, ids) == valid


@pytest.mark.parametrize(
    ("parts", "met"),
    [
        ([{"type": ["string", "null"]}, {"type": "string", "maxLength": 3}], {"type": ["string"], "maxLength": 3}),
        ([{"type": "number"}, {"type": "integer"}], {"type": ["integer"]}),
        ([{"type": "string"}, {"type": "integer"}], False),
        ([{"minimum": 1, "maximum": 9}, {"minimum": 3, "maximum": 12}], {"minimum": 3, "maximum": 9}),
        ([{"enum": [1, 2, "1"]}, {"const": 1.0}], {"enum": [1]}),
        ([{"enum": [1]}, {"enum": [2]}], False),
        ([{"pattern": "^a"}, {"pattern": "b$"}], {"pattern": ["^a", "b$"]}),
        ([{"required": ["a"]}, {"required": ["b", "a"]}], {"required": ["a", "b"]}),
        ([{"properties": {"a": {"type": "string"}}}, {"properties": {"a": {"type": "null"}, "b": True}}],
         {"properties": {"a": False, "b": True}}),
        ([{"anyOf": [{"minimum": 1}, {"type": "null"}]}, {"anyOf": [{"type": "integer"}, False]}],
         {"anyOf": [{"minimum": 1, "type": "integer"}]}),
        ([{"$ref": "#/$defs/p"}, {"maximum": 9}], {"maximum": 9, "type": "integer"}),
        ([True, {}], {}),
        ([{"a": 1}, False], False),
    ],
)  # fmt: skip
def test_schemas_that_hold_together_meet_in_one(parts: list[Any], met: Any) -> None:
    wider: set[str] = set()
    assert meet(parts, {"p": {"type": "integer"}}, wider) == met and not wider


def test_what_no_schema_says_for_two_is_left_to_the_validator() -> None:
    for parts in (
        [{"multipleOf": 2}, {"multipleOf": 3}],
        [{"additionalProperties": False}, {"properties": {"a": True}}],
    ):
        wider: set[str] = set()
        meet(parts, {}, wider)
        assert wider
