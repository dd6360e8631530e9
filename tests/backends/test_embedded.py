"""tiny hands a conversation to the model that takes what it holds."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bezel
from bezel.backends.embedded import EmbeddedBackend
from bezel.backends.interface import Request
from bezel.backends.native import NativeBackend
from bezel.errors import ContextLengthError, UnsupportedInputError
from bezel.testing import GEMMA3_VISION, instruction_sets, write_checkpoint
from bezel.training.data.pictures import fonts
from bezel.training.data.pictures.canvas import Canvas, Drawn
from bezel.training.data.pictures.charts import Chart, Look, draw
from bezel.weights import embedded
from bezel.weights.embedded import Embedded

pytestmark = pytest.mark.skipif(not instruction_sets(), reason="the compiled kernels are not built")
OPTIONS: dict[str, Any] = {"max_tokens": 4, "temperature": 0.0, "speculation": "off"}
PICTURE = np.random.default_rng(1).integers(0, 256, (30, 40, 3), np.uint8)
WORDS, SHOWN = "Hello", [{"role": "user", "content": [{"type": "image", "image": PICTURE}]}]
HEARD = [{"role": "user", "content": [{"type": "audio", "audio": np.zeros(1600, np.float32)}]}]


@pytest.fixture(scope="module")
def seeing(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_checkpoint(tmp_path_factory.mktemp("sees"), config=GEMMA3_VISION, prefix="language_model.model.")


@pytest.fixture
def tiny(seeing: Path, monkeypatch: pytest.MonkeyPatch) -> bezel.Model:
    """The embedded model beside one that sees; nothing hears."""
    monkeypatch.setattr("bezel.backends.embedded.taking", lambda kind: Embedded(seeing) if kind == "image" else None)
    return bezel.load("tiny")


def test_a_picture_goes_to_the_one_that_sees_and_words_to_the_one_that_writes(tiny: bezel.Model, seeing: Path) -> None:
    sees, writes = bezel.load(str(seeing)), bezel.load(str(embedded.writing().model))
    assert tiny.chat(SHOWN, **OPTIONS).token_ids == sees.chat(SHOWN, **OPTIONS).token_ids
    assert tiny.prompt_ids(SHOWN) == sees.prompt_ids(SHOWN) and tiny.prompt_ids(WORDS) == writes.prompt_ids(WORDS)
    assert tiny.chat(WORDS, **OPTIONS).token_ids == writes.chat(WORDS, **OPTIONS).token_ids
    np.testing.assert_array_equal(tiny.next_logits(messages=SHOWN), sees.next_logits(messages=SHOWN))
    together = tiny.chat_batch([WORDS, SHOWN, WORDS], **OPTIONS)
    assert [each.token_ids for each in together] == [
        each.chat(messages, **OPTIONS).token_ids for each, messages in ((writes, WORDS), (sees, SHOWN), (writes, WORDS))
    ]
    assert tiny.statistics().tokens > max(sees.statistics().tokens, writes.statistics().tokens)


def test_the_one_that_sees_is_read_with_the_first_picture_and_once(
    tiny: bezel.Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []
    load = NativeBackend.load
    monkeypatch.setattr(NativeBackend, "load", lambda *names, **more: opened.append(names[0]) or load(*names, **more))
    tiny.chat(WORDS, **OPTIONS)
    assert tiny.describe()["images"] and not tiny.describe()["sounds"] and not opened
    tiny.chat(SHOWN, **OPTIONS)
    tiny.chat([*SHOWN, {"role": "assistant", "content": "x"}, {"role": "user", "content": "y"}], **OPTIONS)
    assert len(opened) == 1
    tiny.release_towers()
    assert tiny.chat(SHOWN, **OPTIONS).usage.prompt_tokens > 16


def test_every_one_holds_what_was_asked_for_as_far_as_it_can(tiny: bezel.Model) -> None:
    """The one that sees here has 512 tokens at most."""
    with pytest.raises(ContextLengthError, match=r"exceed the context of 512; ask for \d+ new ones at most, for this"):
        tiny.chat(SHOWN, **OPTIONS | {"max_tokens": 1000})
    small = bezel.load("tiny", context=60)
    assert small.chat(SHOWN, **OPTIONS).usage.prompt_tokens + 4 < 60
    with pytest.raises(ContextLengthError, match=r"exceed the context of 60; .* with a context of up to 512$"):
        small.chat(SHOWN, **OPTIONS | {"max_tokens": 100})
    with pytest.raises(ContextLengthError, match=r"the context holds 60; shorten it or load .* up to 2048$"):
        small.chat("What is 17 + 25? " * 60, **OPTIONS)


def test_the_eyes_of_the_package_read_charts_and_receipts() -> None:
    """In letters that were never trained on; one slip is let pass."""
    tiny, wrong = bezel.load("tiny"), []

    def ask(picture: Drawn, question: str, expected: str) -> None:
        parts = [{"type": "image", "image": picture.image}, {"type": "text", "text": question}]
        answer = tiny.chat([{"role": "user", "content": parts}], max_tokens=40, temperature=0.0).text
        if answer != expected:
            wrong.append((question, answer, expected))

    bars = draw(Chart("bar", "Rain", ("Rome", "Oslo", "Lima"), (80, 30, 55), Look()))
    slices = draw(Chart("pie", "Fruit", ("Pear", "Plum", "Fig"), (60, 25, 15), Look(printed=True)))
    points = draw(Chart("line", "Visitors", ("May", "Jun", "Jul", "Aug"), (100, 200, 300, 400), Look()))
    ask(bars, "Which is the highest?", "Rome")
    ask(bars, "Which is the lowest?", "Oslo")
    ask(bars, "What is the value for Oslo?", "30")
    ask(slices, "What is the biggest part?", "Pear")
    ask(slices, "What share is Plum?", "25")
    ask(points, "Is it rising or falling?", "rising")
    ask(points, "Which is the lowest?", "May")
    receipt = Canvas(256, 256, "#ffffff")
    for row, (name, price) in enumerate((("Bread", "2.40"), ("Juice", "3.15"), ("Total", "5.55"))):
        receipt.text(20, 60 + 30 * row, name, fonts.BUILT_IN, 16, "#111111", "lm")
        receipt.text(220, 60 + 30 * row, price, fonts.BUILT_IN, 16, "#111111", "rm")
    ask(receipt.finished(), "What does it say?", "Bread 2.40\nJuice 3.15\nTotal 5.55")
    assert len(wrong) <= 1, wrong


def test_what_nobody_takes_is_refused(tiny: bezel.Model) -> None:
    with pytest.raises(UnsupportedInputError, match="audio tower"):
        tiny.chat(HEARD, **OPTIONS)
    with pytest.raises(UnsupportedInputError, match="does not hear"):
        tiny.transcribe(np.zeros(1600, np.float32))
    with pytest.raises(UnsupportedInputError, match="not both in one conversation"):
        tiny.chat([*SHOWN, *HEARD], **OPTIONS)


def test_a_tower_that_is_named_is_the_models_own(seeing: Path) -> None:
    assert isinstance(bezel.load("tiny")._backend, EmbeddedBackend)
    alone = NativeBackend.load("tiny")
    assert not isinstance(alone, EmbeddedBackend) and not alone.describe()["images"]
    with pytest.raises(UnsupportedInputError, match="image tower"):
        list(alone.stream(Request(messages=SHOWN)))
