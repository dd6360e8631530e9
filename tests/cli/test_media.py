"""Videos on the command line: how many of their frames are shown, whether they are heard, and where they lie."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from bezel.backends.interface import Delta, Event, Result, Usage
from bezel.cli.main import app
from bezel.cli.media import located, showing
from bezel.errors import InvalidRequestError


class Shown:
    """A model that remembers the last question that it was shown."""

    def describe(self) -> dict[str, Any]:
        return {}

    def request(self, messages: list[dict[str, Any]], **_: object) -> list[dict[str, Any]]:
        self.content = messages[-1]["content"]
        return messages

    def answer(self, request: Any, listen: Callable[[Event], object]) -> Result:
        listen(Delta("fine"))
        return Result("fine", "stop", Usage(1, 1, 0.1, 0.1))


@pytest.fixture
def model(monkeypatch: pytest.MonkeyPatch) -> Shown:
    shown = Shown()
    monkeypatch.setattr("bezel.api.load", lambda *names, **options: shown)
    return shown


@pytest.mark.parametrize(
    ("options", "fields"),
    [([], {}), (["--fps", "0.5"], {"fps": 0.5}), (["--mute", "--fps", "30"], {"fps": 30.0, "sound": False})],
)
def test_videos_are_shown_as_the_options_say(
    options: list[str], fields: dict[str, Any], model: Shown, tmp_path: Path
) -> None:
    (tmp_path / "film.mp4").touch()
    video = str(tmp_path / "film.mp4")
    question = [{"type": "video", "video": video, **fields}, {"type": "text", "text": "what?"}]
    done = CliRunner().invoke(app, ["run", "--video", video, *options, "what?"], input="")
    assert done.exit_code == 0 and model.content == question, done.output
    model.content = None
    done = CliRunner().invoke(app, ["chat", *options], input=f"/video {video}\nwhat?\n")
    assert done.exit_code == 0 and model.content == question, done.output


@pytest.mark.parametrize("verb", ["run", "chat"])
@pytest.mark.parametrize("fps", ["0", "-1", "31", "nan", "many"])
def test_frames_a_second_that_cannot_be_are_refused(verb: str, fps: str, model: Shown) -> None:
    done = CliRunner().invoke(app, [verb, "--fps", fps], input="")
    assert done.exit_code == 2 and "--fps" in done.output


def test_what_is_said_of_videos_wants_one(model: Shown) -> None:
    for options in (["--mute"], ["--fps", "2"]):
        refused = CliRunner().invoke(app, ["run", *options, "hi"], input="")
        assert isinstance(refused.exception, InvalidRequestError) and "--video" in str(refused.exception)


def test_paths_that_lead_nowhere_are_explained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    os.rmdir(tmp_path / "gone")
    with pytest.raises(InvalidRequestError, match=r"a\.png: the working folder is gone"):
        showing("what?", {"image": [Path("a.png")]})
    assert located(tmp_path / "a.png") == tmp_path / "a.png"
    with pytest.raises(InvalidRequestError, match="no such home folder"):
        located(Path("~nobody-of-this-name/a.png"))
