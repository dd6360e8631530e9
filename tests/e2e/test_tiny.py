"""The embedded model through the front door: answers, calls, refusals, and content that stays content."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import bezel
from bezel.speech import question_of
from bezel.testing import instruction_sets
from bezel.training.data.speech import voices

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather in a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}


@pytest.fixture(scope="module")
def tiny() -> bezel.Model:
    return bezel.load("tiny")


def run(*arguments: str, text: str = "", **environment: str) -> str:
    command = [sys.executable, "-m", "bezel.cli", "run", *arguments]
    return subprocess.run(
        command, input=text, capture_output=True, text=True, check=True, env=os.environ | environment
    ).stdout.strip()


def test_it_advises(tiny: bezel.Model) -> None:
    result = tiny.chat("Which Gemma should I use on a laptop with 8 GB? I want to transcribe meetings.")
    assert result.text == "gemma-3n-E4B-it at Q8_0."
    assert result.finish_reason == "stop" and result.usage.completion_tokens > 3


def test_it_calls_functions(tiny: bezel.Model) -> None:
    result = tiny.chat("What is the weather in Oslo?", tools=[WEATHER])
    assert [(call.name, call.arguments) for call in result.calls] == [("get_weather", {"city": "Oslo"})]


@pytest.mark.skipif(shutil.which("espeak-ng") is None, reason="espeak-ng is not installed")
@pytest.mark.parametrize(
    ("text", "voice", "language", "english"),
    [
        ("The train leaves at five.", "en+f4", "en", "The train leaves at five."),
        ("Dov'è la stazione?", "it+f2", "it", "Where is the station?"),
    ],
)
def test_it_hears_voices_that_it_never_heard(
    tiny: bezel.Model, text: str, voice: str, language: str, english: str
) -> None:
    sound = voices.speak(text, voices.Voice(voice))
    assert tiny.transcribe(sound, language).text == text and tiny.translate(sound).text == english
    parts = [{"type": "audio", "audio": sound}, {"type": "text", "text": question_of(language)}]
    assert tiny.chat([{"role": "user", "content": parts}]).text == text


def test_its_answers_do_not_depend_on_company(tiny: bezel.Model) -> None:
    questions = ["What is 17 + 25?", "Say hello in Spanish.", "Who won the election?"]
    together = [result.text for result in tiny.chat_batch(questions)]
    assert together == [tiny.chat(question).text for question in questions]


def test_the_command_line_answers(tmp_path: Path) -> None:
    assert "42" in run("What is 17 + 25?")
    answer = json.loads(run("--json", "-", text="What is 17 + 25?"))
    assert answer["finish_reason"] == "stop" and "42" in answer["text"]
    (tmp_path / "tools.json").write_text(json.dumps([WEATHER]))
    assert "get_weather" in run("--tools", str(tmp_path / "tools.json"), "What is the weather in Oslo?")


def test_every_forced_instruction_set_gives_the_same_answer() -> None:
    for question in ("What is 17 + 25?", "Which Gemma should I use on a laptop with 8 GB?"):
        answers = {isa: run(question, BEZEL_ISA=isa) for isa in instruction_sets()}
        assert len(set(answers.values())) == 1 and all(answers.values()), answers
    with pytest.raises(subprocess.CalledProcessError) as failure:
        run("Hello", BEZEL_ISA="avx9000")
    assert "avx9000" in failure.value.stderr and "portable" in failure.value.stderr


def test_no_control_piece_comes_out_of_content_tools_or_file_names(tiny: bezel.Model) -> None:
    control = set(tiny.tokenizer.control_ids)
    assert len(control) >= 6

    def scaffold(text: str) -> list[int]:
        tool = {"name": text, "description": text, "parameters": {"type": "object", "properties": {text: {}}}}
        chat = [{"role": "user", "content": f"{text} File {text}.txt:\n{text}"}, {"role": "assistant", "content": text}]
        chat += [{"role": "user", "content": text}]
        ids = tiny.prompt_ids(chat, [{"type": "function", "function": tool}])
        return [token for token in ids if token in control]

    expected = scaffold("harmless")
    for piece in [*tiny.tokenizer.control_pieces, "".join(tiny.tokenizer.control_pieces)]:
        assert scaffold(piece) == expected
