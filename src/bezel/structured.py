"""Answers as objects: Python types to JSON Schemas, and documents of these back to objects.

Understood are pydantic models, dataclasses, TypedDict, Literal, Enum, unions, lists, tuples, dictionaries with string
keys, dates, times, UUIDs and the plain types; everything else is a ConstraintError.
"""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import types
import typing
import uuid
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, Literal, Union, cast

from bezel.errors import ConstraintError, ConstraintFailedError, InvalidRequestError
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
    datetime.time: ("time", datetime.time.fromisoformat),
    uuid.UUID: ("uuid", uuid.UUID),
}
# Formats allow what no release of Python reads: the year 0, leap seconds, and small letters.
_YEAR = "(?:000[1-9]|00[1-9][0-9]|0[1-9][0-9]{2}|[1-9][0-9]{3})"
_CLOCK = "[0-9]{2}:[0-9]{2}:[0-5][0-9][0-9.:Z+-]*"
_READABLE = {
    "date": f"^{_YEAR}-[0-9]{{2}}-[0-9]{{2}}$",
    "date-time": f"^{_YEAR}-[0-9]{{2}}-[0-9]{{2}}T{_CLOCK}$",
    "time": f"^{_CLOCK}$",
}
_VALUES = frozenset(("enum", "const", "default", "examples"))  # what stands there is no schema


def constraint_of(
    schema: Any = None, regex: str | None = None, grammar: str | None = None, choices: Sequence[str] | None = None
) -> Grammar | None:
    """What an answer must look like; None where nothing is said. InvalidRequestError where more than one thing is."""
    given = [value is not None for value in (schema, regex, grammar, choices)]
    if sum(given) > 1:
        raise InvalidRequestError("give one of schema, regex, grammar and choices")
    if schema is not None:
        return structure(schema)[0]
    if regex is not None:
        return Grammar.regex(regex)
    if grammar is not None:
        return Grammar.lark(grammar)
    return Grammar.choices(choices) if choices is not None else None


def check_document(text: str, grammar: Grammar, schema: Any = None) -> None:
    """Hold an answer against its JSON Schema, for engines that may not have. `schema` is what it was made of.

    What a type would take anyway passes: fields that it does not have, dates in other forms; a pydantic model is its
    own judge. Raises ConstraintFailedError with the answer in its message.
    """
    from bezel.generation.constraints.gate import Gate

    if callable(getattr(schema, "model_json_schema", None)):
        return
    asked = json.loads(grammar.source)
    written = schema is not None and not isinstance(schema, Mapping | bool | str)
    try:
        gate = Gate(_opened(asked) if written else asked, formats=False)
    except ConstraintError:
        return  # of another draft than is known here, which the endpoint took
    path = gate.refusal(text)
    if path is not None:
        place = "/".join(map(str, path)) or "the whole document"
        raise ConstraintFailedError(f"the answer is not what its schema allows ({place}); it was: {text}")


def parsed(text: str, schema: Any) -> Any:
    """The object of a whole answer. Raises ConstraintFailedError, with the answer in its message, where it makes none.

    That is so where a type refuses what its schema allows: by a validator of pydantic's, or `__post_init__`.
    """
    parse = structure(schema)[1]
    try:
        return parse(text)
    except Exception as error:  # a user's own code among it
        reason = f"{type(error).__name__}: {error}"
        raise ConstraintFailedError(f"no object can be made of the answer ({reason}); it was: {text}") from error


def structure(schema: Any) -> tuple[Grammar, Parse]:
    """The grammar of `schema`, a JSON Schema or a Python type, and what makes an object of an answer's text.

    A JSON Schema (a dictionary, or its text) gives what `json.loads` gives. ConstraintError for a type that no schema
    can be made of.
    """
    if isinstance(schema, Mapping | bool | str):
        return Grammar.schema(schema), json.loads
    if callable(getattr(schema, "model_json_schema", None)):
        return Grammar.schema(_readable(closed(schema.model_json_schema()))), schema.model_validate_json
    writer = _Writer()
    whole = writer.schema(schema)
    if writer.definitions:
        whole = {**whole, "$defs": writer.definitions}
    return Grammar.schema(whole), lambda text: _built(schema, json.loads(text))


