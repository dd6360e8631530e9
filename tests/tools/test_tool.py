"""Python functions as tools: schemas, docstrings, arguments, files."""

from __future__ import annotations

import datetime
import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypedDict

import pytest

from bezel.errors import ToolError
from bezel.tools import Tool, tool, tools_of
from bezel.tools.docstrings import read_docstring


class Unit(enum.Enum):
    CELSIUS = "celsius"
    KELVIN = "kelvin"


@dataclass
class Person:
    """Somebody.

    Args:
        name: As on the passport.
    """

    name: str
    age: int | None = None
    tags: list[str] = field(default_factory=list)


class Place(TypedDict, total=False):
    city: str


def schema_of(hint: Any, default: Any = ...) -> Any:
    def f(x: Any) -> None: ...

    f.__annotations__ = {"x": hint}
    f.__defaults__ = None if default is ... else (default,)
    return tool(f).parameters["properties"]["x"]


def made(hint: Any, value: Any) -> Any:
    """What a function with this parameter gets for a JSON value."""

    def f(x: Any) -> Any:
        return x

    f.__annotations__ = {"x": hint}
    return tool(f).call({"x": value})


PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "description": "As on the passport."},
        "age": {"type": ["integer", "null"]},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["name"],
    "additionalProperties": False,
}


@pytest.mark.parametrize(
    ("hint", "schema", "value", "expected"),
    [
        (str, {"type": "string"}, "a", "a"),
        (int, {"type": "integer"}, 3.0, 3),
        (float, {"type": "number"}, 3, 3.0),
        (bool, {"type": "boolean"}, True, True),
        (Any, {}, [1], [1]),
        (list, {"type": "array"}, [1], [1]),
        (Literal["a", "b"], {"type": "string", "enum": ["a", "b"]}, "b", "b"),
        (Unit, {"type": "string", "enum": ["celsius", "kelvin"]}, "kelvin", Unit.KELVIN),
        (int | None, {"type": ["integer", "null"]}, None, None),
        (Unit | None, {"type": ["string", "null"], "enum": ["celsius", "kelvin", None]}, "kelvin", Unit.KELVIN),
        (int | str, {"anyOf": [{"type": "integer"}, {"type": "string"}]}, "x", "x"),
        (str | Person, {"anyOf": [{"type": "string"}, PERSON]}, {"name": "A"}, Person("A")),
        (
            list[Unit],
            {"type": "array", "items": {"type": "string", "enum": ["celsius", "kelvin"]}},
            ["kelvin"],
            [Unit.KELVIN],
        ),
        (Sequence[int], {"type": "array", "items": {"type": "integer"}}, [1], [1]),
        (set[str], {"type": "array", "items": {"type": "string"}, "uniqueItems": True}, ["a"], {"a"}),
        (tuple[int, ...], {"type": "array", "items": {"type": "integer"}}, [1, 2], (1, 2)),
        (
            tuple[int, str],
            {"type": "array", "prefixItems": [{"type": "integer"}, {"type": "string"}], "minItems": 2, "maxItems": 2},
            [1, "a"],
            (1, "a"),
        ),
        (
            dict[str, Unit],
            {"type": "object", "additionalProperties": {"type": "string", "enum": ["celsius", "kelvin"]}},
            {"a": "kelvin"},
            {"a": Unit.KELVIN},
        ),
        (Mapping[str, Any], {"type": "object", "additionalProperties": {}}, {"a": 1}, {"a": 1}),
        (Person, PERSON, {"name": "A", "tags": ["b"]}, Person("A", None, ["b"])),
        (
            Place,
            {
                "type": "object",
                "properties": {"city": {"type": "string"}},
                "required": [],
                "additionalProperties": False,
            },
            {},
            {},
        ),
        (
            datetime.datetime,
            {"type": "string", "format": "date-time"},
            "2025-07-08T14:00:00",
            datetime.datetime(2025, 7, 8, 14),
        ),
        (Annotated[int, "How many."], {"type": "integer", "description": "How many."}, 3, 3),
    ],
    ids=str,
)
def test_type_hints_become_schemas_and_json_their_values(hint: Any, schema: Any, value: Any, expected: Any) -> None:
    assert schema_of(hint) == schema
    result = made(hint, value)
    assert result == expected and type(result) is type(expected)


def test_pydantic_models_are_taken_where_pydantic_is_installed() -> None:
    pydantic = pytest.importorskip("pydantic")
    Inner = pydantic.create_model("Inner", x=(int, ...))
    Outer = pydantic.create_model("Outer", inner=(Inner, ...))

    def f(outer: Any) -> Any:
        return outer

    f.__annotations__ = {"outer": Outer}
    made = tool(f)
    assert made.parameters["properties"]["outer"]["properties"]["inner"] == {"$ref": "#/$defs/Inner"}
    assert made.parameters["$defs"]["Inner"]["required"] == ["x"]
    assert made.call({"outer": {"inner": {"x": 3}}}) == Outer(inner=Inner(x=3))
    with pytest.raises(ValueError, match="x"):
        made.call({"outer": {"inner": {}}})


