"""Type hints as JSON: the schema of a parameter, and the Python value that a JSON value stands for."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import inspect
import types
import typing
from collections import abc
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

from bezel.errors import ToolError
from bezel.tools.docstrings import read_docstring

Make = Callable[[Any], Any]


@dataclass(frozen=True)
class Form:
    """A JSON Schema, and `make`, which turns a value that satisfies it into Python's.

    `make` raises ValueError where the schema says less than the type asks for (a date that no calendar has).
    """

    schema: dict[str, Any]
    make: Make


def _as_is(value: Any) -> Any:
    return value


_SCALARS: dict[Any, Form] = {
    str: Form({"type": "string"}, _as_is),
    int: Form({"type": "integer"}, int),
    float: Form({"type": "number"}, float),
    bool: Form({"type": "boolean"}, _as_is),
    type(None): Form({"type": "null"}, _as_is),
    None: Form({"type": "null"}, _as_is),
    Any: Form({}, _as_is),
    object: Form({}, _as_is),
    datetime.datetime: Form({"type": "string", "format": "date-time"}, datetime.datetime.fromisoformat),
    datetime.date: Form({"type": "string", "format": "date"}, datetime.date.fromisoformat),
    datetime.time: Form({"type": "string", "format": "time"}, datetime.time.fromisoformat),
    list: Form({"type": "array"}, _as_is),
    dict: Form({"type": "object"}, _as_is),
}
_LISTS: dict[Any, Make] = {
    list: _as_is,
    abc.Sequence: _as_is,
    abc.Iterable: _as_is,
    abc.Collection: _as_is,
    set: set,
    frozenset: frozenset,
    tuple: tuple,
}


class Forms:
    """Makes forms of type hints. `definitions` gathers what their schemas refer to."""

    def __init__(self) -> None:
        self.definitions: dict[str, Any] = {}
        self._inside: list[type] = []

    def of(self, hint: Any, where: str) -> Form:
        """The form of a type hint; `where` is for messages. Raises ToolError for a type that JSON has nothing for."""
        origin, arguments = typing.get_origin(hint), typing.get_args(hint)
        scalar = _SCALARS.get(hint) if isinstance(hint, abc.Hashable) else None
        if scalar is not None:
            return Form(dict(scalar.schema), scalar.make)
        if origin is typing.Annotated:
            form = self.of(arguments[0], where)
            said = next((note for note in arguments[1:] if isinstance(note, str)), None)
            return Form({**form.schema, "description": said}, form.make) if said else form
        if origin is Literal:
            return Form(_enumerated(list(arguments), where), _as_is)
        if origin in (Union, types.UnionType):
            return self._union(arguments, where)
        if origin in _LISTS:
            return self._list(origin, arguments, where)
        if origin in (dict, abc.Mapping, abc.MutableMapping):
            return self._mapping(arguments, where)
        if inspect.isclass(hint):
            found = self._class(hint, where)
            if found is not None:
                return found
        raise ToolError(
            f"{where}: {getattr(hint, '__name__', hint)!s} has no form in JSON; use str, int, float, bool, Literal, an "
            "Enum, list, dict, a dataclass or a pydantic model"
        )

    def _class(self, hint: type, where: str) -> Form | None:
        if issubclass(hint, enum.Enum):
            return Form(_enumerated([member.value for member in hint], where), hint)
        if hint in self._inside:
            raise ToolError(f"{where}: {hint.__name__} contains itself, which a schema here cannot say")
        if typing.is_typeddict(hint):
            required = frozenset(getattr(hint, "__required_keys__", ()))
            return self._fields(hint, {name: name in required for name in hint.__annotations__}, dict, where)
        if dataclasses.is_dataclass(hint):
            absent = dataclasses.MISSING
            fields = {
                f.name: f.default is absent and f.default_factory is absent for f in dataclasses.fields(hint) if f.init
            }
            return self._fields(hint, fields, lambda values: hint(**values), where)
        if hasattr(hint, "model_json_schema") and hasattr(hint, "model_validate"):
            schema = dict(hint.model_json_schema())
            self.definitions |= schema.pop("$defs", {})
            return Form(schema, hint.model_validate)  # its ValidationError is a ValueError
        return None

    def _fields(self, hint: type, fields: Mapping[str, bool], make: Make, where: str) -> Form:
        """An object of `fields` (name to whether it is required)."""
        hints, (_, said) = hints_of(hint, where), read_docstring(hint.__doc__)
        self._inside.append(hint)
        forms = {name: self.of(hints[name], f"{where}.{name}") for name in fields}
        self._inside.pop()
        described = {
            name: {**form.schema, "description": said[name]} if name in said else form.schema
            for name, form in forms.items()
        }
        schema = {
            "type": "object",
            "properties": described,
            "required": [name for name, needed in fields.items() if needed],
            "additionalProperties": False,
        }
        return Form(schema, lambda value: make({name: forms[name].make(item) for name, item in value.items()}))

    def _union(self, arguments: tuple[Any, ...], where: str) -> Form:
        forms = [self.of(one, where) for one in arguments if one is not type(None)]
        optional = len(forms) < len(arguments)
        make = forms[0].make if len(forms) == 1 else _first(forms)
        kind = forms[0].schema.get("type")
        if not optional:
            return Form({"anyOf": [form.schema for form in forms]}, make)

        def maybe(value: Any) -> Any:
            return None if value is None else make(value)

        if len(forms) == 1 and isinstance(kind, str):
            schema = {**forms[0].schema, "type": [kind, "null"]}
            return Form({**schema, "enum": [*schema["enum"], None]} if "enum" in schema else schema, maybe)
        return Form({"anyOf": [*(form.schema for form in forms), {"type": "null"}]}, maybe)

    def _list(self, origin: Any, arguments: tuple[Any, ...], where: str) -> Form:
        if origin is tuple and arguments and arguments[-1] is not Ellipsis:
            forms = [self.of(one, f"{where}[{place}]") for place, one in enumerate(arguments)]
            size = len(forms)
            schema = {"type": "array", "prefixItems": [f.schema for f in forms], "minItems": size, "maxItems": size}
            return Form(schema, lambda value: tuple(f.make(v) for f, v in zip(forms, value, strict=True)))
        item = self.of(arguments[0], f"{where}[]") if arguments else Form({}, _as_is)
        schema = {"type": "array", "items": item.schema}
        if origin in (set, frozenset):
            schema["uniqueItems"] = True
        gather = _LISTS[origin]
        return Form(schema, lambda value: gather([item.make(one) for one in value]))

    def _mapping(self, arguments: tuple[Any, ...], where: str) -> Form:
        if arguments and arguments[0] is not str:
            raise ToolError(f"{where}: the keys of a dict must be str, as JSON's are")
        item = self.of(arguments[1], f"{where}[...]") if arguments else Form({}, _as_is)
        schema = {"type": "object", "additionalProperties": item.schema}
        return Form(schema, lambda value: {key: item.make(one) for key, one in value.items()})


def hints_of(item: Any, where: str) -> dict[str, Any]:
    """Type hints by name. Raises ToolError where one names something that is not there."""
    try:
        return typing.get_type_hints(item, include_extras=True)
    except (NameError, TypeError) as error:
        raise ToolError(f"{where}: its type hints cannot be read ({error})") from None


def _first(forms: list[Form]) -> Make:
    """Of several types the one that takes a value: that whose schema it satisfies."""
    from bezel.tools.checking import problems

    def make(value: Any) -> Any:
        for form in forms:
            if not problems(value, form.schema):
                return form.make(value)
        raise ValueError("no alternative takes the value")

    return make


def _enumerated(values: list[Any], where: str) -> dict[str, Any]:
    kinds = {_SCALARS[type(value)].schema["type"] for value in values if type(value) in (str, int, bool, float)}
    if len(kinds) != 1 or not all(type(value) in (str, int, bool, float) for value in values):
        raise ToolError(f"{where}: choices must be texts or numbers, all of one type; these are {values!r}")
    return {"type": kinds.pop(), "enum": values}
