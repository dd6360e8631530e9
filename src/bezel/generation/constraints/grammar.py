"""What can be asked of an answer: JSON Schemas, regular expressions, Lark grammars and lists of choices."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from bezel.errors import ConstraintError

Kind = Literal["schema", "regex", "lark", "choices", "calls"]


@dataclass(frozen=True)
class Grammar:
    """What an answer must look like: a kind and its source text. Make it with `schema`, `regex`, `lark`, `choices`."""

    kind: Kind
    source: str

    @classmethod
    def schema(cls, schema: Mapping[str, Any] | bool | str) -> Grammar:
        """JSON documents that a JSON Schema (draft 4 to 2020-12) allows, compact or indented.

        Raises ConstraintError where it is no JSON.
        """
        if not isinstance(schema, str):
            try:
                return cls("schema", json.dumps(schema, ensure_ascii=False, allow_nan=False))
            except (TypeError, ValueError, RecursionError) as error:
                raise ConstraintError(f"the schema is not JSON ({error})") from None
        return cls("schema", schema)

    @classmethod
    def regex(cls, pattern: str) -> Grammar:
        """Texts that a regular expression matches from their first character to their last."""
        return cls("regex", _text("regex", pattern))

    @classmethod
    def lark(cls, grammar: str) -> Grammar:
        """Texts of a context-free grammar in llguidance's form of Lark."""
        return cls("lark", _text("grammar", grammar))

    @classmethod
    def choices(cls, choices: Iterable[str]) -> Grammar:
        """One of several texts, letter by letter."""
        listed = list(choices) if isinstance(choices, Iterable) and not isinstance(choices, str) else []
        if not listed or not all(isinstance(one, str) and one for one in listed):
            raise ConstraintError("choices must be a list of texts, none of them empty")
        return cls("choices", json.dumps(listed, ensure_ascii=False))


def _text(name: str, value: Any) -> str:
    if not isinstance(value, str):
        raise ConstraintError(f"{name} is {value!r}; it must be a text")
    return value
