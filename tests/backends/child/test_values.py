"""What crosses the pipe arrives as it was."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bezel.backends.child.values import decoder, encoded
from bezel.backends.child.wire import FAILURE, REQUEST, Failure, Pipe, Tag, failure, framed, raised
from bezel.backends.interface import Request
from bezel.errors import ContextLengthError, EngineError, InvalidRequestError, OverloadedError
from bezel.generation.constraints.grammar import Grammar
from bezel.generation.sampling import Sampling
from bezel.media.fetching import Sources
from bezel.text.tools import NamedTool


def test_a_request_with_everything_in_it() -> None:
    parts = [
        {"type": "audio", "audio": np.linspace(-1, 1, 7, dtype=np.float32)},
        {"type": "image", "image": np.arange(24, dtype=np.uint8).reshape(2, 4, 3)},
        {"type": "image", "image": Path("a/b.png")},
        {"type": "image", "image": b"\x00\xff"},
    ]
    asked = Request(
        messages=[{"role": "user", "content": parts}],
        tools=[{"function": {"name": "f", "parameters": {"minimum": -(10**40), "maximum": 2**64}}}],
        sampling=Sampling(temperature=0.5, logit_bias={7: -1.25}, seed=2**64 - 1),
        stop=("a", "b"),
        tool_choice=NamedTool("f"),
        constraint=Grammar.choices(["x"]),
        sources=Sources(files=True, ports=frozenset({8080})),
    )
    back = REQUEST.decode(encoded(asked))
    assert back.tools == asked.tools and back.sampling == asked.sampling and back.stop == asked.stop
    assert (back.tool_choice, back.constraint, back.sources) == (asked.tool_choice, asked.constraint, asked.sources)
    found = back.messages[0]["content"]
    for ours, theirs in zip(parts[:2], found[:2], strict=True):
        kind = str(ours["type"])
        assert np.array_equal(ours[kind], theirs[kind]) and ours[kind].dtype == theirs[kind].dtype  # type: ignore[attr-defined]
    assert found[2:] == parts[2:]


def test_a_picture_becomes_its_pixels() -> None:
    image = Image.new("L", (3, 2), 7)
    assert decoder(Any).decode(encoded(image)).tolist() == np.full((2, 3, 3), 7).tolist()


@pytest.mark.parametrize("value", [object(), "\udc00", {"a": {1, object}}])
def test_what_cannot_cross_is_refused(value: Any) -> None:
    with pytest.raises(InvalidRequestError):
        encoded(value)


def test_an_array_of_objects_is_not_made() -> None:
    import msgspec

    evil = msgspec.msgpack.Ext(1, msgspec.msgpack.encode(("|O", (1,), b"\x00" * 8)))
    with pytest.raises(ValueError, match="OBJECT"):
        decoder(Any).decode(msgspec.msgpack.encode(evil))


def test_errors_keep_their_class_and_words() -> None:
    for error in (ContextLengthError("too long"), OverloadedError("full", 3)):
        back = raised(FAILURE.decode(encoded(failure(error))))
        assert type(back) is type(error) and str(back) == str(error)
    for kind in ("MemoryError", "annotations", "SystemExit"):
        assert type(raised(Failure(kind, "words"))) is EngineError


def test_messages_come_whole_however_they_are_cut() -> None:
    (ours, theirs), (back, forth) = os.pipe(), os.pipe()
    pipe, sent = Pipe(ours, forth), [framed(n, Tag.VALUE, "x" * n) for n in (0, 5, 70_000, 3)]

    def write() -> None:
        whole = b"".join(sent)
        for place in range(0, len(whole), 997):
            os.write(theirs, whole[place : place + 997])
        os.close(theirs)

    writer = threading.Thread(target=write)
    writer.start()
    found = list(pipe.messages())
    writer.join()
    assert [(m.number, m.tag, len(decoder(str).decode(m.body))) for m in found] == [
        (n, Tag.VALUE, n) for n in (0, 5, 70_000, 3)
    ]
    pipe.close()
    os.close(back)


def test_threads_send_whole_messages_in_their_own_order() -> None:
    ours, theirs = os.pipe()
    sender, reader = Pipe(os.dup(ours), theirs), Pipe(ours, os.dup(theirs))

    def send(number: int) -> None:
        for place in range(200):
            sender.send(framed(number, Tag.VALUE, f"{place}" * 50))

    threads = [threading.Thread(target=send, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    messages, seen = reader.messages(), {number: list[int]() for number in range(8)}
    for _ in range(8 * 200):
        message = next(messages)
        text = decoder(str).decode(message.body)
        seen[message.number].append(int(text[: len(text) // 50]))
    for thread in threads:
        thread.join()
    assert all(places == list(range(200)) for places in seen.values())
    sender.close()
    reader.close()


def test_a_length_that_cannot_be_is_refused() -> None:
    ours, theirs = os.pipe()
    os.write(theirs, b"\xff\xff\xff\xff1234")
    with pytest.raises(ValueError, match="bytes"):
        next(Pipe(ours, theirs).messages())
    os.close(ours)
    os.close(theirs)
