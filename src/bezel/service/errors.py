"""What clients are told when something is wrong: a fixed catalogue, in the shape that OpenAI's clients read.

`code` is OpenAI's own where its clients look for one, else one of the lesson's: VALIDATION_ERROR, RATE_LIMIT_EXCEEDED,
CONTENT_FILTERED, RESPONSE_FILTERED, GENERATION_ERROR.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

from bezel import errors as bezel

_LONGEST_DETAIL = 400


@dataclass(frozen=True)
class Kind:
    """An entry: HTTP status, OpenAI's type, code, and what it says. With `tells` the cause's own words follow."""

    status: int
    type: str
    code: str
    message: str
    tells: bool = False


_INVALID = "invalid_request_error"
_SERVER = "server_error"
CATALOGUE = {
    "invalid": Kind(400, _INVALID, "VALIDATION_ERROR", "The request is not valid.", tells=True),
    "unknown_parameter": Kind(400, _INVALID, "unknown_parameter", "This parameter is not known here.", tells=True),
    "not_json": Kind(400, _INVALID, "VALIDATION_ERROR", "The body is not valid JSON."),
    "two_lengths": Kind(400, _INVALID, "VALIDATION_ERROR", "Content-Length and Transfer-Encoding exclude each other."),
    "not_form": Kind(400, _INVALID, "VALIDATION_ERROR", "The body is no valid form (multipart/form-data).", tells=True),
    "context": Kind(400, _INVALID, "context_length_exceeded", "The request does not fit the context.", tells=True),
    "unsupported_input": Kind(400, _INVALID, "unsupported_input", "The model does not take this input.", tells=True),
    "media": Kind(400, _INVALID, "invalid_media", "A picture or sound cannot be used.", tells=True),
    "speech": Kind(400, _INVALID, "invalid_media", "A part of the recording was not written down.", tells=True),
    "constraint": Kind(400, _INVALID, "invalid_constraint", "The answer's form cannot be followed.", tells=True),
    "unanswerable": Kind(
        400, _INVALID, "invalid_constraint", "No answer of this form was found; simplify it, or ask with another seed."
    ),
    "template": Kind(400, _INVALID, "VALIDATION_ERROR", "The model's chat template refuses these messages."),
    "too_much_text": Kind(400, _INVALID, "VALIDATION_ERROR", "The texts of the request are too long.", tells=True),
    "no_key": Kind(401, "authentication_error", "invalid_api_key", "Send an API key: Authorization: Bearer bz-..."),
    "bad_key": Kind(401, "authentication_error", "invalid_api_key", "This API key is wrong, expired or revoked."),
    "scope": Kind(403, "permission_error", "insufficient_permissions", "This API key may not do that.", tells=True),
    "blocked": Kind(400, _INVALID, "CONTENT_FILTERED", "The request was blocked by policy."),
    "answer_blocked": Kind(400, _INVALID, "RESPONSE_FILTERED", "The answer was blocked by policy."),
    "not_kept": Kind(400, _INVALID, "not_configured", "This server was started without it.", tells=True),
    "no_file": Kind(404, _INVALID, "file_not_found", "There is no such file."),
    "no_batch": Kind(404, _INVALID, "batch_not_found", "There is no such batch."),
    "no_route": Kind(404, _INVALID, "unknown_url", "There is nothing at this address."),
    "no_model": Kind(404, _INVALID, "model_not_found", "This model is not served here; see /v1/models."),
    "method": Kind(405, _INVALID, "method_not_allowed", "This address does not take this method."),
    "slow_body": Kind(408, _INVALID, "request_timeout", "The body did not come in time; send it again."),
    "too_large": Kind(413, _INVALID, "request_too_large", "The body is larger than this server takes."),
    "not_a_host": Kind(421, _INVALID, "misdirected_request", "This server does not go by the name in Host."),
    "media_type": Kind(415, _INVALID, "unsupported_media_type", "Send uncompressed JSON (files: a form)."),
    "rate": Kind(429, "rate_limit_error", "RATE_LIMIT_EXCEEDED", "Too many requests; try again later.", tells=True),
    "tokens": Kind(429, "rate_limit_error", "RATE_LIMIT_EXCEEDED", "Too many tokens; try again later.", tells=True),
    "gone": Kind(499, _INVALID, "client_closed_request", "The client has gone."),
    "generation": Kind(500, _SERVER, "GENERATION_ERROR", "No answer could be generated; try again."),
    "internal": Kind(500, _SERVER, "internal_error", "Something went wrong here; the log says more by x-request-id."),
    "full": Kind(503, _SERVER, "server_overloaded", "Too many requests are waiting; try again later."),
    "waited": Kind(503, _SERVER, "server_overloaded", "The request has waited too long; try again later."),
    "uncounted": Kind(503, _SERVER, "limits_unavailable", "Limits cannot be counted now; try again later."),
    "unavailable": Kind(503, _SERVER, "model_unavailable", "The model cannot answer now; try again later."),
    "engine_lost": Kind(
        503, _SERVER, "model_unavailable", "The model's engine ended in the middle and is started again; ask again."
    ),
    "engine_starting": Kind(
        503, _SERVER, "model_unavailable", "The model's engine is being started again; try again soon."
    ),
    "storage": Kind(507, _SERVER, "storage_error", "The server's storage is full or cannot be used."),
    "slow_reader": Kind(408, _INVALID, "reader_too_slow", "The stream was not read in time and is cut off."),
}
CAUSES: Mapping[type[bezel.BezelError], str] = {
    bezel.BezelError: "internal",
    bezel.InvalidRequestError: "invalid",
    bezel.ContextLengthError: "context",
    bezel.UnsupportedInputError: "unsupported_input",
    bezel.ToolChoiceError: "invalid",
    bezel.ToolError: "invalid",
    bezel.ConstraintError: "constraint",
    bezel.ConstraintFailedError: "unanswerable",
    bezel.UnfinishedSpeechError: "speech",
    bezel.ContentBlockedError: "blocked",
    bezel.UnknownModelError: "no_model",
    bezel.ModelFileError: "unavailable",
    bezel.UnsupportedModelError: "unavailable",
    bezel.DownloadError: "unavailable",
    bezel.GatedModelError: "unavailable",
    bezel.EndpointError: "unavailable",
    bezel.AccessDeniedError: "unavailable",
    bezel.OverloadedError: "full",
    bezel.EngineError: "generation",
    bezel.EngineLostError: "engine_lost",
    bezel.EngineStartingError: "engine_starting",
    bezel.StorageError: "storage",
    bezel.TemplateError: "template",
    bezel.KernelLibraryError: "unavailable",
    bezel.MissingExtraError: "unavailable",
    bezel.MediaError: "media",
    bezel.MediaTooLargeError: "media",
    bezel.UnsupportedMediaError: "media",
    bezel.CorruptMediaError: "media",
    bezel.MediaTimeoutError: "media",
    bezel.MediaSourceError: "media",
}
"""The entry of each of bezel's own errors."""


