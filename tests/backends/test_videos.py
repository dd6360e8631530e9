"""A video in a message is what its frames and its sound would be there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bezel
from bezel.backends.videos import Takes, unfolded
from bezel.errors import InvalidRequestError, MediaSourceError, UnsupportedInputError, UnsupportedMediaError
from bezel.media.decoding import decode_video
from bezel.media.fetching import Sources
from bezel.testing import GEMMA3_VISION, instruction_sets, write_checkpoint
from tests.media.child.test_videos import filmed

ENGINE = pytest.mark.skipif(
    not instruction_sets() and not os.environ.get("CI"), reason="the compiled kernels are not built"
)
ALL = Takes(sees=True, seconds=30.0)


def asking(**video: Any) -> list[dict[str, Any]]:
    parts = [{"type": "text", "text": "Look:"}, {"type": "video", **video}, {"type": "text", "text": "what is it?"}]
    return [{"role": "system", "content": "be brief"}, {"role": "user", "content": parts}]


def test_frames_stand_behind_their_times_and_sound_behind_all() -> None:
    film = filmed(frames=50)
    messages = asking(video=film)
    told, message = unfolded(messages, Sources(), ALL)
    assert told is messages[0]
    first, *shown, last = message["content"]
    assert (first["text"], last["text"]) == ("Look:", "what is it?")
    assert [part["type"] for part in shown] == ["text", "image"] * 2 + ["audio"]
    assert [part["text"] for part in shown[:4:2]] == ["00:00", "00:01"]
    expected = decode_video(film)
    for part, picture in zip(shown[1:4:2], expected.frames.pictures, strict=True):
        np.testing.assert_array_equal(part["image"], picture)
        assert part["detail"] == "low"  # a frame has no crops of its own
    assert expected.sound is not None
    np.testing.assert_array_equal(shown[-1]["audio"], expected.sound)


def test_more_frames_a_shorter_ear_and_no_sound() -> None:
    film = filmed(frames=50)
    content = unfolded(asking(video=film, fps=4), Sources(), Takes(True, seconds=1.0))[1]["content"]
    kinds = [part["type"] for part in content]
    assert kinds.count("image") == 8 and kinds.count("audio") >= 2
    sounds = [part["audio"] for part in content if part["type"] == "audio"]
    assert all(len(sound) <= 16_000 for sound in sounds)
    whole = decode_video(film).sound
    assert whole is not None
    np.testing.assert_array_equal(np.concatenate(sounds), whole)
    for messages in (asking(video=film, sound=False), asking(video=filmed(sound=False))):
        kinds = [part["type"] for part in unfolded(messages, Sources(), Takes(True))[1]["content"]]
        assert "audio" not in kinds and "image" in kinds


def test_what_cannot_be_shown_is_refused(tmp_path: Path) -> None:
    film = filmed(frames=5)
    with pytest.raises(UnsupportedInputError, match="only a model that sees"):
        unfolded(asking(video=film), Sources(), Takes(False))
    with pytest.raises(UnsupportedInputError, match='"sound": false'):
        unfolded(asking(video=film), Sources(), Takes(True))
    for wrong in ({"fps": 0}, {"fps": 31}, {"fps": "1"}, {"fps": True}, {"sound": 1}):
        with pytest.raises(InvalidRequestError, match=r"messages\[1\].content\[1\]: fps must"):
            unfolded(asking(video=film, **wrong), Sources(), ALL)
    for nothing in ({}, {"video": ""}, {"video": b""}, {"video": 3}):
        with pytest.raises(InvalidRequestError, match="names no video"):
            unfolded(asking(**nothing), Sources(), ALL)
    (tmp_path / "film.mp4").write_bytes(film)
    with pytest.raises(MediaSourceError, match="paths are not read here"):
        unfolded(asking(video=str(tmp_path / "film.mp4")), Sources(), ALL)
    assert unfolded(asking(video=tmp_path / "film.mp4"), Sources(files=True), ALL)
    with pytest.raises(UnsupportedMediaError):
        unfolded(asking(video=b"\x89PNG\r\n\x1a\n" + bytes(40)), Sources(), ALL)


def test_errors_name_parts_as_they_were_sent() -> None:
    video, image = {"type": "video", "video": filmed(frames=50)}, {"type": "image", "image": "a.png", "detail": "x"}
    with pytest.raises(InvalidRequestError, match=r"messages\[0\].content\[1\].detail"):
        unfolded([{"role": "user", "content": [video, image]}], Sources(files=True), ALL)
    with pytest.raises(UnsupportedInputError, match=r"messages\[0\].content has a video; only a user's"):
        unfolded([{"role": "system", "content": [video]}, *asking(video=b"x")], Sources(), ALL)


def test_messages_without_videos_stay_as_they_are() -> None:
    messages = [{"role": "user", "content": "hello"}, {"role": "assistant", "tool_calls": []}, "nonsense"]
    assert unfolded(messages, Sources(), Takes(False)) is messages  # type: ignore[arg-type]


@ENGINE
def test_a_model_answers_as_to_the_frames_themselves(tmp_path: Path) -> None:
    model = bezel.load(str(write_checkpoint(tmp_path / "sees", config=GEMMA3_VISION, prefix="language_model.model.")))
    film = filmed(frames=50)
    pictures = decode_video(film).frames.pictures
    parts: list[dict[str, Any]] = [{"type": "text", "text": "Look:"}]
    for number, picture in enumerate(pictures):
        parts += [{"type": "text", "text": f"00:0{number}"}, {"type": "image", "image": picture}]
    parts.append({"type": "text", "text": "what is it?"})
    options: dict[str, Any] = {"temperature": 0, "max_tokens": 6, "pan_and_scan": False}
    expected = model.chat([{"role": "user", "content": parts}], **options)
    (tmp_path / "film.mp4").write_bytes(film)
    shown = asking(video=str(tmp_path / "film.mp4"), sound=False)[1:]
    assert model.chat(shown, **options).token_ids == expected.token_ids
    assert model.prompt_ids(shown) == model.prompt_ids([{"role": "user", "content": parts}])
    with pytest.raises(UnsupportedInputError, match="does not hear"):
        model.chat(asking(video=film))
