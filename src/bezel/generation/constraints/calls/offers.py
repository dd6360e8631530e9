"""Tools as constraints see them: their parameters closed, as one JSON Schema for each form of calls."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from bezel.errors import ConstraintError
from bezel.generation.constraints.closing import closed, names_its_members
from bezel.generation.constraints.references import draft_of


@dataclass(frozen=True)
class Offers:
    """Tools by name with the JSON Schemas of their parameters."""

    parameters: Mapping[str, Mapping[str, Any]]

    @classmethod
    def of(cls, tools: Sequence[Mapping[str, Any]]) -> Offers:
        """From tools in OpenAI's shape. Members that a schema does not declare are closed to its object.

        Raises ConstraintError where parameters are no JSON object.
        """
        found: dict[str, Mapping[str, Any]] = {}
        for tool in tools:
            function = tool["function"]
            schema = function.get("parameters") or {}
            try:
                copied = json.loads(json.dumps(schema, allow_nan=False))
            except (TypeError, ValueError, RecursionError) as error:
                raise ConstraintError(f"the parameters of {function['name']} are not JSON ({error})") from None
            if names_its_members(copied):
                copied.setdefault("properties", {})
            found[function["name"]] = _identified(closed({"type": "object", **copied}), len(found))
        return cls(found)

    def source(self) -> str:
        """As text: equal texts ask for the same."""
        return json.dumps(self.parameters, ensure_ascii=False)

    def only(self, name: str) -> Offers:
        """One tool alone."""
        return Offers({name: self.parameters[name]})

    def arguments(self) -> dict[str, Any]:
        """A JSON Schema with a member for each tool, which are its arguments."""
        return self._document({"type": "object", "properties": dict(self.parameters)})

    def calls(self) -> dict[str, Any]:
        """The JSON Schema of an answer that is one call, {"name": ..., "parameters": {...}}, or a list of them."""
        calls = {"anyOf": [_call(name, schema) for name, schema in self.parameters.items()]}
        call = {"$ref": "#/$defs/call"}
        several = {"type": "array", "items": call, "minItems": 1}
        return self._document({"anyOf": [call, several], "$defs": {"call": calls}})

    def _document(self, schema: dict[str, Any]) -> dict[str, Any]:
        """`schema` in the draft that all tools name, else in the latest."""
        named = [schema.get("$schema") for schema in self.parameters.values()]
        return {"$schema": named[0], **schema} if named[0] and named == named[:1] * len(named) else schema


def _call(name: str, parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": {"name": {"const": name}, "parameters": parameters},
        "required": ["name", "parameters"],
        "additionalProperties": False,
    }


def _identified(schema: dict[str, Any], number: int) -> dict[str, Any]:
    """A document of its own inside a larger one, so that its `$ref`s go on meaning what they meant."""
    if "$ref" in schema:
        schema = {"allOf": [{"$ref": schema.pop("$ref")}], **schema}
    name = "id" if draft_of(schema) == 4 else "$id"
    return {name: f"https://tools.invalid/{number}", **schema}