@dataclass
class ApiError(Exception):
    """An entry of the catalogue, about `param`, with the cause's `detail` where the entry tells it."""

    name: str
    detail: str = ""
    param: str | None = None
    headers: dict[str, str] = field(default_factory=dict)

    @property
    def kind(self) -> Kind:
        """The entry."""
        return CATALOGUE[self.name]

    def body(self, request_id: str) -> bytes:
        """The JSON that a client gets."""
        told = f" {self.detail[:_LONGEST_DETAIL]}" if self.detail and self.kind.tells else ""
        error: dict[str, Any] = {
            "message": self.kind.message + told,
            "type": self.kind.type,
            "param": self.param,
            "code": self.kind.code,
            "request_id": request_id,
        }
        return msgspec.json.encode({"error": error})


def told(error: Exception) -> ApiError:
    """What a client is told of an exception: an ApiError's own entry, that of bezel's errors, or "internal".

    Where the error says when to ask again, so does `retry-after`.
    """
    if isinstance(error, ApiError):
        return error
    name = next((CAUSES[kind] for kind in type(error).__mro__ if kind in CAUSES), "internal")
    wait = getattr(error, "retry_after", None)
    headers = {} if wait is None else {"retry-after": str(max(1, math.ceil(wait)))}
    return ApiError(name, str(error).encode("utf-8", "replace").decode(), headers=headers)
