"""The catalogue knows every error, and repeats no words of those that are not the client's."""

from __future__ import annotations

import json

import pytest

import bezel.errors
from bezel.service.errors import CATALOGUE, CAUSES, ApiError, told

OWN = [each for each in vars(bezel.errors).values() if isinstance(each, type) and issubclass(each, Exception)]


def test_every_error_of_bezel_has_an_entry_of_its_own() -> None:
    assert set(CAUSES) == set(OWN)
    assert set(CAUSES.values()) <= set(CATALOGUE)


@pytest.mark.parametrize("kind", OWN)
def test_an_error_is_told_by_its_entry(kind: type[Exception]) -> None:
    error = told(kind("/secret/path " + "long " * 1000))
    assert error.kind == CATALOGUE[CAUSES[kind]]  # type: ignore[index]
    body = json.loads(error.body("req_1"))["error"]
    assert body["code"] == error.kind.code and body["request_id"] == "req_1"
    assert ("/secret/path" in body["message"]) == error.kind.tells and len(body["message"]) < 600
    if error.kind.status >= 500:
        assert not error.kind.tells


@pytest.mark.parametrize(
    "error", [RuntimeError("words"), MemoryError("words"), KeyError("words"), OSError(28, "words")]
)
def test_an_error_that_nobody_foresaw_says_nothing(error: Exception) -> None:
    assert told(error).kind.status == 500 and b"words" not in told(error).body("r")


def test_halves_of_characters_can_be_told() -> None:
    assert b"?" in told(bezel.errors.InvalidRequestError("\ud800")).body("r")


def test_codes_of_the_lesson_and_of_openai() -> None:
    codes = {kind.code for kind in CATALOGUE.values()}
    assert codes >= {"VALIDATION_ERROR", "RATE_LIMIT_EXCEEDED", "CONTENT_FILTERED", "GENERATION_ERROR"}
    assert codes >= {"invalid_api_key", "model_not_found", "context_length_exceeded"}
    assert ApiError("gone").kind.status == 499
    assert all(400 <= kind.status < 600 and kind.message.endswith((".", "...")) for kind in CATALOGUE.values())
