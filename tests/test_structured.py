"""Python types become schemas, and documents of these become objects again."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import typing
import uuid
from typing import Annotated, Any, Literal, NotRequired, TypedDict

import pytest

import bezel
from bezel.errors import ConstraintError, ConstraintFailedError
from bezel.generation.constraints.gate import Gate
from bezel.structured import parsed, structure


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


class Pair(enum.Enum):
    FIRST = (1, 2)
    SECOND = (3, 4)


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
    (datetime.time, "10:20:30Z", datetime.time(10, 20, 30, tzinfo=datetime.UTC)),
    (Pair, [3, 4], Pair.SECOND),
    (list[Pair], [[1, 2]], [Pair.FIRST]),
    (Literal[Colour.RED, "x"], "red", Colour.RED),
    (Literal[1, True], True, True),
    (Annotated[int, []], 3, 3),
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
    for kind in (object, set[int], dict[int, str], complex, [int], 5, typing.List, typing.Dict):  # noqa: UP006
        with pytest.raises(ConstraintError, match="no JSON Schema"):
            structure(kind)
    with pytest.raises(ConstraintError, match="no form in JSON"):
        structure(Literal[b"x"])
    kind = dataclasses.make_dataclass("Kind", [("x", "Nowhere")])
    with pytest.raises(ConstraintError, match="type hints of Kind"):
        structure(kind)


DATES = [
    (datetime.date, "2024-02-29", ["0000-01-01", "2023-02-29"]),
    (datetime.datetime, "0001-12-31T23:59:59.5+01:00", ["2024-02-29t10:00:00Z", "2024-02-29T10:00:00z"]),
    (datetime.datetime, "9999-12-31T00:00:00Z", ["2016-12-31T23:59:60Z", "0000-12-31T00:00:00Z"]),
    (datetime.time, "23:59:59Z", ["23:59:60Z", "10:00:00z"]),
]


@pytest.mark.parametrize(("kind", "good", "bad"), DATES)
def test_dates_are_those_that_python_reads(kind: Any, good: str, bad: list[str]) -> None:
    pydantic = pytest.importorskip("pydantic")
    for asked in (kind, pydantic.create_model("Dated", when=(kind, ...))):
        gate = Gate(json.loads(structure(asked)[0].source))
        spelled = [json.dumps(text if asked is kind else {"when": text}) for text in (good, *bad)]
        assert [gate.refusal(text) is None for text in spelled] == [True, *(False for _ in bad)]
        assert parsed(spelled[0], asked) is not None


def test_a_schema_that_is_not_of_python_keeps_its_dates() -> None:
    schema = {"type": "string", "format": "date"}
    assert json.loads(structure(schema)[0].source) == schema

    class Model:
        @staticmethod
        def model_json_schema() -> dict[str, Any]:
            return {"type": "object", "properties": {"type": schema, "format": {"const": schema}}}

        @staticmethod
        def model_validate_json(text: str) -> Any:
            return json.loads(text)

    properties = json.loads(structure(Model)[0].source)["properties"]
    assert "pattern" in properties["type"] and properties["format"] == {"const": schema}


@dataclasses.dataclass
class Even:
    x: int

    def __post_init__(self) -> None:
        if self.x % 2:
            raise KeyError("odd")


def test_what_a_type_refuses_is_not_lost() -> None:
    pydantic = pytest.importorskip("pydantic")

    def refuse(value: int) -> int:
        raise ValueError("never")

    validators = {"refuse": pydantic.field_validator("x")(refuse)}
    never = pydantic.create_model("Never", x=(int, ...), __validators__=validators)
    assert parsed('{"x": 2}', Even) == Even(2)
    for kind, said in ((Even, "odd"), (never, "never")):
        with pytest.raises(ConstraintFailedError, match=said) as caught:
            parsed('{"x": 3}', kind)
        assert str(caught.value).endswith('it was: {"x": 3}')
    result = bezel.load("tiny").chat("x", schema=Even, stop=["}"], temperature=0.0, max_tokens=50)
    assert result.parsed is None  # the end of it was cut off


def test_stop_strings_that_cut_nothing_leave_the_object() -> None:
    tiny = bezel.load("tiny")
    asked: dict[str, Any] = {"schema": Literal["a", "b"], "temperature": 0.0, "max_tokens": 20}
    assert tiny.chat("x", stop=["\n\n"], **asked).parsed in ("a", "b")
    assert tiny.chat("x", stop=["a", "b"], **asked).parsed is None
