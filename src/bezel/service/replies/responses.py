"""Responses as OpenAI's clients read them: items, and the events by which they grow."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from bezel.backends.interface import Delta, Event, Finish
from bezel.service.answers import Answers
from bezel.service.errors import ApiError
from bezel.service.replies.common import new_id, now
from bezel.service.requests.responses import ResponseRequest
from bezel.text.calls import CallBroken, CallDelta, CallFinished, CallStarted

Json = dict[str, Any]
_CUT = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Why a response is incomplete, by what ended the answer."""


async def whole(answers: Answers, body: ResponseRequest) -> Json:
    """The response, when it has ended."""
    writing = Writing(body)
    async for _, event in answers:
        for _ in writing.take(event):
            pass
    return writing.ended(answers)


async def events(answers: Answers, body: ResponseRequest) -> AsyncIterator[Json]:
    """The response while it is written."""
    writing, number = Writing(body), 0

    def numbered(event: Json) -> Json:
        nonlocal number
        number += 1
        return {**event, "sequence_number": number - 1}

    for kind in ("created", "in_progress"):
        yield numbered({"type": f"response.{kind}", "response": writing.card("in_progress")})
    async for _, event in answers:
        for each in writing.take(event):
            yield numbered(each)
    response = writing.ended(answers)
    yield numbered({"type": f"response.{response['status']}", "response": response})


class Writing:
    """One response, as far as it has come."""

    def __init__(self, body: ResponseRequest) -> None:
        self._body, self._created, self._id = body, now(), new_id("resp")
        self._items: list[Json] = []
        self._calls: dict[int, int] = {}
        self._said: int | None = None
        self._reason, self._broken = "", False

    def take(self, event: Event) -> Iterator[Json]:
        """The events that a backend's event becomes. ApiError "generation" where no answer came of it."""
        if isinstance(event, Delta):
            if event.text:
                yield from self._text(event.text)
        elif isinstance(event, CallStarted):
            yield from self._close()
            item = {"type": "function_call", "id": new_id("fc"), "call_id": new_id("call"), "name": event.name}
            self._calls[event.index] = len(self._items)
            yield from self._open({**item, "arguments": "", "status": "in_progress"})
        elif isinstance(event, CallDelta):
            place = self._calls[event.index]
            self._items[place]["arguments"] += event.arguments
            yield self._event("function_call_arguments.delta", place, delta=event.arguments)
        elif isinstance(event, CallFinished):
            place = self._calls[event.index]
            item = self._items[place]
            item |= {"arguments": event.call.arguments_json(), "status": "completed"}
            about = {"name": item["name"], "arguments": item["arguments"]}
            yield self._event("function_call_arguments.done", place, **about)
            yield {"type": "response.output_item.done", "output_index": place, "item": dict(item)}
        elif isinstance(event, CallBroken):
            self._broken = True
        elif isinstance(event, Finish):
            if event.reason == "cancelled" or (self._broken and event.reason == "stop"):
                raise ApiError("generation")
            self._reason = event.reason
            yield from self._close()

    def ended(self, answers: Answers) -> Json:
        """The whole response, with its usage. What was cut off is incomplete."""
        cut = _CUT.get(self._reason)
        for item in self._items:
            if item["status"] == "in_progress":
                item["status"] = "incomplete"
        if cut and self._items and self._items[-1]["type"] == "message":
            self._items[-1]["status"] = "incomplete"
        prompt, written = answers.prompt_tokens, answers.completion_tokens
        usage = {
            "input_tokens": prompt,
            "input_tokens_details": {"cached_tokens": answers.cached_tokens, "cache_write_tokens": 0},
            "output_tokens": written,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": prompt + written,
        }
        why = {"reason": cut} if cut else None
        return {**self.card("incomplete" if cut else "completed"), "incomplete_details": why, "usage": usage}

    def card(self, status: str) -> Json:
        """The response as it stands."""
        body = self._body
        said = body.model_dump(exclude_none=True, by_alias=True, include={"tools", "tool_choice", "text"})
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._created,
            "status": status,
            "error": None,
            "incomplete_details": None,
            "instructions": body.instructions,
            "max_output_tokens": body.max_output_tokens,
            "metadata": body.metadata or {},
            "model": body.model,
            "output": [dict(item) for item in self._items],
            "parallel_tool_calls": body.parallel_tool_calls is not False,
            "previous_response_id": None,
            "store": False,
            "temperature": body.temperature,
            "text": said.get("text") or {"format": {"type": "text"}},
            "tool_choice": said.get("tool_choice", "auto"),
            "tools": said.get("tools", []),
            "top_p": body.top_p,
            "truncation": "disabled",
            "usage": None,
        }

    def _text(self, text: str) -> Iterator[Json]:
        if self._said is None:
            self._said = len(self._items)
            item = {"type": "message", "id": new_id("msg"), "role": "assistant", "status": "in_progress"}
            yield from self._open({**item, "content": []})
            self._items[-1]["content"] = [_part("")]
            yield self._event("content_part.added", self._said, content_index=0, part=_part(""))
        part = self._items[self._said]["content"][0]
        part["text"] += text
        yield self._event("output_text.delta", self._said, content_index=0, delta=text, logprobs=[])

    def _close(self) -> Iterator[Json]:
        """End the message that is being written."""
        if self._said is None:
            return
        place, item = self._said, self._items[self._said]
        self._said = None
        item["status"] = "completed"
        text = item["content"][0]["text"]
        yield self._event("output_text.done", place, content_index=0, text=text, logprobs=[])
        yield self._event("content_part.done", place, content_index=0, part=_part(text))
        yield {"type": "response.output_item.done", "output_index": place, "item": {**item, "content": [_part(text)]}}

    def _open(self, item: Json) -> Iterator[Json]:
        self._items.append(item)
        yield {"type": "response.output_item.added", "output_index": len(self._items) - 1, "item": dict(item)}

    def _event(self, kind: str, place: int, **fields: Any) -> Json:
        return {"type": f"response.{kind}", "item_id": self._items[place]["id"], "output_index": place, **fields}


def _part(text: str) -> Json:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
