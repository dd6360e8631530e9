"""A stream that another thread closes while one waits for its next event."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from bezel.backends.interface import Delta, Finish, Request
from bezel.backends.native import NativeBackend
from bezel.testing import instruction_sets

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
LONG = Request(prompt="word " * 20, max_tokens=400)


@pytest.fixture(scope="module")
def tiny() -> NativeBackend:
    return NativeBackend.load("tiny", threads=1)


def test_closing_from_another_thread_ends_the_request_within_a_step(
    tiny: NativeBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine, steps, events = tiny._driver.engine, [0], list[Any]()
    step = engine.step

    def slow() -> Any:
        steps[0] += 1
        time.sleep(0.1)
        return step()

    monkeypatch.setattr(engine, "step", slow)
    stream = tiny.stream(LONG)
    reader = threading.Thread(target=lambda: events.extend(stream))
    reader.start()
    while steps[0] < 3:
        time.sleep(0.001)
    stream.close()
    closed = steps[0]
    reader.join(10)
    assert not reader.is_alive() and steps[0] <= closed + 1
    while engine.busy:
        time.sleep(0.001)
    assert steps[0] <= closed + 1, "the step that was under way, and the one that cancels"
    assert all(isinstance(event, Delta | Finish) for event in events)
    assert tiny.statistics().running == 0


def test_what_is_closed_before_it_began_never_begins(tiny: NativeBackend) -> None:
    before = tiny.statistics().steps
    stream = tiny.stream(LONG)
    stream.close()
    assert list(stream) == [] and tiny.statistics().steps == before


def test_what_is_closed_while_it_begins_ends_at_once(tiny: NativeBackend, monkeypatch: pytest.MonkeyPatch) -> None:
    begins, go = threading.Event(), threading.Event()
    submit = tiny._submit

    def slow(*arguments: Any) -> Any:
        begins.set()
        go.wait()
        return submit(*arguments)

    monkeypatch.setattr(tiny, "_submit", slow)
    stream, events = tiny.stream(LONG), list[Any]()
    reader = threading.Thread(target=lambda: events.extend(stream))
    reader.start()
    begins.wait()
    stream.close()
    go.set()
    reader.join(10)
    assert not reader.is_alive() and events == []
    deadline = time.monotonic() + 10
    while tiny._driver.engine.busy and time.monotonic() < deadline:
        time.sleep(0.001)
    assert not tiny._driver.engine.busy


def test_text_of_ids(tiny: NativeBackend) -> None:
    from bezel.errors import InvalidRequestError

    ids = tiny.prompt_ids(Request(prompt="Hello"))
    assert tiny.text_of(ids) == "<bos>Hello"
    for wrong in (-1, tiny.model.vocabulary):
        with pytest.raises(InvalidRequestError, match="there is no token"):
            tiny.text_of([wrong])