class Node:
    pass


@dataclass
class Endless:
    more: list[Endless]


def test_what_has_no_name_is_no_tool() -> None:
    with pytest.raises(ToolError, match="no name"):
        tool(lambda: 0)
    assert tool(lambda: 0, name="zero").name == "zero"


def test_what_no_schema_can_say_is_refused_with_the_parameter() -> None:
    def unhinted(x, y: int = 3): ...  # type: ignore[no-untyped-def]
    def anything(*args: int) -> None: ...
    def keywords(**more: int) -> None: ...
    def odd(x: Node) -> None: ...
    def keys(x: dict[int, str]) -> None: ...
    def mixed(x: Literal[1, "a"]) -> None: ...
    def endless(x: Endless) -> None: ...

    for function, said in (
        (unhinted, "unhinted: x has no type hint"),
        (anything, r"\*args"),
        (keywords, r"\*more"),
        (odd, "odd.x: Node has no form"),
        (keys, "keys of a dict"),
        (mixed, "all of one type"),
        (endless, "contains itself"),
    ):
        with pytest.raises(ToolError, match=said):
            tool(function)

    def nowhere(x: int) -> None: ...

    nowhere.__annotations__ = {"x": "Nothing"}
    with pytest.raises(ToolError, match="Nothing"):
        tool(nowhere)


def test_a_whole_function() -> None:
    def forecast(city: str, days: int = 3, unit: Unit = Unit.CELSIUS, note: str | None = None) -> str:
        """The weather to come.

        For a city of the world.

        Args:
            city: Name and
                country.
            days (int, optional): 1 to 7.

        Returns:
            A text.
        """
        return f"{city} {days} {unit} {note}"

    found = tool(forecast)
    assert found.schema == {
        "type": "function",
        "function": {
            "name": "forecast",
            "description": "The weather to come.\n\nFor a city of the world.",
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Name and country."},
                    "days": {"type": "integer", "description": "1 to 7.", "default": 3},
                    "unit": {"type": "string", "enum": ["celsius", "kelvin"], "default": "celsius"},
                    "note": {"type": ["string", "null"]},
                },
                "required": ["city"],
                "additionalProperties": False,
            },
        },
    }
    assert found.call({"city": "Oslo", "unit": "kelvin"}) == "Oslo 3 Unit.KELVIN None"
    renamed = tool(forecast, name="weather", description="Other.")
    assert (renamed.name, renamed.description) == ("weather", "Other.")


def test_parameters_by_position() -> None:
    def f(a: int, b: int = 2, /, c: int = 3) -> tuple[int, int, int]:
        return a, b, c

    assert tool(f).call({"a": 1, "c": 5}) == (1, 2, 5)
    assert tool(f).call({"b": 7, "a": 1}) == (1, 7, 3)


GOOGLE = "Does it.\n\nArgs:\n  a: One,\n    and more: of it.\n  b (int): Two.\n\nReturns:\n  a: no parameter"
NUMPY = (
    "Does it.\n\nParameters\n----------\na : str\n    One,\n    and more: of it.\nb, c : int\n    Two.\n\n"
    "Returns\n-------\nstr\n    Nothing."
)
REST = "Does it.\n\n:param a: One,\n    and more: of it.\n:param int b: Two.\n:returns: nothing\n:raises X: never"


@pytest.mark.parametrize("docstring", [GOOGLE, NUMPY, REST], ids=["google", "numpy", "rest"])
def test_docstrings_of_three_styles(docstring: str) -> None:
    about, said = read_docstring(docstring)
    assert about == "Does it."
    assert said["a"] == "One, and more: of it." and said["b"] == "Two."
    assert set(said) <= {"a", "b", "c"} and said.get("c", "Two.") == "Two."


def test_docstrings_that_say_little() -> None:
    assert read_docstring(None) == ("", {})
    assert read_docstring("Note: parameters matter.") == ("Note: parameters matter.", {})
    assert read_docstring("One.\n\nRaises:\n    X: never") == ("One.", {})


def test_the_functions_of_a_file_are_tools(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(
        "from os.path import join\ndef b(x: int) -> int:\n  return x\ndef a() -> None: ...\ndef _no(): ...\n"
    )
    assert [one.name for one in tools_of(file)] == ["b", "a"]
    file.write_text(file.read_text() + "__all__ = ['a']\n")
    assert [one.name for one in tools_of(file)] == ["a"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("x = 1", "defines no function"),
        ("1/0", "ZeroDivisionError"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def f(:", "SyntaxError"),
        ("def f(x): ...", "no type hint"),
        ("__all__ = ['g']", "'g'"),
    ],
)
def test_a_file_without_tools_says_why(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(ToolError, match=said):
        tools_of(file)
    with pytest.raises(ToolError, match="no such file"):
        tools_of(tmp_path / "none.py")


def test_a_tool_can_be_made_by_hand() -> None:
    made = Tool("f", "", {"type": "object"}, lambda arguments: len(arguments))
    assert made.call({"a": 1}) == 1
