"""Answers as Ollama's clients read them: each line holds a piece, the last one counts and times in nanoseconds."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from typing import Any

from bezel.backends.interface import Delta, Finish
from bezel.service.answers import Answers
from bezel.service.errors import ApiError
from bezel.text.calls import CallBroken, CallFinished

Json = dict[str, Any]


def written_at() -> str:
    """Now, as Ollama writes it."""
    return datetime.now(UTC).isoformat().replace("+00:00", "Z")


async def chunks(answers: Answers, model: str, chat: bool, began: float) -> AsyncIterator[Json]:
    """The answer while it is written; `began` by time.perf_counter. ApiError "generation" where no answer came."""

    def chunk(text: str, calls: Sequence[Json] = ()) -> Json:
        message: Json = {"role": "assistant", "content": text} | ({"tool_calls": list(calls)} if calls else {})
        piece: Json = {"message": message} if chat else {"response": text}
        return {"model": model, "created_at": written_at(), **piece, "done": False}

    broken = False
    async for _, event in answers:
        if isinstance(event, Delta):
            if event.text:
                yield chunk(event.text)
        elif isinstance(event, CallFinished):
            yield chunk("", [{"function": {"name": event.call.name, "arguments": dict(event.call.arguments)}}])
        elif isinstance(event, CallBroken):
            broken = True
        elif isinstance(event, Finish):
            if event.reason == "cancelled" or (broken and event.reason == "stop"):
                raise ApiError("generation")
            usage = event.usage
            yield chunk("") | {
                "done": True,
                "done_reason": event.reason,
                "total_duration": _nanoseconds(time.perf_counter() - began),
                "load_duration": 0,
                "prompt_eval_count": usage.prompt_tokens,
                "prompt_eval_duration": _nanoseconds(usage.prefill_seconds),
                "eval_count": usage.completion_tokens,
                "eval_duration": _nanoseconds(usage.decode_seconds),
            }


async def whole(answers: Answers, model: str, chat: bool, began: float) -> Json:
    """The answer, when it has ended. Raises as `chunks`."""
    texts: list[str] = []
    calls: list[Json] = []
    last: Json = {}
    async for last in chunks(answers, model, chat, began):
        message = last["message"] if chat else {"content": last["response"]}
        texts.append(message["content"])
        calls += message.get("tool_calls", ())
    text = "".join(texts)
    if not chat:
        return last | {"response": text}
    return last | {"message": {"role": "assistant", "content": text} | ({"tool_calls": calls} if calls else {})}


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
