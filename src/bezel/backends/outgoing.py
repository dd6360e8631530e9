"""A request as OpenAI's protocol has it, for an endpoint that may lack some of it."""

from __future__ import annotations

import base64
import io
import json
import wave
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any

import numpy as np

from bezel.backends.endpoints import Endpoint
from bezel.backends.interface import Request
from bezel.backends.sources import file_bytes
from bezel.errors import ConstraintError, InvalidRequestError, UnsupportedInputError
from bezel.generation.constraints.grammar import Grammar
from bezel.generation.sampling import Sampling
from bezel.media.fetching import Sources
from bezel.media.formats import PICTURES, SOUNDS, Kind, format_among
from bezel.media.images import picture_of
from bezel.text.messages import MediaPart, kind_of, media_of, normalise
from bezel.text.tools import NamedTool

_KINDS = ("image", "audio")
_RATE = 16_000
_ALWAYS = ("temperature", "top_p")  # so that an endpoint's own defaults never stand in for ours
_UNSENT = ("typical_p",)


def body_of(request: Request, model: str, endpoint: Endpoint) -> dict[str, Any]:
    """The body of `chat/completions`, or of `completions` where the request has a prompt instead of messages.

    Raises UnsupportedInputError for what the endpoint does not take, InvalidRequestError for what JSON has nothing for,
    ConstraintError for a schema that is no JSON, and what reading a message's files raises.
    """
    if (request.messages is None) == (request.prompt is None):
        raise InvalidRequestError("give either messages or a prompt")
    body: dict[str, Any] = {"model": model, "stream": True, "stream_options": {"include_usage": True}}
    if request.messages is not None:
        body["messages"] = _messages(request.messages, request.sources, "system" in endpoint.lacks)
    else:
        body["prompt"] = request.prompt if isinstance(request.prompt, str) else list(request.prompt or ())
    body |= _sampling(request.sampling)
    if request.max_tokens is not None:
        body["max_tokens"] = request.max_tokens
    if request.stop:
        body["stop"] = list(request.stop)
    if request.logprobs is not None:
        chat = {"logprobs": True, "top_logprobs": request.logprobs}
        body |= chat if "messages" in body else {"logprobs": request.logprobs}
    if request.offered:
        body["tools"] = [dict(tool) for tool in request.offered]
        if isinstance(request.tool_choice, NamedTool):
            body["tool_choice"] = {"type": "function", "function": {"name": request.tool_choice.name}}
        elif request.tool_choice != "auto":
            body["tool_choice"] = request.tool_choice
        if not request.parallel_tool_calls:
            body["parallel_tool_calls"] = False
    if request.constraint is not None:
        body |= _constraint(request.constraint)
    _check(body, endpoint)
    try:
        json.dumps(body, ensure_ascii=False, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequestError(f"the request cannot be written as JSON ({error})") from None
    return body


def _check(body: Mapping[str, Any], endpoint: Endpoint) -> None:
    own = {"top_k", "min_p", "repetition_penalty", "structured_outputs"} & set(body) - endpoint.also
    refused = sorted(own | (endpoint.lacks & set(body)))
    if refused:
        raise UnsupportedInputError(
            f"{endpoint.name} does not take {', '.join(refused)}; leave it out, or use another backend"
        )


def _sampling(sampling: Sampling) -> dict[str, Any]:
    """The parameters that differ from a sampling that changes nothing."""
    plain = Sampling()
    changed = {
        each.name: getattr(sampling, each.name)
        for each in fields(sampling)
        if each.name in _ALWAYS or getattr(sampling, each.name) != getattr(plain, each.name)
    }
    for name in _UNSENT:
        if name in changed:
            raise UnsupportedInputError(f"{name} has no field in OpenAI's protocol; leave it out, or load a model here")
    if "logit_bias" in changed:
        changed["logit_bias"] = {str(token): bias for token, bias in sampling.logit_bias.items()}
    if sampling.seed is not None:  # the protocol's are signed
        changed["seed"] = (sampling.seed + 2**63) % 2**64 - 2**63
    return changed


def _constraint(grammar: Grammar) -> dict[str, Any]:
    if grammar.kind == "schema":
        try:
            asked = json.loads(grammar.source)
        except (ValueError, RecursionError) as error:
            raise ConstraintError(f"the schema is not JSON ({error})") from None
        schema = {"name": "answer", "schema": asked, "strict": True}
        return {"response_format": {"type": "json_schema", "json_schema": schema}}
    if grammar.kind == "choices":
        return {"structured_outputs": {"choice": json.loads(grammar.source)}}
    return {"structured_outputs": {{"lark": "grammar"}.get(grammar.kind, grammar.kind): grammar.source}}


def _messages(messages: Sequence[Mapping[str, Any]], sources: Sources, fold_system: bool) -> list[dict[str, Any]]:
    """Checked, with files as data and call arguments as text; roles stay OpenAI's."""
    media = iter(media_of(messages, _KINDS))
    clean = normalise(messages, kinds=_KINDS)
    for message, sent in zip(messages, clean, strict=True):
        content = message.get("content")
        if isinstance(content, list | tuple):
            sent["content"] = [_part(part, media, sources) for part in content]
        for call in sent.get("tool_calls", ()):
            call["function"]["arguments"] = json.dumps(call["function"]["arguments"], ensure_ascii=False)
    return _folded(clean) if fold_system else clean


def _folded(messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
    told = "\n\n".join(message["content"] for message in messages if message["role"] == "system")
    rest = [message for message in messages if message["role"] != "system"]
    if told and rest:
        content = rest[0]["content"]
        more = [{"type": "text", "text": told}, *content] if isinstance(content, list) else f"{told}\n\n{content}"
        rest[0] = rest[0] | {"content": more}
    return rest


def _part(part: Mapping[str, Any], media: Any, sources: Sources) -> dict[str, Any]:
    if kind_of(part) is None:
        return {"type": "text", "text": part["text"]}
    found: MediaPart = next(media)
    if found.kind == "image":
        data, form = _image(found.source, sources)
        url = f"data:image/{form};base64,{base64.b64encode(data).decode()}"
        return {"type": "image_url", "image_url": {"url": url, "detail": found.detail}}
    data, form = _sound(found.source, sources)
    return {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": form}}


def _image(source: Any, sources: Sources) -> tuple[bytes, str]:
    source = file_bytes(source, sources)
    if isinstance(source, bytes):
        return source, format_among(source, (Kind.PICTURE,), PICTURES).name.lower()
    from PIL import Image

    file = io.BytesIO()
    Image.fromarray(picture_of(source)).save(file, "PNG")
    return file.getvalue(), "png"


def _sound(source: Any, sources: Sources) -> tuple[bytes, str]:
    source = file_bytes(source, sources)
    if isinstance(source, bytes):
        return source, format_among(source, (Kind.SOUND, Kind.VIDEO), SOUNDS).name.lower()
    if not isinstance(source, np.ndarray) or source.dtype != np.float32 or source.ndim != 1:
        raise InvalidRequestError(f"a sound is a {type(source).__name__}; send a path, bytes or float32 [samples]")
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((1, 2, _RATE, len(source), "NONE", ""))
        writer.writeframes(np.round(np.clip(source, -1, 1) * 32767).astype("<i2").tobytes())
    return file.getvalue(), "wav"
