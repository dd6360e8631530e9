"""Arguments held against schemas: what is wrong is said, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bezel.tools.checking import problems

CITY = {
    "type": "object",
    "properties": {"city": {"type": "string", "minLength": 2}, "days": {"type": "integer", "maximum": 7}},
    "required": ["city"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("value", "schema", "said"),
    [
        ({}, CITY, ["city is missing"]),
        ({"city": 3}, CITY, ["city must be a text, not 3"]),
        ({"city": "x"}, CITY, ["city must have at least 2 characters, not 1"]),
        ({"city": "Oslo", "days": "3"}, CITY, ['days must be a whole number, not "3"']),
        ({"city": "Oslo", "days": True}, CITY, ["days must be a whole number, not true"]),
        ({"city": "Oslo", "days": 9}, CITY, ["days must be at most 7, not 9"]),
        ({"city": "Oslo", "town": 1}, CITY, ["there is no town; known: city, days"]),
        (
            {"days": 2.5, "x": 1},
            CITY,
            ["city is missing", "days must be a whole number, not 2.5", "there is no x; known: city, days"],
        ),
        ("c", {"enum": ["a", "b"]}, ['the arguments must be one of "a", "b", not "c"']),
        (1, {"enum": [True]}, ["the arguments must be one of true, not 1"]),
        (2, {"const": 3}, ["the arguments must be 3, not 2"]),
        (None, {"type": ["string", "null"]}, []),
        (1, {"type": ["string", "null"]}, ["the arguments must be a text or null, not 1"]),
        (3.0, {"type": "integer"}, []),
        ([1, "a"], {"items": {"type": "integer"}}, ['item[1] must be a whole number, not "a"']),
        ([1, "a", 2], {"prefixItems": [{}, {"type": "string"}], "items": False}, ["item[2] must be left out"]),
        (
            [1, 1],
            {"uniqueItems": True, "maxItems": 1},
            [" must have at most 1 items, not 2", " must not have the same item twice"],
        ),
        (
            {"x": 1},
            {"properties": {"x": {"anyOf": [{"type": "string"}, {"type": "null"}]}}},
            [
                "x fits no alternative: x must be a text, not 1; or x must be null, not 1",
            ],
        ),
        (1, {"$ref": "#/$defs/a", "$defs": {"a": {"type": "string"}}}, ["the arguments must be a text, not 1"]),
        (1, {"$ref": "https://example.org/x"}, []),
        (1, {"allOf": [{"exclusiveMinimum": 1}]}, ["the arguments must be more than 1, not 1"]),
        ({"a": 1}, {"additionalProperties": {"type": "string"}}, ["a must be a text, not 1"]),
        (
            {"a": {"b": [1]}},
            {"properties": {"a": {"properties": {"b": {"items": {"type": "null"}}}}}},
            ["a.b[0] must be null, not 1"],
        ),
    ],
)
def test_what_is_wrong_is_said(value: Any, schema: Any, said: list[str]) -> None:
    assert problems(value, schema) == said


def test_a_schema_that_refers_to_itself_ends() -> None:
    schema = {"$ref": "#"}
    assert problems({}, schema) == ["the arguments: nested too deep"]


def test_complaints_are_few() -> None:
    assert len(problems(dict.fromkeys(map(str, range(100))), {"additionalProperties": False})) == 8


NAMES = st.sampled_from("ab")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner),
    max_leaves=6,
)
TYPES = st.sampled_from(["string", "integer", "number", "boolean", "null", "array", "object"])
SCHEMAS = st.recursive(
    TYPES.map(lambda kind: {"type": kind})
    | st.lists(JSON, min_size=1, max_size=2).map(lambda values: {"enum": values})
    | st.just({})
    | st.booleans(),
    lambda inner: (
        st.fixed_dictionaries(
            {"properties": st.dictionaries(NAMES, inner)},
            optional={"required": st.lists(NAMES, unique=True), "additionalProperties": inner},
        )
        | inner.map(lambda item: {"items": item, "maxItems": 2})
        | st.lists(inner, min_size=1, max_size=2).map(lambda several: {"anyOf": several})
    ),
    max_leaves=5,
)


@settings(max_examples=100, deadline=None)
@given(value=JSON, schema=SCHEMAS)
def test_it_agrees_with_a_real_validator(value: Any, schema: Any) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    assert (problems(value, schema) == []) == jsonschema.Draft202012Validator(schema).is_valid(value)
