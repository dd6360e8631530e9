"""Masks, taking back, budgets and the cache of compiled constraints."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bezel.errors import ConstraintError, ConstraintFailedError
from bezel.generation.constraints.compiling import Compiler
from bezel.generation.constraints.gate import Gate, in_string, span_of
from bezel.generation.constraints.grammar import Grammar
from bezel.generation.constraints.limits import Limits
from bezel.generation.constraints.vocabulary import Vocabulary
from bezel.testing import CONTROL_PIECES, accepts, byte_tokenizer, byte_tokens

TOKENIZER = byte_tokenizer("<unused0>")
VOCABULARY = Vocabulary(byte_tokenizer())
COMPILER = Compiler(VOCABULARY)
EOS, END_OF_TURN = 1, 5


def allowed(mask: np.ndarray) -> set[int]:
    return set(np.flatnonzero(np.unpackbits(mask.view(np.uint8), bitorder="little")).tolist())


def test_no_control_piece_is_ever_allowed_but_those_that_end() -> None:
    grammar = Grammar.lark('start: /(?s:.)*/ | <unused0> "x" | "<bos>"')
    constraint = Compiler(Vocabulary(TOKENIZER)).compile(grammar).start()
    for _ in range(4):
        mask = allowed(constraint.mask())
        assert mask & TOKENIZER.control_ids == {EOS, END_OF_TURN}
        assert constraint.accept(min(mask - TOKENIZER.control_ids)) == 0


def test_logits_behind_the_tokenizer_are_never_allowed() -> None:
    compiler = Compiler(Vocabulary(byte_tokenizer(), 1000))
    mask = compiler.compile(Grammar.regex("(?s:.)*")).start().mask()
    assert len(mask) == 32
    assert max(allowed(mask)) < VOCABULARY.size
    small = Compiler(Vocabulary(byte_tokenizer(), 100)).compile(Grammar.regex("(?s:.)*")).start().mask()
    assert len(small) == 4
    assert max(allowed(small)) < 100


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 12), max_size=6), st.data())
def test_what_was_taken_back_leaves_no_trace(counts: list[int], data: st.DataObject) -> None:
    schema = {"type": "object", "properties": {"ab": {"type": "array", "items": {"type": "integer"}}}}
    tokens = byte_tokens('{"ab": [12, 3, -4]}')
    compiled = COMPILER.compile(Grammar.schema(schema))
    constraint, place = compiled.start(), 0
    for count in counts:
        ahead = data.draw(st.integers(0, len(tokens) - place))
        for token in tokens[place : place + ahead]:
            assert constraint.accept(token) == 0
        place += ahead
        back = min(count, place)
        constraint.rewind(back)
        place -= back
        fresh = compiled.start()
        for token in tokens[:place]:
            fresh.accept(token)
        np.testing.assert_array_equal(constraint.mask(), fresh.mask())


def test_copies_share_nothing() -> None:
    compiled = COMPILER.compile(Grammar.choices(["ab", "cd"]))
    one, other = compiled.start(), compiled.start()
    one.accept(byte_tokens("a")[0])
    assert allowed(other.mask()) == {byte_tokens(text)[0] for text in "ac"}
    assert allowed(one.mask()) == {byte_tokens("b")[0]}


def test_a_refused_document_costs_the_value_that_was_wrong() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"type": "array", "contains": {"const": 2}}, "b": {"type": "integer"}},
    }
    constraint = COMPILER.compile(Grammar.schema(schema)).start()
    text = '{"a": [1, 1], "b": 2}'
    tokens = byte_tokens(text)
    for token in tokens[:-1]:
        assert constraint.accept(token) == 0
    assert constraint.accept(tokens[-1]) == len(text) - text.index("]")
    assert byte_tokens("]")[0] not in allowed(constraint.mask())
    assert byte_tokens(" ")[0] not in allowed(constraint.mask())
    for token in byte_tokens(",2]}"):
        assert constraint.accept(token) == 0
    assert allowed(constraint.mask()) == {EOS, END_OF_TURN}
    assert constraint.accept(EOS) == 0


def test_a_schema_that_nothing_satisfies_ends_with_an_error() -> None:
    schema = {"type": "array", "items": {"enum": [1, 2]}, "uniqueItems": True, "minItems": 3, "maxItems": 3}
    constraint = COMPILER.compile(Grammar.schema(schema)).start()
    produced: list[int] = []
    with pytest.raises(ConstraintFailedError, match="no document satisfies"):
        for _ in range(1000):
            token = min(allowed(constraint.mask()))
            produced.append(token)
            back = constraint.accept(token)
            del produced[len(produced) - back :]
    with pytest.raises(ConstraintError, match="not valid"):
        COMPILER.compile(Grammar.schema({"type": "foo"}))


def test_the_budget_of_refusals_is_kept() -> None:
    compiler = Compiler(VOCABULARY, Limits(refusals=3))
    schema = {"type": "array", "items": {"type": "integer"}, "contains": {"const": "x"}}
    constraint = compiler.compile(Grammar.schema(schema)).start()
    refusals = 0
    with pytest.raises(ConstraintFailedError, match="4 documents"):
        for _ in range(100):
            mask = allowed(constraint.mask())
            token = next((token for token in byte_tokens("]1[,") if token in mask), min(mask))
            refusals += constraint.accept(token) > 0
    assert refusals == 3


@pytest.mark.parametrize(
    "grammar",
    [
        Grammar.regex("("),
        Grammar.lark("start: nothing"),
        Grammar.schema("{"),
        Grammar.schema("3"),
        Grammar.schema({"$ref": "https://example.com/elsewhere"}),
        Grammar.schema({"$ref": "#/$defs/missing"}),
        Grammar.schema({"properties": 3}),
        Grammar.schema({"type": "string", "maxLength": "3"}),
        Grammar.schema("[" * 5000),
        Grammar.schema('{"not":' * 300 + "{}" + "}" * 300),
        Grammar.regex("a" * (5 << 20)),
    ],
    ids=lambda grammar: grammar.source[:20],
)
def test_what_cannot_be_followed_is_a_typed_error(grammar: Grammar) -> None:
    with pytest.raises(ConstraintError):
        COMPILER.compile(grammar)


def test_choices_are_texts() -> None:
    for choices in ([], "abc", ["a", ""], [1]):
        with pytest.raises(ConstraintError, match="choices"):
            Grammar.choices(choices)  # type: ignore[arg-type]
    for text in ("a.b", "x|y", "\n\t", 'q"', "[", "né 😀"):
        constraint = COMPILER.compile(Grammar.choices([text, "other"])).start()
        assert accepts(constraint, text)
    assert not accepts(COMPILER.compile(Grammar.choices(["a.b", "c"])).start(), "axb")


def test_the_cache_is_bounded_by_number_and_size() -> None:
    compiler = Compiler(VOCABULARY, replace(Limits(), cached=3, cached_bytes=400))
    first = compiler.compile(Grammar.regex("a+"))
    assert compiler.compile(Grammar.regex("a+")) is first
    for letter in "bcd":
        compiler.compile(Grammar.regex(f"{letter}+"))
    assert compiler.compile(Grammar.regex("a+")) is not first
    compiler.compile(Grammar.regex("z" * 390))
    kept = list(compiler._compiled)
    assert sum(len(grammar.source) for grammar in kept) == compiler._bytes <= 400
    assert len(kept) <= 3


VALUES = st.recursive(
    st.one_of(st.none(), st.integers(), st.text(max_size=5)),
    lambda part: st.one_of(st.lists(part, max_size=4), st.dictionaries(st.text(max_size=3), part, max_size=4)),
    max_leaves=12,
)


@given(VALUES, st.data(), st.sampled_from([None, 1]))
def test_a_path_leads_to_its_value(value: object, data: st.DataObject, indent: int | None) -> None:
    path: list[str | int] = []
    place = value
    while isinstance(place, list | dict) and place and data.draw(st.booleans()):
        step = data.draw(st.sampled_from(sorted(place) if isinstance(place, dict) else range(len(place))))
        path.append(step)
        place = place[step]  # type: ignore[index]
    text = json.dumps(value, indent=indent)
    start, end = span_of(text, path)
    assert json.loads(text[start:end]) == place


def test_where_a_string_breaks_off() -> None:
    assert [in_string(text) for text in (b"{", b'{"a', b'{"a"', b'"\\"', b'"\\\\"', b'"a\\\\\\"')] == [
        *(False, True, False, True, False, True)
    ]


def test_the_validator_reads_nothing_but_the_schema_and_takes_large_numbers() -> None:
    with pytest.raises(ConstraintError, match="another document"):
        Gate({"$ref": "file:///etc/hostname"})
    assert Gate({"type": "number"}).refusal("1e99999") is None
    assert Gate({"type": "integer"}).refusal("-" + "9" * 6000) is None
    assert Gate(True).refusal("[" * 100_000) == ()
    assert CONTROL_PIECES[EOS] == "<eos>"
