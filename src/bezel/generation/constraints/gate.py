"""The last word on a whole document: a real validator, for what a grammar cannot say."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, NoReturn

import jsonschema_rs

from bezel.errors import ConstraintError

_LARGEST = 1.7976931348623157e308
_NAMED = (
    *("date-time", "date", "time", "duration", "email", "idn-email", "hostname", "idn-hostname", "ipv4", "ipv6"),
    *("uri", "uri-reference", "uri-template", "iri", "iri-reference", "uuid", "json-pointer", "relative-json-pointer"),
    "regex",
)
Path = Sequence[str | int]


class Gate:
    """Validates JSON texts against a schema. Nothing outside the schema is read, whatever it refers to.

    Without `formats` these say what a text means, and refuse none, which is what drafts since 2019-09 have as default.
    Raises ConstraintError where the schema contradicts its own draft or refers to other documents.
    """

    def __init__(self, schema: Any, formats: bool = True) -> None:
        try:
            self._validator = jsonschema_rs.validator_for(
                _one_draft(schema),
                formats=_formats(),
                validate_formats=formats,
                retriever=_refuse,
                pattern_options=jsonschema_rs.FancyRegexOptions(backtrack_limit=1_000_000),
            )
        except Exception as error:  # its errors have no common base but this
            reason = str(error).splitlines()[0][:300] if str(error) else type(error).__name__
            raise ConstraintError(f"the schema is not valid: {reason}") from None

    def refusal(self, text: str) -> Path | None:
        """None where the document is valid, else the way to the value in it that is not."""
        try:
            document = json.loads(text, parse_float=_float, parse_int=_int)
        except (ValueError, RecursionError):
            return ()
        try:
            error = next(iter(self._validator.iter_errors(document)), None)
        except ValueError:  # a number or a nesting that the validator does not take
            return ()
        return None if error is None else tuple(error.instance_path)


@cache
def _formats() -> dict[str, Callable[[str], bool]]:
    """The formats that draft 2020-12 names, which are then checked in every draft."""
    checks = {name: jsonschema_rs.Draft202012Validator({"format": name}, validate_formats=True) for name in _NAMED}
    return {name: check.is_valid for name, check in checks.items()}


def _refuse(uri: str) -> NoReturn:
    raise ConstraintError(f"{uri} is another document; put it into $defs of the schema")


def _one_draft(schema: Any) -> Any:
    """The schema without the `$schema` of its parts that are no documents of their own, which would change drafts."""
    if isinstance(schema, bool):
        return schema
    return {key: _without(value) if isinstance(value, dict | list) else value for key, value in schema.items()}


def _without(node: Any) -> Any:
    if isinstance(node, list):
        return [_without(item) if isinstance(item, dict | list) else item for item in node]
    own = isinstance(node.get("$schema"), str) and not isinstance(node.get("$id"), str)
    return {
        key: _without(value) if isinstance(value, dict | list) else value
        for key, value in node.items()
        if not (own and key == "$schema")
    }


def _float(text: str) -> float:
    """Numbers beyond float64 are valid JSON; what is asked of them is asked of the largest float64."""
    return max(-_LARGEST, min(_LARGEST, float(text)))


def _int(text: str) -> int | float:
    return int(text) if len(text) < 300 else _float(text)


def span_of(text: str, path: Path) -> tuple[int, int]:
    """Where the value that `path` leads to stands in a JSON text; the whole text where it leads nowhere."""
    place = 0
    try:
        for step in path:
            place = _skip(text, place)
            place = _item(text, place, int(step)) if text[place] == "[" else _member(text, place, step)
        place = _skip(text, place)
        return place, _DECODER.raw_decode(text, place)[1]
    except (ValueError, IndexError, RecursionError):
        return 0, len(text)


def in_string(text: bytes) -> bool:
    """Whether a JSON text breaks off inside a string."""
    return _QUOTES.sub(b"", text).count(b'"') % 2 == 1


_QUOTES = re.compile(rb"\\.", re.DOTALL)
_DECODER, _SPACES = json.JSONDecoder(), re.compile(r"[ \t\n\r]*")


def _skip(text: str, place: int) -> int:
    """Behind white space."""
    found = _SPACES.match(text, place)
    assert found is not None
    return found.end()


def _item(text: str, place: int, index: int) -> int:
    """Where item `index` of the array at `place` begins. ValueError or IndexError where there is none."""
    place = _skip(text, place + 1)
    for _ in range(index):
        place = _skip(text, _skip(text, _DECODER.raw_decode(text, place)[1]) + 1)
    return place


def _member(text: str, place: int, name: str | int) -> int:
    """Where the value of member `name` of the object at `place` begins; of equal names the last counts."""
    place, found = _skip(text, place + 1), -1
    while text[place] != "}":
        spelled, place = _DECODER.raw_decode(text, place)
        place = _skip(text, _skip(text, place) + 1)
        found = place if spelled == name else found
        place = _skip(text, _DECODER.raw_decode(text, place)[1])
        place = _skip(text, place + 1) if text[place] == "," else place
    if found < 0:
        raise ValueError(f"no member {name}")
    return found
