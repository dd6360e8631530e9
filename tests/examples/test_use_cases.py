"""The examples of use cases: on random models that see, on tiny, and on one that only remembers what it was asked."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bezel
from bezel.testing import GEMMA3, GEMMA3_VISION, write_checkpoint
from bezel.text.subtitles import Segment, Transcription

Example = Callable[[str], ModuleType]
# Room enough for a random model to come to the end of its object.
ROOMY = GEMMA3_VISION | {"text_config": GEMMA3 | {"max_position_embeddings": 4096}}


@pytest.fixture(scope="module")
def sees(tmp_path_factory: pytest.TempPathFactory) -> bezel.Model:
    folder = tmp_path_factory.mktemp("sees")
    return bezel.load(str(write_checkpoint(folder, config=ROOMY, prefix="language_model.model.")))


@pytest.fixture
def picture(tmp_path: Path) -> str:
    pixels = np.random.default_rng(0).integers(0, 255, (40, 60, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "page.png")
    return str(tmp_path / "page.png")


@dataclass
class Remembering:
    """Answers with what it is given, and keeps what it was asked."""

    parsed: Any = None

    def __post_init__(self) -> None:
        self.asked: list[Any] = []

    def chat(self, messages: Any, **options: Any) -> Any:
        self.asked.append((messages, options))
        return SimpleNamespace(parsed=self.parsed)

    def stream(self, messages: Any, **options: Any) -> Any:
        self.asked.append((messages, options))
        return iter(["What is ", "two times two?"])

    def transcribe(self, recording: str) -> Transcription:
        return Transcription("transcribe", "en", 2.0, (Segment(0.0, 2.0, "Call Ann by Friday."),))

    def translate(self, recording: str, into: str, listen: Callable[[Segment], object]) -> Transcription:
        piece = Segment(0.5, 2.0, "Good morning.")
        listen(piece)
        return Transcription("translate", into, 2.0, (piece,))


def test_an_invoice_is_read_in_its_shape(example: Example, sees: bezel.Model, picture: str) -> None:
    invoices = example("document_analysis")
    assert invoices.read(sees, picture, temperature=1, seed=0, max_tokens=20) is None
    tries = (invoices.read(sees, picture, temperature=1, seed=seed, max_tokens=3000) for seed in range(8))
    whole = next((invoice for invoice in tries if invoice is not None and invoice.lines), None)
    assert isinstance(whole, invoices.Invoice) and isinstance(whole.total, float)
    assert all(isinstance(line, invoices.Line) and isinstance(line.amount, float) for line in whole.lines)


def test_an_invoice_that_does_not_add_up_is_doubted(
    example: Example, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    invoices = example("document_analysis")
    lines = [invoices.Line("tea", 2.5), invoices.Line("cake", 4.0)]
    assert invoices.doubts(invoices.Invoice("Café", "7", "today", lines, 6.5)) == []
    wrong = invoices.Invoice("Café", "7", "today", lines, 7.0)
    monkeypatch.setattr(bezel, "load", lambda name: Remembering(wrong))
    invoices.main("page.jpg")
    assert "add up to 6.50, not 7.00" in capsys.readouterr().out
    monkeypatch.setattr(bezel, "load", lambda name: Remembering(None))
    invoices.main("page.jpg")
    assert "cut off" in capsys.readouterr().out


def test_later_questions_about_a_chart_do_not_read_it_again(example: Example, sees: bezel.Model, picture: str) -> None:
    asked = example("chart_questions").answers(sees, picture, ["highest?", "lowest?"], max_tokens=4)
    (_, _, first), (question, _, second) = asked
    assert question == "lowest?" and first == 0
    assert second >= 256  # all whole blocks of the first prompt, which ends some letters behind the image


def test_a_spoken_note_becomes_tasks(
    example: Example, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    notes = example("voice_notes")
    model = Remembering(notes.Note("Calls", [notes.Task("call Ann", "Friday"), notes.Task("rest", "")]))
    monkeypatch.setattr(bezel, "load", lambda name: model)
    notes.main("note.ogg")
    assert "Call Ann by Friday." in model.asked[0][0] and model.asked[0][1]["schema"] is notes.Note
    assert capsys.readouterr().out == "# Calls\n\n- [ ] call Ann (by Friday)\n- [ ] rest\n\nCall Ann by Friday.\n"


def test_a_translation_is_told_while_it_is_heard_and_kept_as_subtitles(
    example: Example, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(bezel, "load", lambda name: Remembering())
    example("live_translation").main(str(tmp_path / "talk.ogg"))
    assert "[    0.5 s] Good morning." in capsys.readouterr().out
    assert "00:00:00.500 --> 00:00:02.000\nGood morning." in (tmp_path / "talk.vtt").read_text()


def test_a_tutor_sees_and_hears_in_one_message(
    example: Example, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = Remembering()
    monkeypatch.setattr(bezel, "load", lambda name: model)
    example("tutoring").main("sums.jpg", "why.ogg")
    assert capsys.readouterr().out == "What is two times two?\n"
    system, user = model.asked[0][0]
    assert "Never give the solution" in system["content"]
    assert [part["type"] for part in user["content"]] == ["text", "image", "text", "audio"]


def test_a_private_assistant_reads_notes_and_nothing_else(
    example: Example, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assistant = example("private_assistant")
    (tmp_path / "dentist.txt").write_text("The dentist is on Friday at 9.")
    (tmp_path / "long.md").write_text("x" * 5000)
    search, read = assistant.functions_over(tmp_path)
    assert search("DENTIST friday") == "dentist" and search("monday") == "no note has them"
    assert read("dentist").endswith("at 9.") and read("long").endswith("(the note goes on)")
    with pytest.raises(ValueError, match="there are dentist, long"):
        read("../secret")
    monkeypatch.setattr("sys.stdin", io.StringIO("search notes for dentist\n\n"))
    assistant.main(str(tmp_path))
    assert "(search_notes {'words': 'dentist'})\nsearch notes: dentist." in capsys.readouterr().out