def _opened(schema: Any) -> Any:
    """A JSON Schema of a type without what only a grammar needs: that nothing else comes, and the forms of dates."""
    if isinstance(schema, list):
        return [_opened(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    left = {key for key, part in schema.items() if key == "additionalProperties" and part is False}
    left |= {"pattern"} if "format" in schema else set()
    return {key: part if key in _VALUES else _opened(part) for key, part in schema.items() if key not in left}


def _readable(schema: Any) -> Any:
    """A JSON Schema whose dates and times are those that Python reads."""
    if isinstance(schema, list):
        return [_readable(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    out = {key: part if key in _VALUES else _readable(part) for key, part in schema.items()}
    spelled = out.get("format") if out.get("type") == "string" else None
    if isinstance(spelled, str) and spelled in _READABLE:
        out.setdefault("pattern", _READABLE[spelled])
    return out


class _Writer:
    """Schemas of types; those with fields stand in `definitions`, so that they may hold themselves."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._names: dict[Any, str] = {}

    def schema(self, kind: Any) -> dict[str, Any]:
        origin, arguments = typing.get_origin(kind), typing.get_args(kind)
        if origin is typing.Annotated:
            return self.schema(arguments[0])
        if isinstance(kind, Hashable) and kind in _PLAIN:
            return dict(_PLAIN[kind])
        if isinstance(kind, Hashable) and kind in _SPELLED:
            return cast(dict[str, Any], _readable({"type": "string", "format": _SPELLED[kind][0]}))
        if _has_fields(kind):
            return self._fields(kind)
        if _members(kind):
            return {"enum": [_plain(member) for member in _members(kind)]}
        if origin in (Union, types.UnionType):
            return {"anyOf": [self.schema(option) for option in arguments]}
        if origin in (list, Sequence) and arguments:
            return {"type": "array", "items": self.schema(arguments[0])}
        if origin is tuple:
            return self._tuple(arguments)
        if origin in (dict, Mapping) and arguments[:1] == (str,):
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


def _members(kind: Any) -> list[Any]:
    """The values of an Enum or a Literal; none of any other type."""
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return list(kind)
    return list(typing.get_args(kind)) if typing.get_origin(kind) is Literal else []


def _plain(member: Any) -> Any:
    """A member of an Enum or a Literal as JSON has it. ConstraintError where it has nothing for it."""
    value = member.value if isinstance(member, enum.Enum) else member
    try:
        return json.loads(json.dumps(value))
    except (TypeError, ValueError) as error:
        raise ConstraintError(
            f"{member!r} has no form in JSON ({error}); use texts, numbers or lists of them"
        ) from None


def _member(kind: Any, value: Any) -> Any:
    """The member that a JSON value stands for: that which is spelled so, else (2 for 2.0) the first that equals it."""
    spelled = json.dumps(value, sort_keys=True)
    found = [member for member in _members(kind) if json.dumps(_plain(member), sort_keys=True) == spelled]
    return (found or [member for member in _members(kind) if _plain(member) == value])[0]


def _has_fields(kind: Any) -> bool:
    return isinstance(kind, type) and (dataclasses.is_dataclass(kind) or typing.is_typeddict(kind))


def _hints(kind: Any) -> dict[str, Any]:
    try:
        hints = typing.get_type_hints(kind)
    except (NameError, TypeError) as error:
        raise ConstraintError(f"the type hints of {kind.__name__} cannot be read ({error})") from None
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
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is typing.Annotated:
        return _built(arguments[0], value)
    spelled = next((read for known, (_, read) in _SPELLED.items() if kind is known), None)  # not all can be hashed
    if spelled is not None:
        return spelled(value)
    if _has_fields(kind):
        parts = {name: _built(part, value[name]) for name, part in _hints(kind).items() if name in value}
        return kind(**parts)
    if _members(kind):
        return _member(kind, value)
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
