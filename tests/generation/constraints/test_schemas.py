"""A schema's valid documents are allowed and its invalid ones are not, keyword by keyword and at random."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema_rs
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from bezel.errors import BezelError, ConstraintError
from bezel.generation.constraints.closing import closed
from bezel.generation.constraints.compiling import Compiler
from bezel.generation.constraints.grammar import Grammar
from bezel.generation.constraints.vocabulary import Vocabulary
from bezel.testing import accepts, byte_tokenizer

CASES = json.loads(Path(__file__).with_name("keywords.json").read_text("utf-8"))
COMPILER = Compiler(Vocabulary(byte_tokenizer()))


@pytest.mark.parametrize("case", CASES, ids=[case["name"] for case in CASES])
def test_keyword(case: dict[str, Any]) -> None:
    compiled = COMPILER.compile(Grammar.schema(case["schema"]))
    assert sorted(compiled.wider) == sorted(case.get("wider", []))
    for document in case["valid"]:
        for indent in (None, 2):
            assert accepts(compiled.start(), json.dumps(document, ensure_ascii=False, indent=indent)), document
    for document in case["invalid"]:
        assert not accepts(compiled.start(), json.dumps(document, ensure_ascii=False)), document


NAMES = st.sampled_from(["a", "b", "c"])
NUMBERS = st.integers(-3, 3)
VALUES = st.recursive(
    st.one_of(st.none(), st.booleans(), NUMBERS, st.sampled_from(["", "x", "ab", 'q"', "é"])),
    lambda part: st.one_of(st.lists(part, max_size=3), st.dictionaries(NAMES, part, max_size=3)),
    max_leaves=5,
)


def _schemas(part: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    some = st.lists(part, min_size=1, max_size=3)
    names = st.lists(NAMES, max_size=2, unique=True)
    words = {
        "type": st.sampled_from(["null", "boolean", "integer", "number", "string", "array", "object"]),
        "enum": st.lists(VALUES, min_size=1, max_size=4),
        "minimum": NUMBERS,
        "exclusiveMaximum": NUMBERS,
        "minLength": st.integers(0, 2),
        "maxLength": st.integers(0, 2),
        "pattern": st.sampled_from(["^a", "b$", "x|q", "^.$"]),
        "properties": st.dictionaries(NAMES, part, max_size=3),
        "required": names,
        "additionalProperties": part,
        "minProperties": st.integers(0, 2),
        "maxProperties": st.integers(0, 2),
        "propertyNames": st.sampled_from([{"enum": ["a", "b"]}, {"maxLength": 1}, {"not": {"const": "a"}}]),
        "dependentRequired": st.dictionaries(NAMES, names, max_size=2),
        "items": part,
        "minItems": st.integers(0, 2),
        "uniqueItems": st.booleans(),
        "contains": part,
        "allOf": some,
        "anyOf": some,
        "oneOf": some,
        "not": part,
        "if": part,
        "then": part,
        "else": part,
    }
    keys = st.lists(st.sampled_from(sorted(words)), max_size=4, unique=True)
    return keys.flatmap(lambda chosen: st.fixed_dictionaries({key: words[key] for key in chosen}))


SCHEMAS = st.recursive(st.booleans(), _schemas, max_leaves=6)


def _sorted(value: Any) -> Any:
    """A value whose members stand in one order, which grammars keep to."""
    if isinstance(value, dict):
        return {name: _sorted(value[name]) for name in sorted(value)}
    return [_sorted(item) for item in value] if isinstance(value, list) else value


def _in_order(schema: Any) -> Any:
    """A schema that names every member in that order first of all."""
    if isinstance(schema, list):
        return [_in_order(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    return {key: _sorted(part) if key == "enum" else _in_order(part) for key, part in schema.items()}


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(schema=SCHEMAS, values=st.lists(VALUES, min_size=1, max_size=6))
def test_no_invalid_document_is_accepted_and_no_valid_one_refused(schema: Any, values: list[Any]) -> None:
    first = {"properties": {name: True for name in "abc"}}
    schema = {"allOf": [first, _in_order(schema)]}
    validator = jsonschema_rs.Draft202012Validator(schema)
    try:
        compiled = COMPILER.compile(Grammar.schema(schema))
    except ConstraintError:
        assert not any(validator.is_valid(value) for value in values)
        return
    for value in map(_sorted, values):
        try:
            accepted = accepts(compiled.start(), json.dumps(value, ensure_ascii=False))
        except BezelError:
            accepted = False
        assert accepted == validator.is_valid(value), value


@settings(max_examples=100, deadline=None)
@given(excluded=st.lists(st.text(max_size=4), min_size=1, max_size=4), text=st.text(max_size=5))
def test_a_pattern_for_every_string_but_a_few(excluded: list[str], text: str) -> None:
    compiled = Compiler(COMPILER.vocabulary).compile(Grammar.schema({"type": "string", "not": {"enum": excluded}}))
    assert not compiled.wider or any(character in text for text in excluded for character in '"\\')
    for one in (text, *excluded, excluded[0] + "a", excluded[0][:-1]):
        assume("\x7f" not in one)  # llguidance wants this character escaped, which JSON does not ask for
        assert accepts(compiled.start(), json.dumps(one, ensure_ascii=False)) == (one not in excluded)


def test_objects_are_closed_where_they_alone_name_their_members() -> None:
    point = {"type": "object", "properties": {"x": {"properties": {"y": {}}}}}
    shut = {"additionalProperties": False}
    assert closed(point) == {**point, **shut, "properties": {"x": {"properties": {"y": {}}, **shut}}}
    for as_it_is in ({}, {"type": "object"}, {"const": point}, {"properties": {}, "additionalProperties": True}, True):
        assert closed(as_it_is) == as_it_is
    assert closed({"properties": {}, "anyOf": [{"required": ["a"]}]}) == {
        "properties": {},
        "anyOf": [{"required": ["a"]}],
    }
    listed = {"items": {"$ref": "#/$defs/p"}, "$defs": {"p": {"properties": {}}}, "anyOf": [{"properties": {}}]}
    assert closed(listed)["$defs"]["p"] == closed(listed)["anyOf"][0] == {"properties": {}, **shut}
    combined = {"allOf": [{"$ref": "#/$defs/p"}, {"properties": {"b": {}}}], "$defs": {"p": {"properties": {}}}}
    assert closed(combined) == combined


@pytest.mark.parametrize("anything", [True, {}])
def test_what_contains_anything_is_not_empty(anything: Any) -> None:
    compiled = COMPILER.compile(Grammar.schema({"type": "array", "not": {"contains": anything}}))
    assert accepts(compiled.start(), "[]")


@pytest.mark.parametrize("grammar", [Grammar.choices(["a\ud800"]), Grammar.regex("\ud800"), Grammar.lark("\ud800")])
def test_half_a_surrogate_pair_is_refused(grammar: Grammar) -> None:
    with pytest.raises(ConstraintError, match="half a surrogate pair"):
        COMPILER.compile(grammar)


def test_grammars_are_texts() -> None:
    for make in (Grammar.regex, Grammar.lark, Grammar.choices):
        with pytest.raises(ConstraintError, match=r"regex is 5|grammar is 5|choices must be"):
            make(5)  # type: ignore[operator]
    assert Grammar.choices(one for one in "ab") == Grammar.choices(["a", "b"])
