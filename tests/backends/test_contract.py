"""Every backend keeps the contract, whatever it runs on and in whichever process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from bezel.backends.child.backend import ChildBackend, open_child
from bezel.backends.interface import Backend, Delta, Finish, Hearer, Request
from bezel.backends.native import NativeBackend
from bezel.errors import ConstraintError, ContextLengthError, InvalidRequestError, MediaError, UnsupportedInputError
from bezel.generation.constraints.grammar import Grammar
from bezel.generation.sampling import Sampling
from bezel.media.fetching import Sources
from bezel.testing import CounterBackend, instruction_sets
from bezel.text.calls import CallDelta, CallFinished, CallStarted
from bezel.text.tools import NamedTool
from bezel.weights import embedded

built = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
GREEDY = Sampling(temperature=0.0)
ASKS = [{"role": "user", "content": "What is 17 + 25?"}]
LONG = Request(prompt="word " * 20, max_tokens=400, sampling=Sampling(logit_bias={1: -100.0}))


def tool(name: str, **schema: Any) -> dict[str, Any]:
    properties = {"count": {"type": "integer", **schema}}
    return {"type": "function", "function": {"name": name, "parameters": {"type": "object", "properties": properties}}}


WRITES = str(embedded.writing().model)
"""Of the embedded models the one that neither sees nor hears."""


@pytest.fixture(scope="module")
def child() -> Iterator[ChildBackend]:
    found = open_child(model=WRITES, threads=1)
    yield found
    found.close()


@pytest.fixture(scope="module")
def native() -> NativeBackend:
    return NativeBackend.load(WRITES, threads=1)


@pytest.fixture(params=["counter", pytest.param("native", marks=built), pytest.param("child", marks=built)])
def backend(request: pytest.FixtureRequest) -> Backend:
    if request.param == "counter":
        return CounterBackend(count=500, delay=0.001)
    found: Backend = request.getfixturevalue(request.param)
    return found


def test_deltas_and_one_finish_with_the_usage(backend: Backend) -> None:
    *deltas, last = backend.stream(Request(prompt="one two", max_tokens=6, logprobs=2, sampling=GREEDY))
    assert all(isinstance(each, Delta) for each in deltas) and isinstance(last, Finish)
    tokens = [token for each in deltas if isinstance(each, Delta) for token in each.tokens]
    assert len(tokens) == last.usage.completion_tokens <= 6
    assert all(len(token.top) <= 2 and token.logprob <= 0 for token in tokens)
    assert last.usage.prompt_tokens == len(backend.prompt_ids(Request(prompt="one two")))


def test_what_is_loaded(backend: Backend) -> None:
    about = backend.describe()
    assert about["model"] and about["context"] > 1
    assert isinstance(backend.sampling, Sampling) and backend.health() == {"status": "healthy"}
    ids = list(backend.prompt_ids(Request(messages=ASKS)))
    assert ids and isinstance(backend.text_of(ids), str)
    with pytest.raises(InvalidRequestError):
        backend.text_of([10**6])


def test_a_tool_that_must_be_called(backend: Backend) -> None:
    tools = [tool("count_up"), tool("count_down", maximum=10**30)]  # more than 64 bits
    asked = Request(messages=ASKS, tools=tools, tool_choice=NamedTool("count_up"), sampling=GREEDY, max_tokens=60)
    events = list(backend.stream(asked))
    assert [each.name for each in events if isinstance(each, CallStarted)] == ["count_up"]
    written = "".join(each.arguments for each in events if isinstance(each, CallDelta))
    (finished,) = [each for each in events if isinstance(each, CallFinished)]
    assert finished.call.name == "count_up" and finished.call.arguments_json() == written


def test_a_stop_string_ends_the_answer(backend: Backend) -> None:
    *deltas, last = backend.stream(Request(messages=ASKS, stop=("2",), sampling=GREEDY, max_tokens=40))
    assert "2" not in "".join(each.text for each in deltas if isinstance(each, Delta))
    assert isinstance(last, Finish) and last.reason == "stop"


def test_closing_ends_a_stream_that_another_thread_waits_for(backend: Backend) -> None:
    stream, events = backend.stream(LONG), list[Any]()
    began = threading.Event()

    def read() -> None:
        for event in stream:
            events.append(event)
            began.set()

    reader = threading.Thread(target=read)
    reader.start()
    began.wait(30)
    stream.close()
    reader.join(10)
    assert not reader.is_alive() and len(events) < 400
    with pytest.raises(StopIteration):
        next(stream)


def test_what_is_closed_before_it_began_never_begins(backend: Backend) -> None:
    stream = backend.stream(LONG)
    stream.close()
    assert list(stream) == []


def test_a_prompt_that_does_not_fit(backend: Backend) -> None:
    long = Request(prompt=[3] * 10_000)
    with pytest.raises(ContextLengthError):
        list(backend.stream(long))


def test_streams_side_by_side_are_those_of_one_alone(backend: Backend) -> None:
    def answer(seed: int) -> str:
        asked = Request(messages=ASKS, sampling=Sampling(seed=seed), max_tokens=12)
        return "".join(each.text for each in backend.stream(asked) if isinstance(each, Delta))

    alone = [answer(seed) for seed in range(4)]
    found: dict[int, str] = {}
    threads = [threading.Thread(target=lambda seed=seed: found.update({seed: answer(seed)})) for seed in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[seed] for seed in range(4)] == alone


@built
def test_the_process_answers_as_the_engine_here(child: ChildBackend, native: NativeBackend) -> None:
    for asked in (
        Request(messages=ASKS, sampling=GREEDY, max_tokens=20, logprobs=3),
        Request(messages=ASKS, sampling=Sampling(seed=2**64 - 1, logit_bias={5: -3.5}), max_tokens=20),
        Request(messages=ASKS, constraint=Grammar.regex("[a-f]{3,9}"), sampling=GREEDY, max_tokens=20),
        Request(prompt=[2, 400, 500], sampling=GREEDY, max_tokens=5),
    ):
        ours, theirs = (list(each.stream(asked)) for each in (native, child))
        assert ours[:-1] == theirs[:-1]
        assert isinstance(ours[-1], Finish) and isinstance(theirs[-1], Finish)
        assert (ours[-1].reason, ours[-1].usage.completion_tokens) == (
            theirs[-1].reason,
            theirs[-1].usage.completion_tokens,
        )
    assert child.describe() == native.describe() and child.sampling == native.sampling


@built
@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (Request(messages=ASKS, constraint=Grammar.regex("(")), ConstraintError),
        (Request(messages=ASKS, prompt="too"), InvalidRequestError),
        (Request(messages=[{"role": "user", "content": [{"type": "image", "image": "a.png"}]}]), UnsupportedInputError),
        (Request(prompt="\ud800"), InvalidRequestError),
        (Request(messages=[{"role": "user", "content": object()}]), InvalidRequestError),
    ],
)
def test_errors_of_the_process_are_those_of_the_engine(
    child: ChildBackend, asked: Request, error: type[Exception]
) -> None:
    with pytest.raises(error):
        list(child.stream(asked))
    assert child.health() == {"status": "healthy"}


@built
def test_a_process_that_does_not_hear_says_so(child: ChildBackend) -> None:
    assert isinstance(child, Hearer)
    with pytest.raises(UnsupportedInputError, match="does not hear"):
        child.sound(np.zeros(8, np.float32), Sources())
    assert not issubclass(UnsupportedInputError, MediaError)
