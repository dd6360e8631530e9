"""What the README tells people to type works; models that would be downloaded are stood in for by tiny."""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

import pytest
import soundfile
from click.testing import CliRunner

from bezel.cli.main import app
from bezel.testing import GEMMA2, write_checkpoint
from bezel.training.data.pictures.charts import Chart, Look, draw
from bezel.training.data.speech import voices
from tests.media.samples import tone
from tests.safety.test_classifier import with_yes_and_no

README = (Path(__file__).parent.parent / "README.md").read_text("utf-8")
BLOCKS = re.findall(r"```(\w+)\n(.*?)```", README, re.DOTALL)
COMMANDS = [
    line.partition("#")[0].strip().removeprefix("scripts/")
    for kind, text in BLOCKS
    if kind == "sh"
    for line in text.splitlines()
    if line.partition("#")[0].strip().startswith(("bezel ", "scripts/bezel ", "git diff |"))
]
PIPED = "a line of text\n"
FILES = {
    "person.json": '{"type": "object", "properties": {"name": {"enum": ["Ada"]}}, "required": ["name"]}',
    "my_tools.py": 'def weather(city: str) -> str:\n    """The weather in a city."""\n    return "rain"\n',
}
"""Files that a reader of the README would have."""


def write_media(folder: Path) -> None:
    """The picture and the recording that the README names: a chart, and a phrase where espeak-ng is there to speak."""
    draw(Chart("bar", "Rain", ("Rome", "Oslo", "Lima"), (80, 30, 55), Look())).image.save(folder / "photo.jpg")
    speaks = shutil.which("espeak-ng") is not None
    sound = voices.speak("The train leaves at five.", voices.Voice("en-gb")) if speaks else tone(16_000, 2.0)
    soundfile.write(folder / "meeting.mp3", sound, 16_000)


def judge(folder: Path) -> Path:
    """A random model in the shape of a ShieldGemma."""
    config = GEMMA2 | {"max_position_embeddings": 2048}
    return with_yes_and_no(write_checkpoint(folder, vocabulary=300, config=config))


def local(argument: str) -> str:
    """tiny in place of a hub's name."""
    return "tiny" if re.match(r"[\w-]+/[\w.-]+", argument) and not argument.endswith(".gguf") else argument


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_line_of_the_readme_works(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in FILES.items():
        (tmp_path / name).write_text(content)
    write_media(tmp_path)
    piped, _, after = command.rpartition("|")
    _, verb, *arguments = shlex.split(after)
    if any("someone/" in argument for argument in arguments):
        pytest.skip("names a file on a hub")
    arguments = [local(argument) for argument in arguments]
    if verb in ("check", "transcribe"):
        arguments += ["--model", str(judge(tmp_path / "judge")) if verb == "check" else "tiny"]
    if verb == "quantize":
        arguments[arguments.index("Q4_0")] = "Q8_0"  # what tiny is stored in; a second rounding is refused
    text = PIPED if piped else "hello\n/exit\n" if verb == "chat" else ""
    done = CliRunner().invoke(app, [verb, *arguments], input=text)
    assert done.exit_code in ((0, 3) if verb == "check" else (0,)), done.output
    assert done.stdout.strip()


def test_the_python_of_the_readme_works(capsys: pytest.CaptureFixture[str]) -> None:
    (code,) = [text for kind, text in BLOCKS if kind == "python"]
    exec(compile(code.replace("google/gemma-3-1b-it", "tiny").replace(', level="balanced"', ""), "README", "exec"), {})
    assert len(capsys.readouterr().out) > 20


def test_commands_are_found() -> None:
    assert len(COMMANDS) > 6
