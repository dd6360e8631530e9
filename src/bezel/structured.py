"""Answers as objects: Python types to JSON Schemas, and documents of these back to objects.

Understood are pydantic models, dataclasses, TypedDict, Literal, Enum, unions, lists, tuples, dictionaries with string
keys, dates, UUIDs and the plain types; everything else is a ConstraintError.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import types
import typing
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal, Union

from bezel.errors import ConstraintError
from bezel.generation.constraints.closing import closed
from bezel.generation.constraints.grammar import Grammar

Parse = Callable[[str], Any]
_PLAIN: dict[Any, dict[str, Any]] = {
    Any: {},
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    dict: {"type": "object"},
    list: {"type": "array"},
}
_SPELLED: dict[Any, tuple[str, Callable[[str], Any]]] = {
    datetime.datetime: ("date-time", datetime.datetime.fromisoformat),
    datetime.date: ("date", datetime.date.fromisoformat),
    uuid.UUID: ("uuid", uuid.UUID),
}


def structure(schema: Any) -> tuple[Grammar, Parse]:
    """The grammar of `schema`, a JSON Schema or a Python type, and what makes an object of an answer's text.

    A JSON Schema (a dictionary, or its text) gives what `json.loads` gives. ConstraintError for a type that no schema
    can be made of.
    """
    if isinstance(schema, Mapping | bool | str):
        return Grammar.schema(schema), json.loads
    if callable(getattr(schema, "model_json_schema", None)):
        return Grammar.schema(closed(schema.model_json_schema())), schema.model_validate_json
    writer = _Writer()
    whole = writer.schema(schema)
    if writer.definitions:
        whole = {**whole, "$defs": writer.definitions}
    return Grammar.schema(whole), lambda text: _built(schema, json.loads(text))


class _Writer:
    """Schemas of types; those with fields stand in `definitions`, so that they may hold themselves."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._names: dict[Any, str] = {}

    def schema(self, kind: Any) -> dict[str, Any]:
        if kind in _PLAIN:
            return dict(_PLAIN[kind])
        if kind in _SPELLED:
            return {"type": "string", "format": _SPELLED[kind][0]}
        if _has_fields(kind):
            return self._fields(kind)
        if isinstance(kind, type) and issubclass(kind, enum.Enum):
            return {"enum": [member.value for member in kind]}
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Annotated:
            return self.schema(arguments[0])
        if origin is Literal:
            return {"enum": list(arguments)}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.schema(option) for option in arguments]}
        if origin in (list, Sequence):
            return {"type": "array", "items": self.schema(arguments[0])}
        if origin is tuple:
            return self._tuple(arguments)
        if origin in (dict, Mapping) and arguments[0] is str:
            return {"type": "object", "additionalProperties": self.schema(arguments[1])}
        raise ConstraintError(f"no JSON Schema can be made of {kind!r}; use a dataclass, a pydantic model or a schema")

    def _tuple(self, items: tuple[Any, ...]) -> dict[str, Any]:
        if items[1:] == (...,):
            return {"type": "array", "items": self.schema(items[0])}
        listed = [self.schema(item) for item in items]
        return {"type": "array", "prefixItems": listed, "items": False, "minItems": len(items)}

    def _fields(self, kind: Any) -> dict[str, Any]:
        if kind not in self._names:
            name = kind.__name__ if kind.__name__ not in self.definitions else f"{kind.__name__}{len(self._names)}"
            self._names[kind] = name
            self.definitions[name] = {}
            self.definitions[name] = {
                "type": "object",
                "properties": {field: self.schema(part) for field, part in _hints(kind).items()},
                "required": _required(kind),
                "additionalProperties": False,
            }
        return {"$ref": f"#/$defs/{self._names[kind]}"}


def _has_fields(kind: Any) -> bool:
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or typing.is_typeddict(kind))


def _hints(kind: Any) -> dict[str, Any]:
    hints = typing.get_type_hints(kind)
    if not dataclasses.is_dataclass(kind):
        return hints
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def _required(kind: Any) -> list[str]:
    if not dataclasses.is_dataclass(kind):
        return [name for name in _hints(kind) if name in kind.__required_keys__]
    missing = dataclasses.MISSING
    fields = [field for field in dataclasses.fields(kind) if field.init]
    return [field.name for field in fields if field.default is missing and field.default_factory is missing]


def _built(kind: Any, value: Any) -> Any:
    """An object of a type, from a value that its schema allows."""
    if kind in _SPELLED:
        return _SPELLED[kind][1](value)
    if _has_fields(kind):
        parts = {name: _built(part, value[name]) for name, part in _hints(kind).items() if name in value}
        return kind(**parts)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return kind(value)
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _built(arguments[0], value)
    if origin in (Union, types.UnionType):
        return _built(next(option for option in arguments if _fits(option, value)), value)
    if origin in (list, Sequence):
        return [_built(arguments[0], item) for item in value]
    if origin is tuple:
        kinds = [arguments[0]] * len(value) if arguments[1:] == (...,) else arguments
        return tuple(_built(part, item) for part, item in zip(kinds, value, strict=True))
    if origin in (dict, Mapping):
        return {name: _built(arguments[1], item) for name, item in value.items()}
    return float(value) if kind is float else value


def _fits(kind: Any, value: Any) -> bool:
    """Whether a JSON value is one of `kind`: the first option of a union that it fits is taken."""
    from bezel.generation.constraints.gate import Gate

    writer = _Writer()
    schema = writer.schema(kind)
    return Gate({**schema, "$defs": writer.definitions}).refusal(json.dumps(value)) is None
