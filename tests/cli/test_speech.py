"""`bezel transcribe` and `bezel translate` on the command line."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner

from bezel.cli.main import app
from bezel.errors import MediaSourceError, UnfinishedSpeechError, UnsupportedInputError
from bezel.text.subtitles import Segment, Transcription
from tests.media.samples import wav

HEARD = Transcription("transcribe", "en", 2.0, (Segment(0, 2, "Good day."),))


def ran(*arguments: str) -> Any:
    return CliRunner().invoke(app, arguments)


@pytest.mark.parametrize("name", ["missing.wav", "https://example.com/a.wav", "."])
def test_a_recording_that_is_none_is_told_before_a_model_is_loaded(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bezel.api.load", lambda *names, **options: pytest.fail("loaded"))
    refused = ran("transcribe", name)
    assert isinstance(refused.exception, MediaSourceError)
    assert name in str(refused.exception) or "web addresses are not fetched" in str(refused.exception)


def test_what_was_heard_is_printed_though_the_model_loses_itself(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def transcribe(*given: Any) -> Transcription:
        raise UnfinishedSpeechError("what is said from 2.0 to 9.0 s did not end", HEARD)

    monkeypatch.setattr("bezel.api.load", lambda *names, **options: SimpleNamespace(transcribe=transcribe))
    (tmp_path / "note.wav").write_bytes(wav(bytes(200)))
    told = ran("transcribe", str(tmp_path / "note.wav"), "--format", "srt")
    assert told.stdout == "1\n00:00:00,000 --> 00:00:02,000\nGood day.\n"
    assert isinstance(told.exception, UnfinishedSpeechError)


def test_tiny_says_that_it_translates_into_english_alone(tmp_path: Path) -> None:
    (tmp_path / "note.wav").write_bytes(wav(bytes(32_000)))
    refused = ran("translate", str(tmp_path / "note.wav"), "-m", "tiny", "--to", "fr")
    assert isinstance(refused.exception, UnsupportedInputError)
    assert "into English only, not French" in str(refused.exception)
    silent = ran("translate", str(tmp_path / "note.wav"), "-m", "tiny")
    assert (silent.exit_code, silent.stdout) == (0, "\n")
