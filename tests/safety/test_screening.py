"""A backend's events behind a policy: what is blocked, what is changed, and what a backend never sees."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import pytest

from bezel.backends.interface import Delta, Event, Finish, Request, TokenLogprob, Usage
from bezel.errors import (
    ContentBlockedError,
    ContextLengthError,
    InvalidRequestError,
    MediaSourceError,
    UnsupportedInputError,
)
from bezel.safety.classifier import Classifier
from bezel.safety.content import ContentPolicy
from bezel.safety.guard import Guard
from bezel.safety.patterns import Pattern
from bezel.safety.rules import Rule
from bezel.safety.screening import Screened
from bezel.testing import CounterBackend
from bezel.text.calls import Call, CallBroken, CallDelta, CallFinished, CallStarted
from tests.safety.test_classifier import Scripted

USAGE = Usage(3, 9, 0.1, 0.2)
ANSWERED = {"role": "assistant", "content": "x"}
CHAT = Request(messages=[{"role": "user", "content": "say it"}])


class Events:
    def __init__(self, events: Sequence[Event]) -> None:
        self._events, self.closed, self.taken = iter(events), False, 0

    def __iter__(self) -> Iterator[Event]:
        return self

    def __next__(self) -> Event:
        if self.closed:
            raise StopIteration
        self.taken += 1
        return next(self._events)

    def close(self) -> None:
        self.closed = True


class Fixed(CounterBackend):
    """Gives these events, and counts how often it is asked."""

    def __init__(self, *events: Event) -> None:
        super().__init__()
        self.given, self.streams = [*events, Finish("stop", USAGE)], list[Events]()

    def stream(self, request: Request) -> Any:
        self.asked = request
        self.streams.append(Events(self.given))
        return self.streams[-1]


def said(*texts: str) -> list[Delta]:
    return [Delta(text, (TokenLogprob(1, text, -0.5),)) for text in texts]


def policy(*rules: tuple[str, str], guard: Guard | None = None, **options: Any) -> ContentPolicy:
    made = tuple(Rule(source, action, (Pattern(source),)) for source, action in rules)  # type: ignore[arg-type]
    return ContentPolicy(made, guard=guard, **options)


def through(
    screened: ContentPolicy, backend: Any, request: Request = CHAT, streamed: bool = True
) -> tuple[str, list[Event], list[tuple[str, ...]]]:
    told: list[tuple[str, ...]] = []
    events = list(Screened(screened, backend, request, lambda *what: told.append(what), streamed))
    return "".join(event.text for event in events if isinstance(event, Delta)), events, told


@pytest.mark.parametrize("streamed", [True, False])
def test_a_blocked_answer_ends_there(streamed: bool) -> None:
    backend = Fixed(*said("well ", "this is Ze", "us and ", "more", " of it", "!"))
    text, events, told = through(policy(("Zeus", "block"), hold_back=8), backend, streamed=streamed)
    assert text in ("", "well th") and "Ze" not in text
    assert isinstance(events[-1], Finish) and events[-1].reason == "content_filter"
    assert told == [("Zeus", "block", "output")]
    (stream,) = backend.streams
    tokens = (events[-1].usage.prompt_tokens, events[-1].usage.completion_tokens)
    assert stream.closed and tokens == ((2, stream.taken) if streamed else (3, 9))


@pytest.mark.parametrize("streamed", [True, False])
def test_what_is_redacted_or_flagged_goes_on(streamed: bool) -> None:
    backend = Fixed(*said("at T-", "12", "34 or", " so"))
    made = policy(("T-[0-9]+", "redact"), ("so", "flag"), hold_back=10)
    text, events, told = through(made, backend, streamed=streamed)
    assert text == "at [T-[0-9]+] or so" and events[-1] == Finish("stop", USAGE)
    assert sorted(told) == [("T-[0-9]+", "redact", "output"), ("so", "flag", "output")]


def test_tokens_are_counted_at_once_and_never_spelled_before_the_text() -> None:
    backend = Fixed(*said("a", "b", "secret", "c"))
    (first, *_) = Screened(policy(("secret", "redact")), backend, CHAT, lambda *_: None, True)
    assert first == Delta("", said("a")[0].tokens)
    asked = Request(messages=CHAT.messages, logprobs=0)
    _, events, _ = through(policy(("secret", "redact")), backend, asked)
    assert not any(event.tokens for event in events if isinstance(event, Delta))
    _, events, _ = through(policy(("others", "redact")), backend, asked)
    tokens = [token.text for event in events if isinstance(event, Delta) for token in event.tokens]
    assert tokens == ["a", "b", "secret", "c"]


def call(arguments: dict[str, Any], index: int = 0) -> list[Event]:
    whole = Call("send", arguments)
    return [CallStarted(index, "send"), CallDelta(index, whole.arguments_json()), CallFinished(index, whole)]


def test_calls_are_looked_at_too() -> None:
    fine = call({"to": "you", "count": 3})
    _, events, _ = through(policy(("Zeus", "block"), ("T-[0-9]+", "redact")), Fixed(*said("ok"), *fine))
    assert [event for event in events if not isinstance(event, Delta | Finish)] == fine
    changed = call({"to": ["T-12"], "n": {"T-3": True}})
    _, events, _ = through(policy(("T-[0-9]+", "redact")), Fixed(*changed))
    after = Call("send", {"to": ["[T-[0-9]+]"], "n": {"[T-[0-9]+]": True}})
    assert events[:3] == [CallStarted(0, "send"), CallDelta(0, after.arguments_json()), CallFinished(0, after)]
    text, events, _ = through(policy(("Zeus", "block")), Fixed(*said("it "), *call({"to": "Zeus"})))
    assert text == "" and len(events) == 2 and isinstance(events[-1], Finish) and events[-1].reason == "content_filter"
    number = call({"card": 4111111111111111})
    _, events, _ = through(policy(("4111[0-9]+", "redact")), Fixed(*number))
    assert isinstance(events[2], CallFinished) and events[2].call.arguments == {"card": "[4111[0-9]+]"}


def test_a_call_that_is_cut_off_shows_nothing_of_its_arguments() -> None:
    broken = [CallStarted(0, "send"), CallDelta(0, '{"to":"Ze'), CallBroken(0, "send", "x", "y")]
    _, events, _ = through(policy(("Zeus", "block")), Fixed(*broken))
    assert events == [broken[2], Finish("stop", USAGE)]


def guard(word: str = "lock") -> Guard:
    return Guard("judge", Classifier(Scripted(word), policies=["dangerous", "hate"]))


def test_what_the_guard_blocks_never_reaches_the_backend() -> None:
    backend = Fixed(*said("fine"))
    for messages in (
        [{"role": "user", "content": "a lock"}],
        [{"role": "system", "content": "a lock"}, {"role": "user", "content": "hi"}],
        [{"role": "user", "content": "a lock"}, ANSWERED, {"role": "user", "content": "hi"}],
        [{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "lock"}]}],
        [{"role": "tool", "content": "lock", "tool_call_id": "x"}],
    ):
        with pytest.raises(ContentBlockedError):
            through(policy(guard=guard()), backend, Request(messages=messages))
    for prompt in ("a lock", [7, 8]):
        with pytest.raises(ContentBlockedError):
            through(policy(guard=guard("7 8" if isinstance(prompt, list) else "lock")), backend, Request(prompt=prompt))
    with pytest.raises(UnsupportedInputError, match="text alone"):
        image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,xx"}}
        through(policy(guard=guard()), backend, Request(messages=[{"role": "user", "content": [image]}]))
    assert backend.streams == []
    told = through(policy(guard=guard()), backend)[2]
    assert told == [] and len(backend.streams) == 1


def test_what_violates_is_told_by_policy() -> None:
    told: list[tuple[str, ...]] = []
    request = Request(messages=[{"role": "user", "content": "a lock"}])
    with pytest.raises(ContentBlockedError):
        next(Screened(policy(guard=guard()), Fixed(), request, lambda *what: told.append(what), True))
    assert told == [("guard/dangerous", "block", "input"), ("guard/hate", "block", "input")]


@pytest.mark.parametrize("streamed", [True, False])
def test_an_answer_is_judged_before_it_is_sent(streamed: bool) -> None:
    backend = Fixed(*said("how ", "to ", "pick ", "a lock ", "of ", "it"))
    made = policy(guard=guard(), hold_back=1, guard_every=6)
    text, events, told = through(made, backend, streamed=streamed)
    assert "lock" not in text and text == ("how to" if streamed else "")
    assert isinstance(events[-1], Finish) and events[-1].reason == "content_filter"
    assert told == [("guard/dangerous", "block", "output"), ("guard/hate", "block", "output")]
    backend = Fixed(*said("nothing"), *call({"to": "pick a lock"}))
    assert through(made, backend, streamed=streamed)[1][-1].reason == "content_filter"  # type: ignore[union-attr]
    text, events, _ = through(made, Fixed(*said("all ", "is ", "well ", "here")), streamed=streamed)
    assert text == "all is well here" and events[-1] == Finish("stop", USAGE)


def test_an_answer_is_judged_beside_the_last_question() -> None:
    model = Scripted("never")
    judge = Guard("judge", Classifier(model, policies=["hate"]))
    messages = [{"role": "user", "content": "one"}, ANSWERED, {"role": "user", "content": "two"}]
    through(policy(guard=judge), Fixed(*said("an answer")), Request(messages=messages))
    assert [asked.count("Human Question: two") for asked in model.asked] == [0, 1, 1]
    assert "Chatbot Response: an answer" in model.asked[-1]


def test_a_guard_of_images_holds_no_text_back() -> None:
    seen: Any = object()
    made = policy(guard=Guard("sees", None, seen), hold_back=1, guard_every=100)
    first = next(iter(Screened(made, Fixed(*said("ab", "c")), Request(prompt="x"), lambda *_: None, True)))
    assert isinstance(first, Delta) and first.text == "a"


def test_earlier_messages_are_judged_once() -> None:
    model = Scripted("never")
    judge = Guard("judge", Classifier(model, policies=["hate"]))
    for _ in range(3):
        judge.passed(CHAT, "", lambda key: None)
    assert len(model.asked) == 1


def test_a_text_that_is_too_long_for_the_guard_is_not_answered() -> None:
    model = Scripted()
    model.next_logits = lambda ids: (_ for _ in ()).throw(ContextLengthError("9 tokens of 8"))  # type: ignore[method-assign]
    with pytest.raises(ContextLengthError, match="the guard cannot read so long a text"):
        through(policy(guard=Guard("judge", Classifier(model))), Fixed())


def test_closing_closes_the_stream_behind() -> None:
    backend = CounterBackend(count=1000, delay=0.01)
    events = Screened(policy(("x", "block")), backend, CHAT, lambda *_: None, True)
    next(events)
    reader = threading.Thread(target=lambda: list(events))
    reader.start()
    events.close()
    reader.join()
    assert backend.running == 0 and backend.cancelled == 1
    unread = Screened(policy(("x", "block")), backend, CHAT, lambda *_: None, True)
    unread.close()
    assert list(unread) == [] and backend.produced < 1000


class Kind(Scripted):
    def __init__(self, architecture: str) -> None:
        super().__init__()
        self._architecture = architecture

    def describe(self) -> dict[str, str]:
        return {"architecture": self._architecture}


def test_models_judge_what_they_are_made_for() -> None:
    both = Guard.of({"a": Kind("gemma2"), "b": Kind("shieldgemma2")}, keys=["hate", "violence"])
    assert both.name == "a + b" and both.texts is not None and both.images is not None
    with pytest.raises(InvalidRequestError, match="two guards judge texts"):
        Guard.of({"a": Kind("gemma2"), "b": Kind("gemma2")})
    with pytest.raises(InvalidRequestError, match="a judges none of violence"):
        Guard.of({"a": Kind("gemma2")}, keys=["violence"])
    with pytest.raises(InvalidRequestError, match="unknown policy 'fun'"):
        Guard.of({"a": Kind("gemma2")}, keys=["hate", "fun"])
    with pytest.raises(MediaSourceError):
        both.image("/etc/hostname")
