"""Python types become schemas, and documents of these become objects again."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import uuid
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

import bezel
from bezel.errors import ConstraintError
from bezel.generation.constraints.gate import Gate
from bezel.structured import structure


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclasses.dataclass
class Point:
    x: int
    y: float = 0.5
    hidden: int = dataclasses.field(default=7, init=False)


@dataclasses.dataclass
class Tree:
    name: str
    children: list[Tree] = dataclasses.field(default_factory=list)
    place: Point | None = None


class Row(TypedDict):
    kind: Literal["a", "b"]
    colour: NotRequired[Colour]


OBJECTS: list[tuple[Any, Any, Any]] = [
    (Point, {"x": 3}, Point(3)),
    (Tree, {"name": "a", "children": [{"name": "b"}], "place": {"x": 1, "y": 2}}, None),
    (Row, {"kind": "a", "colour": "red"}, {"kind": "a", "colour": Colour.RED}),
    (Literal["yes", 3], 3, 3),
    (list[Colour], ["red", "blue"], [Colour.RED, Colour.BLUE]),
    (tuple[int, str], [1, "a"], (1, "a")),
    (tuple[int, ...], [1, 2, 3], (1, 2, 3)),
    (dict[str, Point], {"p": {"x": 1}}, {"p": Point(1)}),
    (int | Point | None, {"x": 1}, Point(1)),
    (int | Point | None, None, None),
    (Annotated[datetime.date, "a day"], "2024-02-29", datetime.date(2024, 2, 29)),
    (uuid.UUID, str(uuid.UUID(int=5)), uuid.UUID(int=5)),
    (float, 3, 3.0),
]


@pytest.mark.parametrize(("kind", "document", "wanted"), OBJECTS)
def test_objects_are_built(kind: Any, document: Any, wanted: Any) -> None:
    grammar, parse = structure(kind)
    assert Gate(json.loads(grammar.source)).refusal(json.dumps(document)) is None
    built = parse(json.dumps(document))
    if kind is Tree:
        wanted = Tree("a", [Tree("b")], Point(1, 2.0))
    assert built == wanted
    assert type(built) is type(wanted)


@pytest.mark.parametrize(
    ("kind", "document"),
    [(Point, {"y": 1}), (Point, {"x": 1, "hidden": 2}), (Row, {"kind": "c"}), (Tree, {"name": "a", "children": [1]})],
)
def test_schemas_refuse_what_cannot_be_built(kind: Any, document: Any) -> None:
    assert Gate(json.loads(structure(kind)[0].source)).refusal(json.dumps(document)) is not None


def test_a_model_that_knows_its_schema_parses_itself() -> None:
    class Model:
        @staticmethod
        def model_json_schema() -> dict[str, Any]:
            return {"type": "integer"}

        @staticmethod
        def model_validate_json(text: str) -> str:
            return f"parsed {text}"

    grammar, parse = structure(Model)
    assert json.loads(grammar.source) == {"type": "integer"}
    assert parse("3") == "parsed 3"


def test_pydantic_models_are_made_of_answers() -> None:
    pydantic = pytest.importorskip("pydantic")
    Line = pydantic.create_model(
        "Line", item=(Literal["bolt", "nut"], ...), count=(Annotated[int, pydantic.Field(ge=1, le=9)], ...)
    )
    Order = pydantic.create_model(
        "Order", lines=(Annotated[list[Line], pydantic.Field(min_length=1, max_length=2)], ...), express=(bool, False)
    )
    tiny = bezel.load("tiny")
    for seed in range(3):
        result = tiny.chat("Order.", schema=Order, temperature=1.0, seed=seed, max_tokens=300)
        assert isinstance(result.parsed, Order) and isinstance(result.parsed.lines[0], Line)
        assert all(1 <= line.count <= 9 for line in result.parsed.lines) and type(result.parsed.express) is bool


def test_other_types_are_an_error() -> None:
    for kind in (object, set[int], dict[int, str], complex):
        with pytest.raises(ConstraintError, match="no JSON Schema"):
            structure(kind)
